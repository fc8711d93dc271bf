"""The command line as a person types it, each run in a process of its own."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[1]


def run(*arguments: str, script: str = "main.py"):
    return subprocess.run([sys.executable, str(REPO / script), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    VQDiffusionPipeline(VQDiffusionModel(preset("tiny_text"), rngs=nnx.Rngs(0))).save_pretrained(folder)
    return folder


def test_sample_writes_pictures_that_can_be_made_again(folder, tmp_path):
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a dog\n\na dog\n")
    options = (f"--checkpoint={folder}", "--strategy=purity", "--tokens_per_step=2", "--guidance_scale=2.5", "--seed=7")
    done = run("--mode=sample", *options, "--prompt=a cat", f"--prompts_file={prompts}", f"--out={out}", "--trajectory")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"grid.png"} | {f"{i:06d}.{end}" for i in range(3) for end in ("png", "json", "gif")}
    record = json.loads((out / "000002.json").read_text())
    assert (record["prompt"], record["seed"], record["guidance_scale"], record["strategy"]) == ("a dog", 7, 2.5, "purity")
    assert Image.open(out / "000000.gif").n_frames > 1

    again = run("--mode=sample", f"--again={out / '000002.json'}", f"--out={out}", "--noprogress")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(out / "000003.png")), np.asarray(Image.open(out / "000002.png")))


def test_inpainting_from_files(folder, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:8, 6:12] = 255
    Image.fromarray(picture).save(tmp_path / "picture.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    done = run(
        f"--checkpoint={folder}", "--prompt=a dog", f"--image={tmp_path / 'picture.png'}", f"--mask={tmp_path / 'mask.png'}",
        f"--out={tmp_path / 'out'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(tmp_path / "out" / "000000.png"))
    outside = mask[:, 4:20] == 0
    np.testing.assert_array_equal(drawn[outside], picture[:, 4:20][outside])


def test_dry_run_says_what_it_would_take(folder):
    done = run(f"--checkpoint={folder}", "--prompt=a dog", "--dry_run")
    assert done.returncode == 0, done.stderr
    for word in ("denoiser", "codec", "text_encoder", "GFLOP", "(1, 16)"):
        assert word in done.stdout


MISTAKES = [
    (("--checkpoint=nowhere", "--prompt=a"), "nowhere does not exist"),
    ((), "--checkpoint is needed"),
    (("stray",), "unexpected argument 'stray'"),
    (("--checkpoint={folder}",), "give prompt or prompt_embeds"),
    (("--checkpoint={folder}", "--prompt=a", "--steps=99"), "1 to 10 steps"),
    (("--checkpoint={folder}", "--prompt=a", "--skip_step=2"), "--skip_step goes with --strategy=fast"),
    (("--checkpoint={folder}", "--prompt=a", "--mapping=x.pt"), "already converted"),
    (("--checkpoint={folder}", "--prompt=a", "--mesh=2,2"), "3 whole numbers"),
    (("--checkpoint={folder}", "--prompt=a", "--faithful", "--dtype=bfloat16"), "faithful runs are float32"),
    (("--checkpoint={folder}", "--prompt=a", "--image=main.py", "--strength=0.5"), "cannot be read as a picture"),
]


def test_mistakes_are_one_line_and_leave_nothing(folder, tmp_path):
    # One process for all of them: starting Python and JAX is most of the time.
    script = """
import json, sys
from absl import flags
from vqdiffusion_jax.cli import run
for argv in json.loads(sys.argv[1]):
    print("code", run(["main.py", *argv]), file=sys.stderr)
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
"""
    commands = [[part.format(folder=folder) for part in arguments] + [f"--out={tmp_path / 'out'}"] for arguments, _ in MISTAKES]
    done = subprocess.run([sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True, cwd=REPO)
    said = done.stderr.split("code ")
    assert len(said) == len(MISTAKES) + 1, done.stderr
    for (_, message), text, code in zip(MISTAKES, said, said[1:], strict=False):
        line = text.strip().splitlines()[-1]
        assert line.startswith("error: ") and message in line, text
        assert code.startswith("1"), code
    assert not any(path.suffix == ".png" for path in tmp_path.rglob("*"))


def test_unknown_flags_suggest_the_nearest():
    done = run("--mode=sample", "--guidance_scal=3")
    assert done.returncode != 0
    assert "Did you mean: guidance_scale" in done.stderr


def test_convert_and_export_round_trip(tmp_path):
    config = preset("tiny_text")
    config = replace(config, denoiser=replace(config.denoiser, position_grid=config.denoiser.grid))  # all that diffusers can hold
    first = VQDiffusionPipeline(VQDiffusionModel(config, rngs=nnx.Rngs(0)))
    first.save_pretrained(tmp_path / "model")
    done = run(f"--checkpoint={tmp_path / 'model'}", f"--out={tmp_path / 'diffusers'}", script="convert/flax_to_diffusers.py")
    assert done.returncode == 0, done.stderr
    done = run(f"--checkpoint={tmp_path / 'diffusers'}", f"--out={tmp_path / 'native'}", script="convert/torch_to_flax.py")
    assert done.returncode == 0, done.stderr
    assert "arrays mapped" in done.stdout and "0 missing" in done.stdout
    second = VQDiffusionPipeline.from_pretrained(tmp_path / "native")
    settings = {"guidance_scale": 2.0, "truncation_rate": 0.9, "output_type": "tokens"}
    np.testing.assert_array_equal(first("a dog", **settings).tokens, second("a dog", **settings).tokens)


def test_a_failed_conversion_leaves_nothing(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04 not really a zip")
    done = run(f"--checkpoint={tmp_path / 'bad.pth'}", f"--out={tmp_path / 'out'}", script="convert/torch_to_flax.py")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]
