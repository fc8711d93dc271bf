"""Schedules and objectives by name in a run's configuration, the package's own and those of a module outside it."""

import importlib
import json
import sys

import jax
import numpy as np
import pytest

from tests.training.toy import ToyLoader, make_batch, make_config, make_model
from vqdiffusion_jax import extensions
from vqdiffusion_jax.config import ModelConfig, from_dict, to_dict
from vqdiffusion_jax.diffusion import make_schedule
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.model_folder import read_config, write_folder
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import run_config, to_table
from vqdiffusion_jax.training.denoiser.config import TrainConfig, train_config
from vqdiffusion_jax.training.denoiser.init_from import Pretrained
from vqdiffusion_jax.training.denoiser.state import create_state
from vqdiffusion_jax.training.denoiser.step import Frozen, make_step
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

pytestmark = pytest.mark.usefixtures("compilation_cache")

OWN = """
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.diffusion import Cumulative, Terms


class Power:
    def __init__(self, num_timesteps, num_codes, *, power):
        self.progress = np.arange(1, num_timesteps + 1) / (num_timesteps + 1)
        self.power = power

    def cumulative(self):
        mask = self.progress**self.power
        return Cumulative(keep=0.9 * (1 - mask), replace=0.1 * (1 - mask), mask=mask)


class Falling(Power):
    def cumulative(self):
        return Cumulative(*(array[::-1] for array in super().cumulative()))


class AllTokens:
    def __init__(self, schedule, *, weight=1.0):
        self.weight, self.timesteps = weight, schedule.num_timesteps

    def timestep_probabilities(self, losses):
        return jnp.full(self.timesteps, 1 / self.timesteps)

    def __call__(self, log_x0, x0, x_t, t, pt):
        nats = -jnp.take_along_axis(log_x0, x0[..., None], axis=-1)[..., 0]
        return Terms(loss=self.weight * nats.mean(), nats=nats.sum(-1))


class Uncalled:
    def __init__(self, schedule):
        self.timesteps = schedule.num_timesteps

    def timestep_probabilities(self, losses):
        return jnp.full(self.timesteps, 1 / self.timesteps)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own, where Python finds it and nothing is trusted yet."""
    (tmp_path / "own_noise.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extensions, "_trusted", set())
    yield "own_noise"
    sys.modules.pop("own_noise", None)


def table_of(schedule, objective, **changes):
    model = to_dict(preset("tiny_unconditional"))
    model["schedule"] |= schedule
    model["objective"] |= objective
    return to_table(make_config("none", **changes)) | {"model": model}


def losses_of(config, steps):
    mesh = make_mesh(devices=jax.devices()[:1])
    step, state, batch = make_step(config, mesh), create_state(config, mesh), make_batch(config)
    losses = []
    for _ in range(steps):
        state, metrics = step(state, batch, Frozen())
        assert np.isfinite(list(jax.device_get(metrics).values())).all()
        losses.append(float(metrics["loss"]))
    return losses


@pytest.mark.parametrize(
    ("schedule", "objective"),
    [
        ({"name": "cosine"}, {"name": "masked_cross_entropy"}),
        (
            {"name": "linear", "options": {"replaced": 0.1}},
            {"name": "masked_cross_entropy", "options": {"unmasked_weight": 0.5}},
        ),
        ({"name": "cosine"}, {}),
    ],
)
def test_the_package_s_own_train(schedule, objective):
    losses = losses_of(train_config(table_of(schedule, objective)), 40)
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:4])


def test_one_s_own_train_and_load_again(own, tmp_path):
    schedule = {"name": f"{own}:Power", "options": {"power": 2.0}}
    objective = {"name": f"{own}:AllTokens", "options": {"weight": 0.5}}
    config = train_config(table_of(schedule, objective, steps=2))
    np.testing.assert_allclose(make_schedule(config.model.schedule).cum_mask[:2], np.array([1, 2]) ** 2 / 121)
    assert train_config(to_table(config)) == config and hash(config.model) == hash(train_config(to_table(config)).model)

    model = make_model(config)
    task = DenoiserTask(config, Pretrained(codec=model.codec), make_mesh(devices=jax.devices()[:1]))
    train(task, tmp_path / "run", ToyLoader(config), log=lambda line: None)
    folder = tmp_path / "run" / "model"
    saved = json.loads((folder / "config.json").read_text())["model"]
    assert {name: saved["schedule"][name] for name in schedule} == schedule
    assert {name: saved["objective"][name] for name in objective} == objective
    assert read_config(folder) == config.model


def test_a_model_of_somebody_else_s_imports_nothing_unless_it_is_trusted(own, tmp_path):
    config = train_config(table_of({"name": f"{own}:Power", "options": {"power": 2.0}}, {}))
    model = jax.tree.map(lambda leaf: leaf, make_model(config))  # a copy, of the preset's configuration
    model.config = config.model
    write_folder(tmp_path / "model", model, None)
    assert own not in sys.modules  # a configuration is data until it is used
    extensions._trusted.clear()
    with pytest.raises(
        ConfigError,
        match=r"config.json: model.schedule.name is 'own_noise:Power', code outside .* --trust=own_noise:Power",
    ) as caught:
        read_config(tmp_path / "model")
    assert "\n" not in str(caught.value) and own not in sys.modules
    with pytest.raises(ConfigError, match="ScheduleConfig.name is 'own_noise:Power', code outside this package"):
        make_schedule(config.model.schedule)
    assert own not in sys.modules
    extensions.trust(f"{own}:Power")
    assert make_schedule(read_config(tmp_path / "model").schedule).num_timesteps == 10
    assert own in sys.modules


def test_trust_takes_classes(own):
    module = importlib.import_module(own)
    config = run_config(TrainConfig, table_of({"name": f"{own}:Power", "options": {"power": 1.0}}, {})).model.schedule
    with pytest.raises(ConfigError, match="code outside this package"):
        make_schedule(config)
    extensions.trust(module.Power)
    assert make_schedule(config).num_timesteps == 10


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "own_noise:Nothing"}, "ScheduleConfig.name is 'own_noise:Nothing', which cannot be imported "),
        (
            {"name": "no_such_module:Power"},
            "cannot be imported .No module named 'no_such_module'.; give package.module:Class, where",
        ),
        ({"name": "own_noise:AllTokens"}, "is no noise schedule: it has no cumulative; see NoiseSchedule in "),
        ({"name": "own_noise:Power"}, "own_noise:Power needs the option power"),
        (
            {"name": "own_noise:Falling", "options": {"power": 1.0}},
            "'own_noise:Falling' has keep=.* at t=1; keep must not grow",
        ),
    ],
)
def test_mistakes_are_one_line(own, schedule, message):
    config = train_config(table_of(schedule, {}))
    with pytest.raises(ConfigError, match=message) as caught:
        make_step(config, make_mesh(devices=jax.devices()[:1]))
    assert "\n" not in str(caught.value)


def test_an_objective_that_cannot_be_called_is_told(own):
    """A class of any kind can be called itself, to make an instance; that does not count."""
    config = train_config(table_of({}, {"name": "own_noise:Uncalled"}))
    with pytest.raises(ConfigError, match="'own_noise:Uncalled', which is no .*: it has no __call__; see ") as caught:
        make_step(config, make_mesh(devices=jax.devices()[:1]))
    assert "\n" not in str(caught.value)


def test_files_from_before_schedules_had_names_load_unchanged():
    values = json.loads(json.dumps(to_dict(preset("tiny_text"))))
    for part in ("schedule", "objective"):
        del values[part]["name"], values[part]["options"]
    assert from_dict(ModelConfig, values) == preset("tiny_text")
