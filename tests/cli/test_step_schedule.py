"""The timesteps of a short run, from an evaluation's report to a flag of --mode=sample."""

import json
import sys

import pytest

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step_schedule") / "model"
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_unconditional"))).save_pretrained(folder)
    reports = {
        # Ten timesteps, each of which masks as many tokens; a guess at timestep 6 is as good as any later one.
        "report": {"likelihood": {"prior": 0.5, "by_timestep": [0.1] * 7 + [0.4] * 3}},
        "short": {"likelihood": {"prior": 0.5, "by_timestep": [0.1] * 9}},
        "samples": {"scores": {"fid": 3.0}},
    }
    for name, report in reports.items():
        (folder.parent / f"{name}.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def said(folder, capsys, monkeypatch):
    """Return a function that runs the mode in this process and returns its status, stdout and stderr."""

    def attempt(*arguments: str):
        command = ["main.py", "--mode=step_schedule", f"--checkpoint={folder}", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with left_as_it_was():
            status = run(command)
        return status, *capsys.readouterr()

    return attempt


def test_a_flag_and_the_bounds_are_printed(said, folder):
    status, printed, _ = said(f"--report={folder.parent / 'report.json'}", "--num_inference_steps=2")
    assert status == 0
    first, second = printed.splitlines()
    assert first == "--timesteps=9,6"
    bits = [float(word) for word in second.split() if word[0].isdigit()]
    # The best two cost as much as all; of two evenly spaced ones the first guess, 0.4 a timestep, serves all but the
    # last.
    assert bits == pytest.approx([2.4, 4.2, 2.4], abs=0.02)


@pytest.mark.parametrize(
    ("report", "steps", "message"),
    [
        (None, "2", "--report is needed"),
        ("report", None, "--num_inference_steps is needed"),
        ("nowhere", "2", "nowhere.json cannot be read: No such file"),
        ("samples", "2", "samples.json holds no bound by timestep"),
        ("short", "2", "give 10 finite numbers"),
        ("report", "11", "--num_inference_steps is 11; there are 1 to 10"),
    ],
)
def test_mistakes_are_one_line(said, folder, report, steps, message):
    given = [f"--report={folder.parent / report}.json"] if report else []
    status, printed, error = said(*given, *([f"--num_inference_steps={steps}"] if steps else []))
    assert status == 1 and not printed
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
