"""A run that trains a LoRA: the base stays, the state is small, it resumes, and it writes the model and the adapter."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from tests.networks import random_network
from tests.training.toy import ToyLoader, make_batch, make_config, make_model
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.loading import load_model, write_folder
from vqdiffusion_jax.lora_files import read_lora
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.lora import merged
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import CheckpointConfig, LoRAConfig, OptimizerConfig
from vqdiffusion_jax.training.denoiser.init_from import Pretrained, load_pretrained
from vqdiffusion_jax.training.denoiser.state import Trained, abstract_state
from vqdiffusion_jax.training.denoiser.step import Frozen, denoiser_of
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

LORA = LoRAConfig(rank=2, alpha=4.0, targets=("query", "value"))


def config_of(**changes):
    changes = {"steps": 4, "lora": LORA, "checkpoint": CheckpointConfig(every=2)} | changes
    return make_config("none", compute=ComputeConfig(remat=True), **changes)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def task_of(mesh, base=None, **changes):
    model = make_model(config_of())
    base = model.denoiser if base is None else base
    return DenoiserTask(config_of(**changes), Pretrained(codec=model.codec, base=base, base_name="toy"), mesh)


@pytest.fixture(scope="module")
def ended(compilation_cache, mesh, tmp_path_factory):
    """A run of four steps without a pause: its task, folder and outcome."""
    task, folder = task_of(mesh), tmp_path_factory.mktemp("ended")
    return task, folder, train(task, folder, ToyLoader(task.config), log=lambda line: None)


def test_the_state_holds_the_adapter_alone(mesh):
    states = {rank: abstract_state(config_of(lora=LoRAConfig(rank=rank)), mesh) for rank in (0, 2)}
    parts = {rank: leaves_by_path(dataclasses.replace(state, losses=None)) for rank, state in states.items()}
    numbers = {rank: sum(leaf.size for leaf in leaves.values()) for rank, leaves in parts.items()}
    width, layers = config_of().model.denoiser.width, config_of().model.denoiser.num_layers
    factors = 4 * layers * 2 * 2 * width
    assert 4 * factors <= numbers[2] < 4 * factors + 20 < numbers[0]  # adapter, average and two moments
    assert not any("denoiser" in name for name in parts[2])


def test_a_run_moves_the_adapter_and_nothing_else_and_writes_both(ended):
    task, folder, outcome = ended
    before, after = task.first_state().ema.lora, outcome.state.ema.lora
    assert not any(np.any(factors.b) for factors in before.layers.values())
    assert all(np.any(factors.b) for factors in after.layers.values())
    written = read_lora(folder / "lora.safetensors")
    assert written.alpha == 4.0 and written.rank == 2
    jax.tree.map(np.testing.assert_array_equal, written, after)
    base = make_model(task.config).denoiser
    exported, _ = load_model(folder / "model")
    found, wanted = (leaves_by_path(network) for network in (exported.denoiser, merged(base, [(written, 1.0)])))
    for name, leaf in wanted.items():
        np.testing.assert_array_equal(found[name], leaf)
    changed = {name for name, leaf in leaves_by_path(base).items() if not np.array_equal(leaf, found[name])}
    assert changed == {f"{path}.kernel" for path in after.layers}


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(ended, mesh, tmp_path):
    for steps in (2, 4):
        task = task_of(mesh, steps=steps)
        outcome = train(task, tmp_path, ToyLoader(task.config), log=lambda line: None)
    jax.tree.map(np.testing.assert_array_equal, outcome.state.ema, ended[2].state.ema)
    other = random_network(Denoiser, task.config.model.denoiser, task.config.compute, seed=99)
    for change, told in (
        (dict(lora=LoRAConfig(rank=3, alpha=4.0, targets=LORA.targets)), "another lora.rank 2 -> 3"),
        (dict(lora=LoRAConfig(rank=2, alpha=4.0)), "another lora.targets "),
        (dict(lora=LoRAConfig()), "cannot go on with another lora.rank 2 -> 0"),
        (dict(base=other), "was trained with another base: its weights had the fingerprint"),
    ):
        task = task_of(mesh, steps=6, **change)
        with pytest.raises(ConfigError, match=told):
            train(task, tmp_path, ToyLoader(task.config), log=lambda line: None)


def test_the_bound_falls(mesh):
    """One batch again and again, of which an adapter learns what its base, of random weights, does not know."""
    task = task_of(mesh, lora=LoRAConfig(rank=8))
    state, batch = task.first_state(), make_batch(task.config)
    before = task.validate(state, [batch])["bits_per_token"]
    for _ in range(40):
        state, _ = task.step(state, batch)
    assert task.validate(state, [batch])["bits_per_token"] < 0.92 * before


def test_validation_sees_the_adapter(ended, mesh):
    task, _, outcome = ended
    batches = [make_batch(task.config, 50)]
    first, last = (task.validate(state, batches)["bits_per_token"] for state in (task.first_state(), outcome.state))
    plain = DenoiserTask(config_of(lora=LoRAConfig()), Pretrained(codec=make_model(task.config).codec), mesh)
    base = make_model(task.config).denoiser
    state = dataclasses.replace(outcome.state, ema=Trained(base))
    assert plain.validate(state, batches)["bits_per_token"] == first != last


def test_a_lora_without_its_base_is_told(mesh):
    trained = task_of(mesh).first_state().trained
    with pytest.raises(ValueError, match="a LoRA needs its base"):
        denoiser_of(trained, Frozen())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(optimizer=OptimizerConfig(name="muon")), "optimizer.name is 'muon', but LoRA's factors are trained by"),
        (dict(lora=LoRAConfig(rank=2, targets=("q",))), "LoRA's target 'q' names no layer"),
    ],
)
def test_settings_that_do_not_go_with_it_are_one_line(changes, told, mesh):
    with pytest.raises(ConfigError, match=told):
        task_of(mesh, **changes).abstract_state()


def test_a_base_is_needed_with_what_the_run_uses(tmp_path):
    config = make_config("text", lora=LORA)
    with pytest.raises(ConfigError, match="lora.rank is 2, but there is no model to adapt; pass --init_from=MODEL"):
        load_pretrained(dataclasses.replace(config, untrained_towers=True))
    with pytest.raises(ConfigError, match="train_text_encoder is set, but LoRA adapts the denoiser alone"):
        make_config("text", lora=LORA, train_text_encoder=True)
    denoiser = dataclasses.replace(config.model.denoiser, learnable_null=False)
    other = dataclasses.replace(config.model, denoiser=denoiser)
    write_folder(tmp_path / "model", random_network(VQDiffusionModel, other), None)
    with pytest.raises(ConfigError, match="no learned null condition, and LoRA trains none"):
        load_pretrained(config, init_from=tmp_path / "model")
    found = load_pretrained(
        make_config("text", model=other, lora=LORA, frozen_dtype="bfloat16"), init_from=tmp_path / "model"
    )
    kernel, scale = found.base.blocks.mlp.up.kernel[...], found.base.final_norm.scale[...]
    assert found.trained is None and found.base_name == str(tmp_path / "model")
    assert kernel.dtype == jnp.bfloat16 and scale.dtype == jnp.float32


CONFIG = """
from vqdiffusion_jax.training.config_dict import train_config_dict

