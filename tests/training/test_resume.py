"""A run that goes on with other settings: each is applied, or refused in one line before anything is written."""

import copy
import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.training.test_loop import CHANGES, compiled_task, run
from tests.training.toy import ToyLoader, make_config
from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training import learning_rate
from vqdiffusion_jax.training.config import CheckpointConfig, EMAConfig, LearningRateConfig, OptimizerConfig
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.loop import train
from vqdiffusion_jax.training.resume import APPLIED, KEPT, changes, listed, nested, refuse, saved_with
from vqdiffusion_jax.training.vqgan.config import DiscriminatorConfig, VQGANTrainConfig

pytestmark = pytest.mark.usefixtures("compilation_cache")


def reachable(cls):
    yield cls
    for inner in nested(cls).values():
        yield from reachable(inner)


CONFIGS = sorted({*reachable(TrainConfig), *reachable(VQGANTrainConfig)}, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_every_field_has_a_place(cls):
    applied, kept, inner = APPLIED.get(cls, ()), KEPT.get(cls, ()), tuple(nested(cls))
    assert sorted((*applied, *kept, *inner)) == sorted(field.name for field in dataclasses.fields(cls))


def changed(**fields):
    config = make_config("text")
    return changes(saved_with(config), dataclasses.replace(config, **fields))


def test_an_unchanged_configuration_has_no_changes():
    assert changed() == []
    assert changes({}, make_config()) == []  # of a release that did not save it


def test_changes_that_apply_pass():
    found = changed(steps=9, ema=EMAConfig(decay=0.9, interval=2), data={"root": "elsewhere", "workers": 1})
    assert [change.name for change in found] == ["steps", "data.root", "ema.decay"]
    refuse(found, "run")
    assert "ema.decay 0.5 -> 0.9" in listed(found)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"batch_size": 4}, "batch_size 8 -> 4"),
        ({"seed": 4}, "seed 3 -> 4"),
        ({"optimizer": OptimizerConfig(name="muon")}, 'optimizer.name "adamw" -> "muon"'),
        ({"train_text_encoder": True}, "train_text_encoder false -> true"),
        ({"data": {"validation_fraction": 0.5}}, "data.validation_fraction 0.0 -> 0.5"),
        ({"model": preset("tiny_unconditional")}, "model.denoiser.condition"),
    ],
)
def test_changes_that_cannot_be_are_told_in_one_line(fields, told):
    with pytest.raises(ConfigError, match="cannot go on with another") as caught:
        refuse(changed(**fields), "runs/one")
    said = str(caught.value)
    assert told in said and "runs/one" in said and "--init_from" in said and len(said) < 600 and "\n" not in said


def test_a_discriminator_may_change_its_weight_but_not_come_or_go():
    codec = VQGANConfig(quantizer="vq", codebook_size=8, embed_dim=8, image_size=64)

    def with_weight(weight):
        return VQGANTrainConfig(codec=codec, batch_size=1, steps=1, discriminator=DiscriminatorConfig(weight=weight))

    refuse(changes(saved_with(with_weight(0.8)), with_weight(0.4)), "run")
    with pytest.raises(ConfigError, match="discriminator.weight 0.8 -> 0.0"):
        refuse(changes(saved_with(with_weight(0.8)), with_weight(0.0)), "run")


PLATEAU = LearningRateConfig(start=1e-4, peak=2e-3, warmup_steps=2, patience=1, threshold=0.5)


def after(config, steps, loss=1.0):
    state = learning_rate.init(config)
    for _ in range(steps):
        state = learning_rate.update(config, state, jax.numpy.float32(loss))
    return state


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_rate_that_is_unchanged_stays(steps):
    state = after(PLATEAU, steps)
    again = learning_rate.resumed(PLATEAU, PLATEAU, state)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("peak", [1e-5, 4e-3])
