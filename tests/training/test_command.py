"""From pictures to a sample by the command line alone, each command reading what the one before it wrote."""

import sys

import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.text.known_words import KnownWords
from vqdiffusion_jax.training.export import export

CONFIG = """
from dataclasses import replace
from vqdiffusion_jax.config import to_dict
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.config_dict import {table}

model = preset("tiny_class")
codec = replace(model.codec, codebook_size=model.denoiser.num_codes, reduced_codebook_size=None)
data = dict(source="folder", root={root!r}, options=dict(labels="folders"))

def get_config():
    return {table}({network}, data=data, batch_size=4, steps=1, compute=dict(dtype="float32", remat=False), workers=0)
"""
NETWORKS = {
    "codec": ("vqgan_config_dict", "codec=codec"),
    "denoiser": ("train_config_dict", "model=to_dict(replace(model, codec=codec))"),
}


@pytest.fixture
def command(monkeypatch):
    """Runs the command line in this process; it must succeed."""

    def succeed(*arguments: str) -> None:
        monkeypatch.setattr(
            sys, "argv", ["main.py", *arguments]
        )  # where ml_collections looks for fields that are changed
        with left_as_it_was():
            assert run(sys.argv) == 0

    return succeed


@pytest.mark.usefixtures("compilation_cache")
def test_a_codec_a_denoiser_on_it_and_a_picture(command, tmp_path, capsys, monkeypatch):
    words, exported = KnownWords(("one", "two")), []  # of a data set that knows them
    monkeypatch.setattr("vqdiffusion_jax.data.sources.folder.Folder.known_words", words, raising=False)
    place = "vqdiffusion_jax.training.denoiser.task.export"
    monkeypatch.setattr(place, lambda *arguments: exported.append(arguments[-1]) or export(*arguments))
    for name, colour in (("one", 0), ("two", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (16, 16), (colour, 10 * index, 0)).save(tmp_path / "pictures" / name / f"{index}.png")
    for name, (table, network) in NETWORKS.items():
        (tmp_path / f"{name}.py").write_text(
            CONFIG.format(table=table, network=network, root=str(tmp_path / "pictures"))
        )

    codec, denoiser = tmp_path / "codec", tmp_path / "denoiser"
    command("--mode=train_vqgan", f"--config={codec}.py", f"--workdir={codec}")
    command("--mode=train", f"--config={denoiser}.py", f"--codec={codec / 'model'}", f"--workdir={denoiser}")
    assert exported == [words]
    shown = ("--class_labels=1", "--num_inference_steps=2", "--noprogress")
    command("--mode=sample", f"--checkpoint={denoiser / 'model'}", *shown, f"--out={tmp_path / 'out'}")
    assert Image.open(tmp_path / "out" / "000000.png").size == (16, 16)
    assert "step 1" in capsys.readouterr().out