def get_config():
    data = dict(source="folder", root={root!r}, options=dict(labels="folders"))
    return train_config_dict(model="tiny_class", data=data, batch_size=4, steps=1, compute=dict(remat=False), workers=0)
"""


def test_the_command_line_trains_one(compilation_cache, tmp_path, monkeypatch, capsys):
    for name, colour in (("one", 0), ("two", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (16, 16), (colour, 10 * index, 0)).save(tmp_path / "pictures" / name / f"{index}.png")
    (tmp_path / "my.py").write_text(CONFIG.format(root=str(tmp_path / "pictures")))
    model = make_model(make_config("class"))
    write_folder(tmp_path / "model", model, None)
    run_of = f"--config={tmp_path / 'my.py'}", f"--workdir={tmp_path / 'run'}", "--config.lora.rank=2"

    def command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["main.py", "--mode=train", *run_of, *arguments])
        with left_as_it_was():
            return run(sys.argv)

    assert command() != 0
    assert "lora.rank is 2, but there is no model to adapt; pass --init_from=MODEL" in capsys.readouterr().err
    assert command(f"--init_from={tmp_path / 'model'}", "--config.compute.dtype=float32") == 0
    assert f"written: {tmp_path / 'run' / 'lora.safetensors'}" in capsys.readouterr().out
    pipeline = VQDiffusionPipeline.from_pretrained(tmp_path / "model", dtype="float32")
    pipeline.load_lora_weights(tmp_path / "run")
    exported, _ = load_model(tmp_path / "run" / "model", compute=ComputeConfig())
    for name, leaf in leaves_by_path(pipeline.model).items():
        np.testing.assert_array_equal(leaves_by_path(exported)[name], leaf)
    assert read_lora(tmp_path / "run").rank == 2
