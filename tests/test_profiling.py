"""A trace holds the steps that were asked for, and scopes are names alone."""

import contextlib
import gzip
import json
import sys

import jax
import jax.numpy as jnp
import pytest

from tests.in_process import left_as_it_was
from tests.networks import random_network
from vqdiffusion_jax import preset
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.profiling import Profiler


def steps_of(folder):
    """Return the numbers of the steps in the one trace below ``folder``, or None if there is none."""
    traces = list(folder.rglob("*.trace.json.gz"))
    if not traces:
        return None
    (trace,) = traces
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return sorted(int(event["args"]["step_num"]) for event in events if event.get("name") == "step")


@pytest.mark.parametrize(
    "first, count, made, traced",
    [(1, 2, 5, [1, 2]), (0, 1, 1, [0]), (3, 1, 2, None)],
    ids=["inside", "the only one", "after the end"],
)
def test_steps_of_a_trace(tmp_path, first, count, made, traced):
    profiler = Profiler(tmp_path, first=first, count=count)
    given = [jnp.full(3, number) for number in range(made)]
    assert [int(item[0]) for item in profiler.steps(given)] == list(range(made))
    assert not profiler.running
    assert steps_of(tmp_path) == traced


def test_a_run_that_fails_writes_its_trace(tmp_path):
    def failing():
        yield jnp.ones(3)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(Profiler(tmp_path, first=0, count=5).steps(failing()))
    assert steps_of(tmp_path) == [0, 1]


def command(monkeypatch, *flags):
    """Run a command line and return its exit status."""
    argv = ["main.py", *flags]
    monkeypatch.setattr(sys, "argv", argv)
    with left_as_it_was():
        return run(argv)


def test_sampling_is_traced(tmp_path, monkeypatch):
    drawn = ("--prompt=a dog", "--num_images_per_prompt=3", "--batch_size=1", "--num_inference_steps=1", "--noprogress")
    status = command(monkeypatch, *drawn, f"--out={tmp_path / 'out'}", f"--profile={tmp_path / 'trace'}")
    assert status == 0
    assert steps_of(tmp_path / "trace") == [1, 2]


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--profile_first=2"], "without --profile"),
        (["--profile={folder}", "--profile_first=1"], "0 to 0"),
        (["--profile={file}"], "name another folder"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, flags, told):
    (tmp_path / "file").write_text("")
    places = {"folder": tmp_path / "trace", "file": tmp_path / "file"}
    drawn = ("--prompt=a dog", "--num_inference_steps=1", "--noprogress", f"--out={tmp_path / 'out'}")
    assert command(monkeypatch, *drawn, *(flag.format(**places) for flag in flags)) == 1
    assert told in capsys.readouterr().err


def test_scopes_name_operations_and_nothing_else(monkeypatch):
    """The lowered program is the same text without scopes, and with locations each part of a block has its name."""
    config = preset("emoji").denoiser
    model = random_network(Denoiser, config)
    tokens = jnp.zeros((1, config.num_tokens), jnp.int32)
    condition = jnp.zeros((1, config.condition_length, config.condition_width))

    def lowered():
        return jax.jit(lambda *args: model(*args)).lower(tokens, 3, condition)

    named = lowered()
    for scope in ("embedding", "blocks", "self_attention/attention", "cross_attention/attention", "mlp", "logits"):
        assert scope in named.as_text(debug_info=True), scope
    jax.clear_caches()
    with monkeypatch.context() as patched:
        patched.setattr(jax, "named_scope", lambda name: contextlib.nullcontext())
        unnamed = lowered()
    assert "self_attention" not in unnamed.as_text(debug_info=True)
    assert named.as_text() == unnamed.as_text()
