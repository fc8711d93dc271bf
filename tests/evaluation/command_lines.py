"""The process of its own in which test_eval_command.py runs main.py with each command line of a JSON list, in turn.

A network that takes no time replaces the file of --inception.  Prints JSON: the status, output and errors of each run,
the rows of its last batch, and the number of them that each device computed.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl.testing import flagsaver
from flax import nnx

from tests.evaluation.watching import watch
from vqdiffusion_jax.cli.main import mode_modules
from vqdiffusion_jax.evaluation import extractors, likelihood, networks, reconstruction

MAIN = Path(__file__).resolve().parents[2] / "main.py"
FEATURES = 4


class FewPixels(nnx.Module):
    """Four features and five logits of nine of a picture's pixels."""

    def __init__(self):
        self.matrix = nnx.Param(jnp.asarray(np.random.default_rng(0).normal(size=(27, FEATURES + 5)), jnp.float32))

    def __call__(self, pictures):
        found = pictures[:, 49::100, 49::100].reshape(len(pictures), -1) @ self.matrix[...]
        return found[:, :FEATURES], found[:, FEATURES:]


def run(arguments: list[str], seen: dict) -> dict:
    said, wrong, status = io.StringIO(), io.StringIO(), 0
    seen.clear()
    sys.argv = [str(MAIN), *arguments]
    with flagsaver.flagsaver(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try:
            runpy.run_path(str(MAIN), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    return {"status": status, "out": said.getvalue(), "err": wrong.getvalue(), "rows": dict(seen)}


def main(lines: str) -> None:
    mode_modules()  # which defines the flags
    networks.load_inception = lambda path: FewPixels()
    seen: dict = {}
    for module, name in ((likelihood, "_terms"), (reconstruction, "_rebuild"), (extractors, "_run")):
        watch(module, name, seen)
    print(json.dumps([run(arguments, seen) for arguments in json.loads(lines)]))


if __name__ == "__main__":
    main(sys.argv[1])
