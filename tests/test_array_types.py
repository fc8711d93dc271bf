"""The annotated shapes and kinds of arrays are those that functions of diffusion, sampling and models take and give."""

from tests.processes import run_on_devices


def test_calls_are_as_annotated():
    done = run_on_devices(1, "-m", "tests.checked_calls")
    assert done.returncode == 0, done.stderr