def test_another_peak_is_the_rate_from_the_next_step_on(peak):
    now = dataclasses.replace(PLATEAU, peak=peak)
    state = learning_rate.resumed(PLATEAU, now, after(PLATEAU, 9))
    assert float(state.rate) == pytest.approx(peak) and int(state.bad) == 0 and np.isinf(state.best)
    warming = learning_rate.resumed(PLATEAU, now, after(PLATEAU, 1))
    assert float(warming.rate) == pytest.approx((1e-4 + peak) / 2)


def test_other_schedules_give_the_rate_of_their_step():
    cosine = LearningRateConfig(schedule="cosine", start=1e-4, peak=1e-3, warmup_steps=2, total_steps=20)
    state = learning_rate.resumed(PLATEAU, cosine, after(PLATEAU, 9))
    assert float(state.rate) == pytest.approx(float(after(cosine, 9).rate))
    back = learning_rate.resumed(cosine, PLATEAU, after(cosine, 9))
    assert float(back.rate) == pytest.approx(PLATEAU.peak)
    longer = dataclasses.replace(PLATEAU, warmup_steps=100)
    assert float(learning_rate.resumed(PLATEAU, longer, after(PLATEAU, 9)).rate) == pytest.approx(1e-4 + 0.09 * 1.9e-3)
    higher_floor = dataclasses.replace(PLATEAU, floor=1e-3)
    assert float(learning_rate.resumed(PLATEAU, higher_floor, after(PLATEAU, 30)).rate) == pytest.approx(1e-3)


@pytest.fixture(scope="module")
def four_steps(compilation_cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("four_steps")
    run(folder, steps=4)
    return folder


@pytest.fixture
def workdir(four_steps, tmp_path):
    import shutil

    shutil.copytree(four_steps, tmp_path / "run")
    return tmp_path / "run"


def config_of(workdir):
    return json.loads((workdir / "config.json").read_text())


def test_a_run_goes_on_with_another_peak_and_says_so(workdir):
    rate = dataclasses.replace(make_config(**CHANGES).learning_rate, peak=1e-5)
    outcome, lines = run(workdir, steps=5, learning_rate=rate, checkpoint=CheckpointConfig(every=2, keep_last=2))
    assert any("learning_rate.peak 0.01 -> 1e-05" in line for line in lines)
    assert config_of(workdir)["learning_rate"]["peak"] == 1e-5
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["learning_rate"] == pytest.approx(1e-5, rel=0.1)
    assert outcome.step == 5


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_is_refused_leaves_the_folder_as_it_is(workdir, forgotten):
    """Without config.json too: the checkpoint knows what it was trained with."""
    if forgotten:
        (workdir / "config.json").unlink()
    there = sorted(path.relative_to(workdir) for path in workdir.rglob("*"))
    for fields in ({"seed": 4}, {"optimizer": OptimizerConfig(name="muon")}, {"steps": 2}):
        with pytest.raises(ConfigError):
            run(workdir, **fields)
    assert sorted(path.relative_to(workdir) for path in workdir.rglob("*")) == there
    assert forgotten or config_of(workdir)["seed"] == 3


def test_another_codec_is_refused(workdir):
    task = copy.copy(compiled_task())
    task.config = make_config("none", **CHANGES)
    task.networks = {"codec": "a" * 64}
    train(task, workdir, ToyLoader(task.config), log=lambda line: None)
    task.networks = {"codec": "b" * 64}
    with pytest.raises(ConfigError, match="trained with another codec"):
        train(task, workdir, ToyLoader(task.config), log=lambda line: None)


def test_a_state_of_another_structure_is_told_by_its_first_array(workdir):
    from vqdiffusion_jax.checkpoint import TrainingCheckpoints

    abstract = compiled_task().abstract_state()
    other = dataclasses.replace(
        abstract, losses=jax.ShapeDtypeStruct((3,), np.float32, sharding=abstract.step.sharding)
    )
    checkpoints = TrainingCheckpoints(workdir / "checkpoints")
    with pytest.raises(CheckpointError, match="another model or optimizer: losses") as caught:
        checkpoints.restore(other)
    checkpoints.close()
    assert len(str(caught.value)) < 600
