"""Configurations that are chosen from a folder and a machine: the choice as a table, the folder as it is found."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from vqdiffusion_jax.cli.configuration_file import read_configuration
from vqdiffusion_jax.data.own_folder import OwnFolder, look_at
from vqdiffusion_jax.errors import DataError, UsageError
from vqdiffusion_jax.training.config import run_config
from vqdiffusion_jax.training.config_dict import vqgan_config_dict
from vqdiffusion_jax.training.denoiser.config import train_config
from vqdiffusion_jax.training.own_pictures import Machine, choose, configuration
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig

REPO = Path(__file__).resolve().parents[2]
TWO_CORES = Machine(cores=2)
GPU = Machine(platform="gpu", cores=16, bfloat16=True)
PODS = Machine(platform="tpu", devices=8, cores=96, bfloat16=True)
# pictures, machine: pixels, tokens a side, codes, (layers, width), batch, held out, steps of codec and denoiser
TABLE = [
    (1, TWO_CORES, 64, 8, 128, (4, 128), 4, 0, 3000, 4500),
    (60, TWO_CORES, 64, 8, 128, (4, 128), 16, 8, 750, 1125),
    (300, TWO_CORES, 64, 8, 512, (4, 128), 32, 15, 1875, 2813),
    (5_000, TWO_CORES, 64, 8, 1024, (6, 192), 32, 250, 4000, 5000),
    (200_000, TWO_CORES, 64, 8, 1024, (6, 192), 32, 1000, 4000, 5000),
    (1, GPU, 128, 16, 128, (8, 256), 4, 0, 25_000, 50_000),
    (60, GPU, 128, 16, 512, (8, 256), 16, 8, 6250, 12_500),
    (300, GPU, 128, 16, 2048, (8, 256), 64, 15, 1875, 3750),
    (5_000, GPU, 128, 16, 4096, (12, 384), 64, 250, 31_250, 62_500),
    (200_000, GPU, 256, 16, 4096, (20, 512), 128, 1000, 31_250, 78_125),
    (1, PODS, 128, 16, 128, (8, 256), 8, 0, 12_500, 25_000),
    (200_000, PODS, 256, 16, 4096, (20, 512), 128, 1000, 31_250, 78_125),
]


@pytest.mark.parametrize("count, machine, size, grid, codes, network, batch, held_out, codec_steps, steps", TABLE)
def test_table(count, machine, size, grid, codes, network, batch, held_out, codec_steps, steps):
    chosen = choose(OwnFolder(count=count, side=700), machine)
    assert (chosen.image_size, chosen.grid, chosen.codebook_size) == (size, grid, codes)
    assert ((chosen.num_layers, chosen.width), chosen.batch_size) == (network, batch)
    assert (chosen.codec_steps, chosen.steps) == (codec_steps, steps)
    assert round(chosen.validation_fraction * count) == held_out and chosen.validates == (count > 1)
    assert batch % (machine.devices * chosen.accumulation) == 0


@pytest.mark.parametrize("side, size", [(10, 32), (40, 32), (60, 64), (64, 64), (4000, 64)])
def test_pictures_are_not_enlarged_much(side, size):
    assert choose(OwnFolder(count=500, side=side), TWO_CORES).image_size == size


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 1000])
@pytest.mark.parametrize("machine", [TWO_CORES, GPU, PODS, replace(TWO_CORES, devices=3)])
@pytest.mark.parametrize("condition", ["text", "class", "none"])
def test_any_choice_is_a_configuration(count, machine, condition):
    classes = 3 if condition == "class" else 0
    folder = OwnFolder(count=count, side=48, condition=condition, num_classes=classes, prompts=("a", "b"))
    chosen = choose(folder, machine)
    codec = run_config(VQGANTrainConfig, vqgan_config_dict(**configuration.codec_fields("d", folder, machine, chosen)))
    denoiser = train_config(configuration.denoiser_fields("d", folder, machine, chosen))
    assert codec.codec == denoiser.model.codec and codec.batch_size == denoiser.batch_size
    assert denoiser.model.denoiser.null_label == classes or condition != "class"
    assert all(whole > 0 for whole in configuration.costs(folder, chosen))
    lines = configuration.told("d", folder, machine, chosen)
    assert len(lines) == 2 and "an estimate" in lines[1] and f"batch {chosen.batch_size}" in lines[0]


@pytest.mark.parametrize("machine, dtype", [(TWO_CORES, "float32"), (replace(TWO_CORES, bfloat16=True), "bfloat16")])
def test_the_faster_precision_is_taken(machine, dtype):
    folder = OwnFolder(count=5000, side=64)
    found = train_config(configuration.denoiser_fields("d", folder, machine, choose(folder, machine)))
    assert found.compute.dtype == dtype and found.compute.scan_layers == (dtype == "float32")


def put(root, name, side=40, text=None):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side + 10)).save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text)


def test_texts_beside_pictures(tmp_path):
    for number in range(5):
        put(tmp_path, f"{number}.png", text=f"a thing of kind {number % 2}")
    put(tmp_path, "5.png")
    found = look_at(tmp_path)
    assert found == OwnFolder(count=6, side=40, condition="text", prompts=("a thing of kind 0", "a thing of kind 1"))


def test_a_table_of_captions(tmp_path):
    for name in ("a.png", "in/b.png", "c.png"):
        put(tmp_path, name)
    (tmp_path / "about.json").write_text('{"of": "something else"}')
    rows = [{"image": "a.png", "caption": "a dog"}, {"image": "in/b.png", "caption": "a cat"}]
    (tmp_path / "my captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = look_at(tmp_path)
    assert (found.count, found.condition, found.captions) == (2, "text", "my captions.jsonl")
    assert found.prompts == ("a dog", "a cat")


def test_class_folders_and_splits(tmp_path):
    for split in ("train", "val"):
        for name in ("cats", "dogs", "hens"):
            put(tmp_path, f"{split}/{name}/1.png")
    found = look_at(tmp_path)
    assert (found.count, found.condition, found.num_classes, found.has_splits) == (3, "class", 3, True)
    assert choose(found, TWO_CORES).validation_fraction == 0 and choose(found, TWO_CORES).validates


def test_pictures_alone(tmp_path):
    put(tmp_path, "1.png")
    put(tmp_path, "in/2.png")
    assert look_at(tmp_path) == OwnFolder(count=2, side=40)


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(DataError, match="holds no picture to train on"):
        look_at(tmp_path)
    with pytest.raises(FileNotFoundError, match="a folder of pictures"):
        look_at(tmp_path / "nowhere")


def test_configurations_of_a_folder(tmp_path, monkeypatch, capsys):
    put(tmp_path, "1.png", text="a word")
    monkeypatch.setattr(configuration, "this_machine", lambda arguments: TWO_CORES)
    codec = read_configuration(f"configs/vqgan_own_pictures.py:{tmp_path}")
    model = read_configuration(f"own_pictures:{tmp_path}")
    assert codec.data.root == model.data.root == str(tmp_path) and model.watch.prompts == ("a word",)
    assert capsys.readouterr().err.count("own pictures: ") == 4


def rows_of_document():
    document = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    return re.findall(r"^\| [\d,]+ \| [CG]PU \|.*$", document, re.MULTILINE)


@pytest.mark.parametrize("row", rows_of_document())
def test_the_document_has_the_table(row):
    count, kind = [cell.strip() for cell in row.split("|")[1:3]]
    folder = OwnFolder(count=int(count.replace(",", "")), side=700, condition="text")
    machine = TWO_CORES if kind == "CPU" else GPU
    c = choose(folder, machine)
    times = [configuration.duration(cost / machine.flops) for cost in configuration.costs(folder, c)]
    cells = [count, kind, c.image_size, f"{c.grid} x {c.grid}", c.codebook_size, f"{c.num_layers} x {c.width}"]
    cells += [c.batch_size, round(c.validation_fraction * folder.count), f"{c.codec_steps:,} + {c.steps:,}"]
    assert row == "| " + " | ".join(map(str, [*cells, " + ".join(times)])) + " |"


def test_what_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="name the folder of pictures behind a colon: --config=configs/own_pictures"):
        read_configuration("own_pictures")
    with pytest.raises(ValueError, match="--distributed: the sizes are chosen for the devices of one process"):
        configuration.this_machine(["--mode=train", "--distributed"])
