"""Every exception ends in one line and a status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vqdiffusion_jax.errors import ConfigError, ConversionError
from vqdiffusion_jax.exit_status import status_of

UNFORESEEN = [
    KeyError("k"),
    AttributeError("'NoneType' object has no attribute 'x'"),
    RecursionError("maximum recursion depth exceeded"),
    RuntimeError("many\nlines\x1b[31m" + "x" * 10**5),
    TypeError(),
    ImportError("no"),
    ExceptionGroup("several", [ValueError("a")]),
    AssertionError(),
]


def failing(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
def test_what_nobody_foresaw_names_a_file_with_the_traceback(error, capsys):
    assert status_of(failing(error)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {type(error).__name__}: ") and "please report" in said
    assert said.count("\n") == 1 and len(said) < 1000 and "\x1b" not in said and "Traceback" not in said
    details = Path(said.rpartition("details in ")[2].strip().rstrip(")"))
    assert "Traceback" in details.read_text() and "failing" not in said
    details.unlink()


def test_an_error_of_a_library_is_none_of_the_users(capsys):
    assert status_of(lambda: json.loads("{")) == 1
    assert "please report" in capsys.readouterr().err
    for error in (ConfigError("x is 5;\n allowed: 4"), ConversionError("a"), ValueError("b"), OSError(28, "full")):
        assert status_of(failing(error)) == 1
        said = capsys.readouterr().err
        assert "please report" not in said and said.count("\n") == 1


def test_a_long_value_does_not_hide_the_rest(capsys):
    assert status_of(failing(ValueError(f"--name is {'a' * 10**5}; it must be short"))) == 1
    said = capsys.readouterr().err
    assert len(said) < 400 and said.endswith("it must be short\n") and "100001 characters" in said


def test_without_a_place_for_the_file_it_names_the_flag(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert status_of(failing(KeyError("k"))) == 1
    assert "please report; --debug shows where" in capsys.readouterr().err


def test_debug_prints_the_traceback(capsys):
    assert status_of(failing(ConfigError("x")), debug=True) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and said.endswith("error: x\n")


@pytest.mark.parametrize(("out", "status"), [("| head -c 1", 0), ("> /dev/full", 1)])
def test_output_that_nobody_takes_is_no_traceback(out, status):
    program = "from vqdiffusion_jax.exit_status import exit_with_status; exit_with_status(lambda: print('x' * 10**6))"
    command = f'{sys.executable} -c "{program}" {out}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == status and "Traceback" not in done.stderr and done.stderr.count("\n") <= 1, done.stderr
    assert "Exception ignored" not in done.stderr
