"""The command line as a person types it; in a process of its own where a test is about the process."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

REPO = Path(__file__).resolve().parents[1]


def run(*arguments: str, script: str = "main.py", cwd: Path = REPO):
    """Run a script as if alone, in this process, where Python and JAX have started and what was compiled is kept."""
    said, wrong, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [str(REPO / script), *map(str, arguments)]),
        left_as_it_was(),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(wrong),
    ):
        try:
            runpy.run_path(str(REPO / script), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    return subprocess.CompletedProcess(arguments, status, said.getvalue(), wrong.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(folder)
    (folder / "weights.bin").write_bytes(b"\xff\xfe\x00")
    for name, content in {
        "list": [1],
        "strategy": {"strategy": "purityy"},
        "steps": {"steps": "3"},
        "seed": {"seed": ["x"]},
        "out": {"out": "elsewhere"},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_sample_writes_pictures_that_can_be_made_again(folder, tmp_path):
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a dog\n\na dog\n")
    options = (f"--checkpoint={folder}", "--strategy=purity", "--tokens_per_call=2", "--guidance_scale=2.5", "--seed=7")
    done = run(
        "--mode=sample", *options, "--prompt=a cat", f"--prompts_file={prompts}", f"--out={out}", "--return_trajectory"
    )
    assert done.returncode == 0, done.stderr
    names = {f"{i:06d}.{end}" for i in range(3) for end in ("png", "json", "gif")}
    assert {path.name for path in out.iterdir()} == names | {"grid-000000.png"}
    record = json.loads((out / "000002.json").read_text())
    assert (record["prompt"], record["seed"], record["guidance_scale"], record["strategy"]) == (
        "a dog",
        7,
        2.5,
        "purity",
    )
    assert Image.open(out / "000000.gif").n_frames > 1

    again = run("--mode=sample", f"--again={out / '000002.json'}", f"--out={out}", "--noprogress")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "000003.png")), np.asarray(Image.open(out / "000002.png"))
    )
    assert Image.open(out / "grid-000000.png").size == (32, 32) and Image.open(out / "grid-000003.png").size == (16, 16)


def test_inpainting_from_files(folder, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:8, 6:12] = 255
    Image.fromarray(picture).save(tmp_path / "picture.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    done = run(
        f"--checkpoint={folder}",
        "--prompt=a dog",
        f"--image={tmp_path / 'picture.png'}",
        f"--mask_image={tmp_path / 'mask.png'}",
        f"--out={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(tmp_path / "out" / "000000.png"))
    outside = mask[:, 4:20] == 0
    np.testing.assert_array_equal(drawn[outside], picture[:, 4:20][outside])


def test_a_batch_draws_what_it_drew_again_and_files_are_named_from_the_root(folder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, :8] = 255
    Image.fromarray(wide).save(tmp_path / "picture.png", exif=exif)
    out = tmp_path / "out"
    options = (
        "--prompt=a dog",
        "--num_images_per_prompt=3",
        "--batch_size=2",
        "--timesteps=9,5,2",
        "--mesh=1,1,1",
        "--noprogress",
    )
    done = run(
        f"--checkpoint={folder.name}",
        f"--image={tmp_path / 'picture.png'}",
        "--outpaint=0.25,0,0.25,0",
        *options,
        f"--out={out}",
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stderr
    drawn = np.asarray(Image.open(out / "000002.png"))
    assert np.all(drawn[:8, 4:12] == 255) and np.all(drawn[8:, 4:12] == 0)
    record = json.loads((out / "000002.json").read_text())
    assert record["batch_size"] == 2 and record["mesh"] == ["1", "1", "1"] and record["timesteps"] == [9, 5, 2]
    assert record["checkpoint"] == str(folder) and record["image"] == str(tmp_path / "picture.png")
    again = run("--mode=sample", f"--again={out / '000002.json'}", f"--out={out}")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(out / "000003.png")), drawn)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_what_is_drawn_stays_when_a_run_fails(folder, tmp_path, monkeypatch):
    from vqdiffusion_jax.cli.pictures import GRID_PICTURES, Writer
    from vqdiffusion_jax.pipeline import VQDiffusionOutput

    pictures = np.arange(16, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    writer = Writer(tmp_path, 5, [{"prompt": "a"}] * 80, {"seed": 0}, first_image=3)
    for first in range(0, 80, 16):
        writer.add(VQDiffusionOutput(pictures, None, None, first + np.arange(16)), None)
        assert (tmp_path / f"{5 + first:06d}.png").exists()
    assert json.loads((tmp_path / "000022.json").read_text())["first_image"] == 20
    writer.finish()
    assert Image.open(tmp_path / "grid-000005.png").size == (16, 16) and len(writer.shown) == GRID_PICTURES

    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="full"):
        monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        writer.add(VQDiffusionOutput(pictures, None, None, np.arange(16)), None)
    assert sorted(tmp_path.iterdir()) == before


def test_recipes_number_pictures_as_their_noise_does(tmp_path):
    import jax

    from vqdiffusion_jax.cli.pictures import Writer
    from vqdiffusion_jax.sampling.seeds import noise_of

    own = [{"prompt": "a", "negative_prompt": "b"}, {"prompt": "a", "negative_prompt": "c"}, {"prompt": "d"}]
    writer = Writer(tmp_path, 0, own, {"seed": 0}, first_image=2)
    noise = noise_of(0, [one["prompt"] for one in own], 2).keys
    for index, key in enumerate(noise):
        alone = noise_of(0, [own[index]["prompt"]], writer.recipe(index)["first_image"]).keys[0]
        assert jax.random.key_data(alone).tolist() == jax.random.key_data(key).tolist()


def test_runs_into_one_folder_keep_out_of_each_others_way(tmp_path, capsys):
    from vqdiffusion_jax.cli.pictures import Writer, first_free
    from vqdiffusion_jax.pipeline import VQDiffusionOutput

    picture = np.zeros((1, 2, 2, 3), np.uint8)
    (tmp_path / "000002.gif").write_bytes(b"of a picture that somebody moved")
    (tmp_path / "20260131120000.png").write_bytes(b"a screenshot")
    start = first_free(tmp_path)
    assert start == 3
    runs = [
        Writer(tmp_path, start, [{"prompt": name}] * 2, {}, first_image=0) for name in "ab"
    ]  # both began before either wrote
    for index in range(2):
        for value, run in enumerate(runs):
            run.add(VQDiffusionOutput(picture + np.uint8(value), None, None, np.array([index])), None)
    for number in range(3, 7):
        drawn, prompt = (
            Image.open(tmp_path / f"{number:06d}.png"),
            json.loads((tmp_path / f"{number:06d}.json").read_text())["prompt"],
        )
        assert np.all(np.asarray(drawn) == "ab".index(prompt))
    for run in runs:
        run.finish()
    assert {path.name for path in tmp_path.glob("grid*")} == {"grid-000003.png", "grid-000004.png"}
    assert [line.split(", ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "000003 to 000005",
        "000004 to 000006",
    ]
    for path in tmp_path.glob("0*"):
        path.unlink()
    assert first_free(tmp_path) == 5  # a grid is not overwritten either


def test_expected_mistakes_are_one_line(capsys):
    import jax

    from vqdiffusion_jax.exit_status import status_of

    for error, code, message in (
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more"), 1, "--batch_size"),
        (jax.errors.JaxRuntimeError("INTERNAL: broken\nand more"), 1, "INTERNAL: broken"),
        (MemoryError(), 1, "--batch_size"),
        (IsADirectoryError(21, "Is a directory", "x.pth"), 1, "x.pth: Is a directory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):

        def fail(error=error):
            raise error

        assert status_of(fail) == code
        said = capsys.readouterr().err
        assert message in said and len(said.splitlines()) == 1


def test_progress_is_shown_in_pieces_of_one_length():
    from vqdiffusion_jax.generation import calls_a_piece

    assert [calls_a_piece(calls, 20) for calls in (1, 10, 97, 100, 1000)] == [1, 1, 5, 5, 50]


def test_dry_run_says_what_it_would_take(folder):
    done = run(f"--checkpoint={folder}", "--prompt=a dog", "--dry_run")
    assert done.returncode == 0, done.stderr
    for word in (
        "denoiser",
        "codec",
        "text_encoder",
        "GFLOP",
        "(1, 16)",
        "Ancestral: 10 network calls",
        "CLIP",
        "10 forwards",
    ):
        assert word in done.stdout
    options = (
        "--num_inference_steps=5",
        "--guidance_scale=2",
        "--guidance_interval=0,4",
        "--mesh=1,4,1",
        "--batch_size=4",
    )
    done = run(f"--checkpoint={folder}", "--prompt=a dog", "--dry_run", *options)
    assert done.returncode == 0, done.stderr
    for word in ("5 network calls a picture, 2 of them guided", "7 forwards", "bytes a device", "(4, 16)"):
        assert word in done.stdout, done.stdout


MISTAKES = [
    (("--checkpoint=nowhere", "--prompt=a"), "nowhere does not exist"),
    ((), "give --prompt or --prompts_file"),
    (("--mode=convert", "--out=nowhere"), "--checkpoint is needed"),
    (("stray",), "unexpected argument 'stray'"),
    (("--checkpoint={folder}",), "give --prompt or --prompts_file"),
    (
        ("--checkpoint={folder}", "--prompt=a", "--num_inference_steps=99"),
        "--num_inference_steps is 99; from timestep 9 there are 1 to 10 steps",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--strategy=maskgit", "--num_inference_steps=0"),
        "--num_inference_steps is 0",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--strategy=purity", "--tokens_per_call=0"),
        "--tokens_per_call is 0; it must be a whole number of at least 1",
    ),
    (("--checkpoint={folder}", "--prompt=a", "--truncation_rate=2"), "--truncation_rate is 2.0"),
    (
        ("--checkpoint={folder}", "--prompt=a", "--mesh=99,1,1"),
        "--mesh is (99, 1, 1) (data, fsdp, tensor), which needs 99",
    ),
    (("--checkpoint={folder}", "--prompt=a", "--skip_step=2"), "--skip_step goes with --strategy=fast"),
    (("--checkpoint={folder}", "--prompt=a", "--mapping=x.pt"), "already converted"),
    (("--checkpoint={folder}", "--prompt=a", "--mesh=2,2"), "3 whole numbers"),
    (("--checkpoint={folder}", "--prompt=a", "--faithful", "--dtype=bfloat16"), "faithful runs are float32"),
    (
        ("--checkpoint={folder}", "--prompt=a", "--image=main.py", "--strength=0.5"),
        "--image=main.py cannot be read as a picture",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--image=tests", "--strength=0.5"),
        "--image=tests cannot be read as a picture: it is a folder",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--image=nowhere.png", "--strength=0.5"),
        "--image=nowhere.png cannot be read",
    ),
    (("--checkpoint={folder}", "--prompt=a", "--image=nowhere.png"), "without --strength"),
    (("--checkpoint={folder}", "--prompt=a", "--mask_image=x.png"), "--mask_image is given without --image"),
    (("--checkpoint={folder}", "--prompt=a", "--outpaint=0.2,0,0,0"), "--outpaint is given without --image"),
    (("--checkpoint={folder}", "--prompts_file=tests"), "--prompts_file=tests cannot be read: it is a folder"),
    (("--checkpoint={folder}", "--prompts_file={folder}/weights.bin"), "save it as UTF-8"),
    (
        ("--checkpoint={folder}", "--class_labels=1"),
        "--class_labels is given, but this model is conditioned on text; it takes --prompt or",
    ),
    (("--checkpoint={folder}", "--prompt=a", "--timesteps=3,5"), "--timesteps is (3, 5); it must strictly decrease"),
    (
        ("--checkpoint={folder}", "--prompt=a", "--timesteps=10,5"),
        "--timesteps is (10, 5); it must be timesteps from 9 down to 0",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--timesteps=5,3", "--num_inference_steps=2"),
        "--timesteps and --num_inference_steps are both given",
    ),
    (
        ("--checkpoint={folder}", "--prompt=a", "--strategy=fast", "--timesteps=5,3"),
        "--timesteps goes with --strategy=posterior",
    ),
    (("--checkpoint=microsoft/vq-diffusion-ithq", "--prompt=a"), "HF_HUB_OFFLINE is set; unset it"),
    (("--checkpoint=tests", "--prompt=a"), "tests is no model folder"),
    (("--mode=convert", "--checkpoint={folder}"), "--out is needed"),
    (("--again={folder}/list.json",), "is not about a picture"),
    (("--again={folder}",), "cannot be read: it is a folder"),
    (("--again={folder}/strategy.json",), "purityy"),
    (("--again={folder}/steps.json",), "num_inference_steps is '3'"),
    (("--again={folder}/seed.json",), "seed is 'x'"),
    (("--again={folder}/out.json",), "there is no setting 'out'"),
]


def test_mistakes_are_one_line_and_leave_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for arguments, message in MISTAKES:
        command = [part.format(folder=folder) for part in arguments]
        done = run(*command, *([] if "--mode=convert" in command else [f"--out={tmp_path / 'out'}"]))
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ") and message in line, (message, done.stderr)
        assert done.returncode == 1, message
    assert not any(path.suffix == ".png" for path in tmp_path.rglob("*"))


def test_convert_and_export_round_trip(tmp_path):
    config = preset("tiny_text")
    config = replace(
        config, denoiser=replace(config.denoiser, position_grid=config.denoiser.grid)
    )  # all that diffusers can hold
    first = VQDiffusionPipeline(random_network(VQDiffusionModel, config))
    first.save_pretrained(tmp_path / "model")
    done = run(
        f"--checkpoint={tmp_path / 'model'}", f"--out={tmp_path / 'diffusers'}", script="convert/flax_to_diffusers.py"
    )
    assert done.returncode == 0, done.stderr
    done = run("--mode=flax_to_diffusers", f"--checkpoint={tmp_path / 'model'}", f"--out={tmp_path / 'by_mode'}")
    assert (done.returncode, done.stdout) == (0, f"written: {tmp_path / 'by_mode'}\n"), done.stderr
    written = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("diffusers", "by_mode")
    ]
    assert written[0] == written[1] and written[0]
    done = run(
        f"--checkpoint={tmp_path / 'diffusers'}", f"--out={tmp_path / 'native'}", script="convert/torch_to_flax.py"
    )
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
