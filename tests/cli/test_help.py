"""``--help`` groups flags by mode, and errors name a flag that does not exist or belongs to another mode."""

import shlex
import sys

import pytest
from absl import flags

from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.cli.help import check_taken
from vqdiffusion_jax.cli.main import MODES, mode_modules, parse


@pytest.fixture
def said(capsys, monkeypatch):
    """Return a function that runs the command line in this process and returns its status, stdout and stderr."""
    mode_modules()

    def attempt(*arguments: str):
        command = ["main.py", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with left_as_it_was():
            status = run(command)
        return status, *capsys.readouterr()

    return attempt


def entries(printed: str) -> dict[str, str]:
    """Return the entry of each flag, joined to one line."""
    found, name = {}, None
    for line in printed.splitlines():
        if line.startswith("  --"):
            name = line.split()[0].removeprefix("--").removeprefix("[no]").partition("=")[0]
            found[name] = line
        elif line.startswith("     ") and name:
            found[name] += " " + line.strip()
        else:
            name = None
    return found


def test_help_lists_every_flag_of_every_mode_with_its_default(said):
    status, printed, _ = said("--help")
    assert status == 0
    listed = entries(printed)
    for group, members in flags.FLAGS.flags_by_module_dict().items():
        if group.startswith(("mode ", "checkpoints", "several processes")):
            for flag in members:
                assert "default" in listed[flag.name] or listed[flag.name].endswith("]"), listed[flag.name]
    assert (
        listed["seed"].endswith("[0]")
        and listed["split"].endswith("[train,validation]")
        and listed["mask_image"].endswith("[none]")
    )
    assert "--strategy=posterior|fast|" in printed
    for mode in MODES:
        assert f"mode {mode}" in printed
    assert all(len(line) <= 120 for line in printed.splitlines())


@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_mode_lists_what_it_takes(said, mode):
    status, printed, _ = said(f"--mode={mode}", "--help")
    assert status == 0
    listed = set(entries(printed))
    assert set(mode_modules()[mode].SHARED) <= listed
    assert ("prompt" in listed) == (mode == "sample") and ("workdir" in listed) == mode.startswith("train")


@pytest.mark.parametrize("mode", MODES)
def test_the_example_of_a_mode_is_one(said, mode):
    _, printed, _ = said(f"--mode={mode}", "--help")
    example = next(line for line in printed.splitlines() if line.startswith("For example: "))
    words = shlex.split(example.removeprefix("For example: "))
    assert words[:3] == ["python", "main.py", f"--mode={mode}"] and len(words) > 3
    with left_as_it_was():
        assert parse(words[1:]) == ["main.py"]
        check_taken(mode_modules(), flags.FLAGS.mode)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--promt=x",), "error: unknown flag --promt; did you mean --prompt?"),
        (("--mode=train", "--guidance_scal=3"), "error: unknown flag --guidance_scal; did you mean --guidance_scale?"),
        (("--noprogess",), "error: unknown flag --noprogess; did you mean --noprogress?"),
        (("--zzzzzz=1",), "error: unknown flag --zzzzzz; python main.py --help lists the known ones"),
        (
            ("--mode=train", "--prompt=x"),
            "--prompt goes with --mode=sample, not train; python main.py --mode=train --help lists",
        ),
        (("--checkpoint=x", "--split=train"), "error: --split goes with --mode=tokenize or inspect, not sample; "),
        (("--mode=reduce_codebook", "--clip=x"), "error: --clip goes with --mode=sample or convert or train or "),
        (("--mode=trian", "--help"), "error: flag --mode=trian: value should be one of <sample|"),
        (("--seed=1.5",), "error: flag --seed=1.5: it must be a whole number"),
        (("--seed=" + "9" * 5000,), "it has too many digits"),
        (("--mode=inspect", "--out=a\0b"), "error: --out has a null character, which no text and no file's name"),
        (("--lora=a,b\0",), "error: --lora has a null character"),
        (("--guidance_scale=much",), "error: flag --guidance_scale=much: it must be a number"),
    ],
)
def test_a_flag_that_cannot_be_is_named(said, arguments, message):
    status, printed, errors = said(*arguments)
    assert status == 1 and not printed
    assert message in errors and len(errors.splitlines()) == 1
