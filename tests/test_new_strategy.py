"""A strategy in one file of somebody's own and one line: a call, flags, recipes, protocols and the page all take it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.demo.form import drawn, offered
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.evaluation.protocol import DRAWING, Protocol, from_table, to_table, with_settings
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import STRATEGIES

REPO = Path(__file__).resolve().parents[1]

STRATEGY = '''
"""Every second token first."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.diffusion.transitions import sample_categorical
from vqdiffusion_jax.sampling import Plan, check_fields, setting


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Checkerboard:
    """Draws the tokens of one parity, then those of the other."""

    first: str = setting("even", type=str, choices=("even", "odd"), help="Parity drawn first.")
    rounds: int = setting(1, type=int, least=1, help="Times that all tokens are drawn.")

    def __post_init__(self):
        check_fields(self)

    def plan(self, schedule, num_tokens):
        parity = np.arange(2 * self.rounds) + (self.first == "odd")
        timestep = np.linspace(schedule.num_timesteps - 1, 0, len(parity)).round().astype(np.int32)
        jump = schedule.jumps(timestep, timestep - 1)
        return Plan(timestep=timestep, jump=jump, reveal=np.zeros(len(parity), np.int32), extra=parity % 2)

    def step(self, call, log_x0, tokens, noise, draw):
        drawn = sample_categorical(log_x0, noise.gumbel(draw, log_x0.shape))
        return jnp.where(jnp.arange(tokens.shape[1]) % 2 == call.extra, drawn, tokens)
'''

# Runs commands one after another, in a process where the strategy has its one line.
DRIVER = """
import json, sys
from checkerboard import Checkerboard
from vqdiffusion_jax.sampling import STRATEGIES

STRATEGIES["checkerboard"] = Checkerboard

from absl import flags
from vqdiffusion_jax.cli import run

for argv in json.loads(sys.argv[1]):
    print("status", run(["main.py", *argv]), flush=True)
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS._flags().values():
        flag.unparse()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the strategy's file and a model."""
    folder = tmp_path_factory.mktemp("somebody")
    (folder / "checkerboard.py").write_text(STRATEGY)
    (folder / "driver.py").write_text(DRIVER)
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def checkerboard(place, monkeypatch):
    """The strategy's class, with a name."""
    spec = importlib.util.spec_from_file_location("checkerboard", place / "checkerboard.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "checkerboard", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(STRATEGIES, "checkerboard", module.Checkerboard)
    return module.Checkerboard


def run(place, *commands):
    """Return the output of the driver's commands, which all succeed."""
    done = subprocess.run(
        [sys.executable, str(place / "driver.py"), json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{REPO}"},
    )
    assert done.stdout.count("status 0") == len(commands), done.stderr
    return done.stdout


def test_a_call_and_commands_draw_by_it(place, checkerboard):
    pipeline = VQDiffusionPipeline.from_pretrained(place / "model")
    options = {"seed": 3, "output_type": "uint8"}
    drawn = pipeline("a dog", strategy=checkerboard(first="odd", rounds=2), **options)
    named = pipeline("a dog", strategy="checkerboard", first="odd", rounds=2, **options)
    plain = pipeline("a dog", strategy="checkerboard", **options)
    np.testing.assert_array_equal(drawn.tokens, named.tokens)
    assert np.any(drawn.tokens != plain.tokens) and pipeline.num_calls(strategy="checkerboard", rounds=3) == 6

    settings = ["--strategy=checkerboard", "--first=odd", "--rounds=2", "--seed=3"]
    printed = run(
        place,
        ["--mode=sample", "--help"],
        ["--checkpoint=model", "--prompt=a dog", *settings, "--out=out", "--noprogress"],
        ["--again=out/000000.json", "--out=again", "--noprogress"],
    )
    assert "checkerboard: Parity drawn first. [even]" in printed and "--first=even|odd" in printed
    recipe = json.loads((place / "out" / "000000.json").read_text())
    assert (recipe["strategy"], recipe["first"], recipe["rounds"]) == ("checkerboard", "odd", 2)
    for folder in ("out", "again"):
        np.testing.assert_array_equal(np.asarray(Image.open(place / folder / "000000.png")), drawn.images[0])


def test_a_protocol_holds_it(checkerboard):
    protocol = with_settings(Protocol(name="board"), {"strategy": "checkerboard", "first": "odd"})
    assert protocol.sampling.strategy == checkerboard(first="odd")
    assert from_table(json.loads(json.dumps(to_table(protocol))), where="here") == protocol
    assert protocol.identity(DRAWING)["first"] == "odd"
    assert protocol.identity(DRAWING) != protocol.changed(rounds=2).identity(DRAWING)


def test_the_page_offers_it_with_its_settings_and_draws_by_it(place, checkerboard):
    pipeline = VQDiffusionPipeline.from_pretrained(place / "model")
    inputs = offered(pipeline, "checkerboard")
    assert (inputs["first"].choices, inputs["rounds"].least) == (("even", "odd"), 1)
    job, frames = drawn(pipeline, prompt="a dog", seed=3, strategy="checkerboard", first="odd", rounds=2.0)
    assert job.settings.strategy == checkerboard(first="odd", rounds=2) and frames[-1].calls == 4
    assert (job.recipe["strategy"], job.recipe["first"], job.recipe["rounds"]) == ("checkerboard", "odd", 2)
    assert not frames[-1].snapshots[0].masked.any()
    expected = pipeline("a dog", seed=3, strategy=checkerboard("odd", 2), output_type="uint8").images[0]
    np.testing.assert_array_equal(frames[-1].snapshots[0].picture, expected)
