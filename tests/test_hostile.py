"""A small part of ``benchmarks.hostile``: damaged and forged files, of the doors that cost little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import ScheduleConfig, TokenizerConfig, VQGANConfig, from_dict, to_dict
from vqdiffusion_jax.errors import ConfigError

MODEL = preset("tiny_text")
CONFIGS = {VQGANConfig: MODEL.codec, TokenizerConfig: MODEL.tokenizer, ScheduleConfig: MODEL.schedule}
REPO = Path(__file__).resolve().parents[1]
DOORS = (
    "checkpoint,clip,mapping,yaml_file,model_config,statistics,protocol,recipe,report,upload,picture,form,lora,"
    "known_words,bucket,page_requests,page_uploads,page_messages"
)


def test_two_hundred_hostile_inputs_end_well():
    command = [
        sys.executable,
        "-m",
        "benchmarks.hostile",
        "--count=200",
        "--seed=7",
        "--processes=1",
        f"--doors={DOORS}",
    ]
    # NiceGUI looks for this, and would wait for tests of its own.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all |" in done.stdout


def test_what_is_wrong_is_found(tmp_path):
    """The harness tells a traceback, memory, waiting and code that runs from a line."""
    code = """
import sys, os, time
from benchmarks import _hostile_doors as doors, hostile
def traceback(case): {}["x"]
def memory(case): keep = b"x" * (2**30 + 2**28); time.sleep(0.5)
def wait(case): time.sleep(60)
def code(case): case.canary.touch(); raise FileNotFoundError("x")
def half(case): case.writes.append(case.place / "out"); (case.place / "out").mkdir(); raise FileNotFoundError("x")
def died(case): os.kill(os.getpid(), 11)
def line(case): raise FileNotFoundError("x")
for door in (traceback, memory, wait, code, half, died, line):
    hostile.WAITING = 4.0 if door is wait else 60.0
    doors.DOORS.clear(); doors.DOORS[door] = 1
    from pathlib import Path
    folder = Path(sys.argv[1]) / door.__name__; folder.mkdir()
    print(door.__name__, "=", hostile.run(0, 1, processes=1, folder=folder, whole=folder)[0].outcome)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=REPO, capture_output=True, text=True, timeout=600
    )
    assert done.stdout.splitlines() == [
        "traceback = traceback",
        "memory = over 1 GiB",
        "wait = over 10 s",
        "code = code run",
        "half = half written",
        "died = died",
        "line = one line",
    ], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (VQGANConfig, {"num_res_blocks": 10**9}),
        (VQGANConfig, {"channel_multipliers": (1,) * 5000}),
        (VQGANConfig, {"channel_multipliers": (1, 2**70)}),
        (VQGANConfig, {"codebook_size": 10**30}),
        (TokenizerConfig, {"context_length": 10**12}),
        (ScheduleConfig, {"num_timesteps": 10**12}),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_anything_is_made(make, changes):
    with pytest.raises(ConfigError) as caught:
        from_dict(make, to_dict(CONFIGS[make]) | changes)
    assert next(iter(changes)) in str(caught.value) and len(str(caught.value)) < 400
