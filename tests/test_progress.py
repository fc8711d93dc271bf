"""Bars and diffusers' callbacks of a call: where they are seen, what they may change, and that tokens stay the same."""

import fcntl
import io
import os
import pty
import struct
import sys
import termios
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.errors import SettingError
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.progress import is_watched, progress_bar, watched

CALL = {"num_inference_steps": 5, "seed": 3, "output_type": "uint8"}


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_for_terminals_and_notebooks(monkeypatch):
    for stream, seen in ((io.StringIO(), False), (Terminal(), True), (None, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert is_watched() == seen
    shell = type("ZMQInteractiveShell", (), {})()
    notebook = ModuleType("IPython")
    notebook.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert is_watched()


def test_a_call_shows_its_progress_and_draws_the_same(pipeline, monkeypatch):
    drawn = pipeline("a dog", num_images_per_prompt=2, batch_size=1, **CALL)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    options = {"delay": 0, "mininterval": 0}
    pipeline.set_progress_bar_config(**options)
    watched = pipeline("a dog", num_images_per_prompt=2, batch_size=1, **CALL)
    assert "10/10" in terminal.getvalue()
    np.testing.assert_array_equal(watched.images, drawn.images)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    seen = []
    pipeline("a dog", callback=lambda done, *_: seen.append(done), callback_steps=2, **CALL)
    assert seen == [2, 4, 5] and "5/5" in terminal.getvalue()
    for quiet in ({"progress": False}, {"disable": True}):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        pipeline.set_progress_bar_config(**options, disable=quiet.pop("disable", False))
        pipeline("a dog", **CALL, **quiet)
        assert "denoising" not in terminal.getvalue()
    pipeline.set_progress_bar_config()
    monkeypatch.setattr(sys, "stderr", piped := io.StringIO())
    pipeline("a dog", **CALL)
    assert piped.getvalue() == ""


def test_bars_of_lists_are_for_terminals_too(monkeypatch):
    for stream, wanted, shown in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(watched(range(3), wanted=wanted, unit="image")) == [0, 1, 2]
        assert ("3/3" in stream.getvalue()) == shown


def _read(terminal):
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # its other end is closed
        return ""


@pytest.mark.parametrize("columns", [0, 60])
def test_a_terminal_without_a_width_has_a_bar_too(monkeypatch, columns):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(slave, "w") as terminal, open(master, "rb"):
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress_bar([10], delay=0):
            pass
        terminal.close()
        shown = "".join(iter(lambda: _read(master), ""))
    assert "10/10" in shown
    assert max(len(line.strip()) for line in shown.split("\r")) <= (columns or 80)


def test_a_callback_of_diffusers_sees_every_step(pipeline):
    seen = []

    def on_step_end(pipe, step, timestep, callback_kwargs):
        seen.append((pipe is pipeline, step, timestep, list(callback_kwargs), callback_kwargs["latents"].shape))
        return callback_kwargs

    drawn = pipeline("a dog", callback_on_step_end=on_step_end, **CALL)
    assert [one[:2] for one in seen] == [(True, step) for step in range(5)]
    assert [one[2] for one in seen] == sorted((one[2] for one in seen), reverse=True) and seen[-1][2] == 0
    assert all(one[3:] == (["latents"], (1, 16)) for one in seen)
    np.testing.assert_array_equal(drawn.images, pipeline("a dog", **CALL).images)


@pytest.mark.parametrize(("inputs", "passed"), [(["latents"], {"latents"}), ([], set()), (None, {"latents"})])
def test_a_callback_gets_the_arrays_that_it_asks_for(pipeline, inputs, passed):
    names = []

    def on_step_end(pipe, step, timestep, kwargs):
        names.append(set(kwargs))

    pipeline("a dog", callback_on_step_end=on_step_end, callback_on_step_end_tensor_inputs=inputs, **CALL)
    assert names == [passed] * 5


@pytest.mark.parametrize("last", [False, True])
def test_changed_latents_are_gone_on_from(pipeline, last):
    mask = pipeline.config.denoiser.mask_token
    fixed = np.arange(16)[None] % pipeline.config.denoiser.num_codes

    def on_step_end(pipe, step, timestep, kwargs):
        if last:
            return {"latents": np.where(np.arange(16) < 8, fixed, mask)} if step == 4 else {}
        return {"latents": jnp.asarray(fixed, jnp.int32)} if step == 1 else kwargs

    drawn = pipeline("a dog", callback_on_step_end=on_step_end, return_trajectory=True, **CALL)
    step = 4 if last else 1
    changed = np.where(np.arange(16) < 8, fixed, mask) if last else fixed
    np.testing.assert_array_equal(drawn.trajectory[:, step], changed)
    if last:
        np.testing.assert_array_equal(drawn.tokens, changed)
        assert drawn.images.std() > 0  # the likeliest codes stand in place of the masks
    else:
        assert np.any(drawn.tokens != pipeline("a dog", **CALL).tokens)


def test_an_interrupted_run_ends_and_the_next_does_not(pipeline):
    steps = []

    def on_step_end(pipe, step, timestep, kwargs):
        steps.append(step)
        pipe._interrupt = step == 2
        return kwargs

    given = {"num_images_per_prompt": 3, "batch_size": 1, **CALL}
    drawn = pipeline("a dog", callback_on_step_end=on_step_end, **given)
    assert steps == [0, 1, 2] and drawn.indices.tolist() == [0] and drawn.images.std() > 0
    assert (drawn.tokens == pipeline.config.denoiser.mask_token).any() and pipeline.interrupt
    assert len(pipeline("a dog", **given).images) == 3 and not pipeline.interrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callback_on_step_end": 3}, "callback_on_step_end is 3; it must be a function"),
        (
            {"callback_on_step_end": print, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]},
            r"callback_on_step_end_tensor_inputs is \['prompt_embeds'\]; it must be of \['latents'\]",
        ),
        ({"callback_on_step_end": print, "callback": print}, "callback and callback_on_step_end are both given"),
        ({"callback_on_step_end": lambda *_: {"noise": 1}}, r"returned \{'noise': 1\}; it must return a dict of"),
        ({"callback_on_step_end": lambda *_: True}, "returned True; it must return a dict of"),
        ({"callback_on_step_end": lambda *_: {"latents": np.zeros((1, 3))}}, r"their shape is \(1, 3\); it must be"),
        ({"callback_on_step_end": lambda *_: {"latents": np.full((1, 16), 999)}}, "cannot be used: .*out of range"),
        ({"callback_on_step_end": lambda *_: {"latents": np.full((1, 16), 0.5)}}, "cannot be used: "),
    ],
)
def test_what_cannot_be_used_is_one_line(pipeline, arguments, message):
    with pytest.raises(SettingError, match=message) as error:
        pipeline("a dog", **arguments, **CALL)
    assert "\n" not in str(error.value)
