import dataclasses
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vqdiffusion_jax.config import to_dict
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.config import LearningRateConfig, run_config, to_table
from vqdiffusion_jax.training.config_dict import train_config_dict
from vqdiffusion_jax.training.denoiser.config import TrainConfig, train_config
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.py") if not path.stem.startswith("_"))
CODECS = [name for name in NAMES if name.startswith("vqgan_")]


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    """Return a function that makes the configuration of a file; one that asks for a folder of pictures gets one."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a red square")

    def made(name: str):
        spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        asks = inspect.signature(module.get_config).parameters
        return module.get_config(str(folder)) if asks else module.get_config()

    return made


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_file_is_a_run(config_file, name):
    table = config_file(name)
    config = run_config(VQGANTrainConfig, table)
    assert run_config(VQGANTrainConfig, to_table(config)) == config
    table.learning_rate.peak = 1.0e-3
    assert run_config(VQGANTrainConfig, table).learning_rate.peak == 1.0e-3


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(CODECS)))
def test_every_file_is_a_run(config_file, name):
    table = config_file(name)
    config = train_config(table)
    assert train_config(to_table(config)) == config
    table.model.denoiser.num_layers = 2  # any field of the model can be changed by name
    table.learning_rate.peak = 1.0e-3
    changed = train_config(table)
    assert changed.model.denoiser.num_layers == 2 and changed.learning_rate.peak == 1.0e-3


OWN = """
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.config_dict import train_config_dict, vqgan_config_dict

assert train_config_dict(model="tiny_class", batch_size=3, steps=1).model.denoiser.width
assert vqgan_config_dict(codec=preset("emoji").codec, batch_size=3, steps=1).optimizer.b1 == 0.5
"""


def test_a_file_of_ones_own_needs_the_installed_package_alone(tmp_path):
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "vqdiffusion_jax").symlink_to(CONFIGS.parent / "vqdiffusion_jax")
    (tmp_path / "own.py").write_text(OWN)
    found = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_from_before_keep_working_with_one_line_that_says_so(tmp_path):
    (tmp_path / "own.py").write_text(
        OWN.replace("config_dict import train_config_dict, vqgan_config_dict", "table import table, vqgan_table")
        .replace("train_config_dict(", "table(")
        .replace("vqgan_config_dict(", "vqgan_table(")
    )
    found = os.environ | {"PYTHONPATH": str(CONFIGS.parent)}
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "own.py:3: FutureWarning: vqdiffusion_jax.training.table is now training.config_dict" in done.stderr


def test_released_runs_have_the_reference_numbers(config_file):
    expected = {  # peak, warm-up, patience, threshold, EMA interval, batch on eight devices
        "coco": (2.0e-4, 1000, 60_000, 0.1, 25, 32),
        "coco_cf": (2.0e-4, 1000, 60_000, 0.1, 25, 32),
        "cub200": (4.5e-4, 1000, 25_000, 0.1, 25, 32),
        "ithq_large": (1.0e-4, 7000, 50_000, 0.05, 25, 64),
        "imagenet": (4.5e-4, 5000, 100_000, 0.1, 25, 256),
        "ffhq": (4.5e-4, 2000, 5000, 0.1, 10, 256),
    }
    for name, numbers in expected.items():
        config = train_config(config_file(name))
        rate = config.learning_rate
        found = (rate.peak, rate.warmup_steps, rate.patience, rate.threshold, config.ema.interval, config.batch_size)
        assert found == numbers, name
        assert (rate.start, rate.floor, rate.factor, config.ema.decay) == (3.0e-6, 1.0e-6, 0.5, 0.99)
        optimizer = config.optimizer
        assert (optimizer.b1, optimizer.b2, optimizer.weight_decay, optimizer.clip_norm) == (0.9, 0.96, 0.045, 0.5)


def table(**changes):
    return {"model": "tiny_class", "batch_size": 8, "steps": 3} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batchsize": 8}, "TrainConfig has unknown fields batchsize"),
        ({"optimizer": {"beta": 1}}, "TrainConfig.optimizer has unknown fields beta"),
        ({"model": "tiny_clas"}, "did you mean tiny_class"),
        ({"accumulation": 3}, "batch_size=8 is not divisible by accumulation=3"),
        ({"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
        ({"learning_rate": {"schedule": "linear"}}, "allowed: plateau, cosine"),
        ({"learning_rate": {"schedule": "cosine"}}, "must end after its warm-up"),
        ({"compute": {"param_dtype": "bfloat16"}}, "trained in float32"),
        ({"watch": {"labels": (7,)}}, "has 7; this model has 5 classes"),
        ({"watch": {"prompts": ("a cat", "a \ud800")}}, r"WatchConfig.prompts has 'a \\ud800', with half a character"),
        ({"watch": {"prompts": ("a\0b",)}}, "WatchConfig.prompts has .*, with a null character; give it as text"),
        (
            {"model": {**to_dict(preset("tiny_class")), "schedule": {"num_codes": 7}}},
            "made for 7 codes but the denoiser expects 16",
        ),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        train_config(table(**changes))
    assert "\n" not in str(caught.value)


def test_table_may_name_a_preset_or_hold_its_fields():
    assert train_config(table()) == train_config(table(model=to_dict(preset("tiny_class"))))
    assert dataclasses.replace(train_config(table()), learning_rate=LearningRateConfig(peak=1e-3)) == train_config(
        table(learning_rate={"peak": 1e-3})
    )
    assert isinstance(train_config(table()), TrainConfig)


def test_public_names_are_there_and_come_when_they_are_used():
    script = "import sys, vqdiffusion_jax.training as t; print('vqdiffusion_jax.training.loop' in sys.modules)"
    script += "; print(all(getattr(t, name) is not None for name in t.__all__))"
    environment = os.environ | {"PYTHONPATH": str(CONFIGS.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


@pytest.mark.parametrize("name", ["workers", "read_threads", "prefetch_batches"])
def test_more_at_once_than_any_machine_has_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is 1000000000; it must be a whole number from [01] to 4096"):
        if name == "workers":
            train_config(train_config_dict(model="tiny_text", batch_size=4, steps=1, workers=10**9))
        else:
            DataConfig(source="folder", root="a", **{name: 10**9})
