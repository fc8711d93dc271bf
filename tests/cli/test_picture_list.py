"""Tables in --prompts_file: a setting a column, refusals that name the row, batches of equal rows, and resuming."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.cli.main import parse
from vqdiffusion_jax.cli.picture_list import groups_of
from vqdiffusion_jax.cli.prompt_table import FILE_NAME, read_table
from vqdiffusion_jax.cli.sample import table_given
from vqdiffusion_jax.cli.setting_flags import typed
from vqdiffusion_jax.cli.tools import read_prompts
from vqdiffusion_jax.errors import UsageError
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import Ancestral, MaskGIT, PurityPrior


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list") / "model"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def flags():
    """Return a function that parses flags, which are forgotten afterwards."""
    with left_as_it_was():
        yield lambda *given: parse(["main.py", *given])


@pytest.fixture
def table(tmp_path):
    def written(text: str, name: str = "list.csv") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return written


def command(monkeypatch, *arguments: str) -> int:
    command = ["main.py", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", command)
    with left_as_it_was():
        return run(command)


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_every_setting_with_a_flag_is_a_column_of_its_type(table, flags):
    flags()
    rows = [
        {"prompt": "a", "seed": "3", "guidance_interval": "2,8", "return_trajectory": "true", "rounding": "round"},
        {"prompt": "b", "strategy": "purity", "purity_weight": "0.5", "top_k": "7", "image": "p.png"},
        {"prompt": "c", "seed": 9, "outpaint": [0.1, 0, 0, 0], "image": "/p.png", "negative_prompt": ["d"]},
    ]
    rows[1]["mask_image"] = "m.png"
    rows[2]["top_k"] = None
    file = table("".join(json.dumps(row) + "\n" for row in rows), "list.jsonl")
    first, second, third = (one.settings for one in table_given(file))
    assert (first.seed, first.guidance_interval, first.return_trajectory) == (3, (2, 8), True)
    assert first.rounding == "round" and first.prompt == ("a",)
    assert second.completed(Ancestral()).strategy == PurityPrior(0.5) and second.top_k == 7
    assert second.image == file.replace("list.jsonl", "p.png")  # beside the table
    assert third.image == "/p.png" and third.outpaint == (0.1, 0, 0, 0) and third.negative_prompt == ("d",)
    assert {"prompt", "seed", "purity_weight", "remask_rate", "strategy"} < set(typed())


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_blank_cells(table, flags, delimiter):
    flags("--top_k=5", "--num_inference_steps=4", "--seed=2")
    lines = ["Prompt,seed,truncation_rate,timesteps,file_name", "a,,,,x.png", "b,7,0.5,'3,1',", ""]
    file = table("\n".join(lines).replace("'", '"').replace(",", delimiter).replace(f"3{delimiter}1", "3,1"))
    first, second = table_given(file)
    assert (first.settings.seed, first.settings.top_k, first.name, first.line) == (2, 5, "x", 2)
    assert first.settings.completed(Ancestral()).strategy == Ancestral(4)
    # A row's own settings take the place of those that the flags say, and of those that they exclude.
    assert (second.settings.seed, second.settings.top_k, second.settings.truncation_rate) == (7, None, 0.5)
    assert (
        second.settings.completed(Ancestral()).strategy == Ancestral(timesteps=(3, 1))
        and second.name is None
        and second.line == 3
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,guidance_scal\na,1\n", "line 1: there is no column 'guidance_scal'; did you mean guidance_scale?"),
        ("caption\na\n", "line 1: there is no column 'caption'; did you mean prompt?"),
        ("prompt,num_images\na,\n", "line 1: there is no column 'num_images'; did you mean num_images_per_prompt?"),
        ("prompt,steps\na,\n", "line 1: there is no column 'steps'; did you mean num_inference_steps?"),
        ("prompt,latents\na,\n", "line 1: there is no column 'latents'; a column is file_name, or a setting"),
        ("prompt,top_k\na,3\nb,x\n", "line 3: top_k is 'x'; it must be a whole number of at least 1"),
        ("prompt,top_k\na,3\n\nb,2.5\n", "line 4: top_k is '2.5'; it must be a whole number of at least 1"),
        ("prompt,seed\na,-1\n", "line 2: seed is -1; give a whole number"),
        ("prompt,strategy\na,purityy\n", "line 2: strategy is 'purityy'; it must be one of .*did you mean purity?"),
        ("prompt,purity_weight\na,-2\n", "line 2: purity_weight is -2.0; it must be a finite number of at least 0"),
        ("prompt,strategy,temperature\na,fast,2\n", "line 2: temperature goes with strategy=maskgit, not fast"),
        ("prompt,top_k,truncation_rate\na,2,0.5\n", "line 2: truncation_rate and top_k are both given"),
        ("prompt,return_trajectory\na,maybe\n", "line 2: return_trajectory is 'maybe'; it must be true or false"),
        ("prompt,file_name\na,x/y.png\n", "line 2: file_name is 'x/y.png'; it must be a file's name without folders"),
        ("prompt,file_name\na,..\n", "line 2: file_name is '..'; it must have 1 to 200 bytes"),
        ("prompt,file_name\na,x.jpg\n", "line 2: file_name is 'x.jpg'; pictures are written as PNG; name it x.png"),
        ("prompt,file_name\na,x\nb,X.png\n", "line 3: file_name 'X' is that of line 2 too"),
        ("sep=;\n\nprompt;step\na;1\nb;2\n", "line 3: there is no column 'step'; did you mean"),
        (",prompt\n0,a\n", "line 1: column 1 has no name; leave it out (of pandas: index=False), or name it"),
        ("prompt,Prompt\na,b\n", "line 1: prompt stands there twice"),
        ("prompt,Prompt\n,\n,b\n", "line 1: prompt stands there twice"),
        ("prompt,seed,seed\na,1,2\n", "line 1 names the column 'seed' more than once; rename one"),
        ("prompt,seed\na\n", "line 2 has 1 cells but line 1 names 2 columns"),
        ("prompt\n", "holds no row"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_row(table, flags, text, message):
    flags()
    with pytest.raises(UsageError, match=message.replace("?", r"\?").replace("(", r"\(").replace(")", r"\)")) as error:
        table_given(table(text))
    assert str(error.value).startswith("--prompts_file=") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": ["a", "b"]}, "prompt is .*; it must be one value; write a row for each picture"),
        ({"prompt": 5}, "prompt is 5; it must be"),
        ({"prompt": "a", "top_k": True}, "top_k is True; it must be a whole number"),
        ({"prompt": "a", "seed": [1, 2]}, "seed holds 2 seeds for 1 pictures"),
        ({"prompt": "a", "image": 3}, "image is 3; it must be the path of a picture"),
        ({"prompt": "a", "file_name": 3}, "file_name is 3; it must be a text"),
        ({"prompt": "a\0"}, "prompt has a null character"),
        (["a"], "it must be a JSON table"),
        ({"promt": "a"}, "line 2: there is no column 'promt'; did you mean prompt"),
        ({"prompt": None, "Prompt": "a"}, "line 2: prompt stands there twice"),
    ],
)
def test_values_of_json_are_checked_as_they_are(table, flags, row, message):
    flags()
    with pytest.raises(UsageError, match=message):
        table_given(table('{"prompt": "x"}\n' + json.dumps(row), "list.jsonl"))


def test_rows_that_differ_in_prompt_and_seed_alone_are_drawn_together(table, flags):
    flags("--num_images_per_prompt=2")
    lines = ["prompt,seed,top_k", "a,1,", "b,2,", "c,1,5", "a,1,", "d,1,5"]
    listed = table_given(table("\n".join(lines)))
    assert groups_of(listed) == [[0, 1, 2, 3, 6, 7], [4, 5, 8, 9]]
    # The fourth row is the first again, so it goes on from its pictures.
    assert [one.settings.first_image for one in listed] == [0, 1, 0, 1, 0, 1, 2, 3, 0, 1]


def test_each_row_is_the_picture_of_its_own_settings(pipeline, folder, table, tmp_path, monkeypatch, capsys):
    rows = [
        {"prompt": "a dog", "seed": 3, "guidance_scale": 2.5, "negative_prompt": "a cat", FILE_NAME: "first.png"},
        {"prompt": "a cat", "seed": 4, "guidance_scale": 2.5, "negative_prompt": "a dog", FILE_NAME: "second"},
        {"prompt": "a cat", "strategy": "purity", "purity_weight": 1.5, "num_images_per_prompt": 2},
        {"prompt": "a star", "seed": 3, "guidance_scale": 2.5, "negative_prompt": "a", FILE_NAME: "third"},
    ]
    file, out = table("\n".join(map(json.dumps, rows)), "list.jsonl"), tmp_path / "out"
    arguments = (f"--checkpoint={folder}", f"--prompts_file={file}", f"--out={out}", "--batch_size=2")
    assert command(monkeypatch, *arguments) == 0
    assert "written: 5 of 5 pictures" in capsys.readouterr().out
    names = {"first": [0], "second": [0], "000002": [0], "000003": [1], "third": [0]}
    for row, name in zip([rows[0], rows[1], rows[2], rows[2], rows[3]], names, strict=True):
        settings = {key: value for key, value in row.items() if key not in (FILE_NAME, "num_images_per_prompt")}
        settings |= {"first_image": names[name][0], "batch_size": 2, "output_type": "uint8"}
        np.testing.assert_array_equal(read(out / f"{name}.png"), pipeline(**settings).images[0])

    # A second run draws what is missing, and reads no weights if nothing is.
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr("vqdiffusion_jax.loading.OpenedModel.load", None)
    assert command(monkeypatch, *arguments) == 0
    assert "skipped: 5 of 5 pictures" in capsys.readouterr().out
    monkeypatch.undo()
    (out / "second.png").unlink()
    (out / "third.json").write_text("")  # as a run leaves it that was killed
    (out / "third.png").unlink()
    assert command(monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert "skipped: 3 of 5 pictures" in said and "written: 2 of 2 pictures" in said
    assert before.items() <= {path.name: path.read_bytes() for path in out.iterdir()}.items()

    # What was drawn otherwise is not overwritten.
    assert command(monkeypatch, *arguments, "--rounding=round") == 1
    assert "line 1: " in (said := capsys.readouterr().err) and "first.png is there already" in said


def test_a_row_that_does_not_fit_the_model_is_named(folder, table, tmp_path, monkeypatch, capsys):
    file = table("prompt,timesteps\na,\n,\nb,\n")
    arguments = (f"--checkpoint={folder}", f"--out={tmp_path / 'out'}")
    assert command(monkeypatch, *arguments, f"--prompts_file={file}") == 0  # blank rows are none
    file = table("prompt,guidance_interval\na,\n,'2,5'\n".replace("'", '"'))
    assert command(monkeypatch, *arguments, f"--prompts_file={file}") == 1
    assert "line 3: this model is conditioned on text; give prompt" in capsys.readouterr().err
    file = table("prompt,guidance_interval\na,\nb,'2,5000'\n".replace("'", '"'))
    assert command(monkeypatch, *arguments, f"--prompts_file={file}") == 1
    assert "line 3: guidance_interval is (2, 5000)" in capsys.readouterr().err


def test_a_list_of_lines_resumes_too(folder, table, tmp_path, monkeypatch, capsys):
    file, out = table("a dog\na cat\na dog\n", "list.txt"), tmp_path / "out"
    arguments = (f"--checkpoint={folder}", f"--prompts_file={file}", f"--out={out}", "--num_inference_steps=2")
    assert command(monkeypatch, *arguments) == 0
    third = read(out / "000002.png")
    assert json.loads((out / "000002.json").read_text())["first_image"] == 1
    (out / "000002.png").unlink()
    assert command(monkeypatch, *arguments) == 0
    assert "skipped: 2 of 3 pictures" in capsys.readouterr().out
    np.testing.assert_array_equal(read(out / "000003.png"), third)


def test_other_modes_take_the_prompts_of_a_table(table, flags):
    flags()
    assert read_prompts(table("prompt\na\nb\n")) == ["a", "b"]
    assert [row.fields for row in read_table(table("prompt,seed\na,\n"))] == [{"prompt": "a"}]
    with pytest.raises(UsageError, match="line 2: it sets prompt, seed; this mode takes a prompt a row"):
        read_prompts(table("prompt,seed\na,1\n"))


def test_settings_that_change_nothing_are_told_of_every_row_each_line_once(folder, table, monkeypatch, capsys):
    text = 'prompt,guidance_scale,guidance_interval,null\na,2,,\nb,1,"0,3",\nc,1,"0,3",\nd,1,,text\ne,2,"0,3",\n'
    assert command(monkeypatch, f"--checkpoint={folder}", f"--prompts_file={table(text)}", "--dry_run") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: --")]
    why = "changes nothing, as --guidance_scale is 1, which is no guidance; give more than 1"
    assert told == [f"warning: --{name} {why}" for name in ("guidance_interval", "null")]


def test_a_row_that_does_not_fit_the_models_strategy_is_named(folder, table, monkeypatch, capsys):
    text = "prompt,purity_weight\na,\nb,2\n"
    assert command(monkeypatch, f"--checkpoint={folder}", f"--prompts_file={table(text)}", "--dry_run") == 1
    assert "line 3: purity_weight goes with strategy=purity, not posterior" in capsys.readouterr().err


def test_a_row_that_names_another_strategy_begins_with_its_defaults(table, flags):
    flags("--strategy=remask", "--num_inference_steps=7", "--guidance_scale=2")
    first, second, third = table_given(table("prompt,strategy\na,\nb,remask\nc,maskgit\n"))
    assert first.settings.completed(Ancestral()).strategy.num_inference_steps == 7
    assert second.settings.completed(Ancestral()).strategy.num_inference_steps == 7
    assert third.settings.completed(Ancestral()).strategy == MaskGIT() and third.settings.guidance_scale == 2
