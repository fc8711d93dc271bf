"""A text tower that learns with the denoiser: it moves, it is exported, and a run can start from it."""

import jax
import numpy as np
import pytest

from tests.training.toy import ToyLoader, make_config, make_model
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.text.known_words import KnownWords
from vqdiffusion_jax.training.denoiser.init_from import Pretrained, load_pretrained
from vqdiffusion_jax.training.denoiser.state import create_state
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

WORDS = KnownWords(("apple",), frozenset({"a"}))
CONFIG = make_config("text", train_text_encoder=True, steps=2)


def equal(one, other) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compilation_cache):
    """A finished run: its folder, its first and its last state."""
    folder, mesh = tmp_path_factory.mktemp("run"), make_mesh(devices=jax.devices()[:1])
    model = make_model(CONFIG)
    first = jax.tree.map(np.asarray, create_state(CONFIG, mesh).trained)
    task = DenoiserTask(CONFIG, Pretrained(codec=model.codec), mesh)
    task.known_words = WORDS
    outcome = train(task, folder, ToyLoader(CONFIG), log=lambda line: None)
    return folder, first, outcome.state


def test_tower_and_its_average_move(trained):
    _, first, state = trained
    assert (
        np.abs(np.asarray(state.optimizer[1].mu.text_encoder.token_embedding.embedding[...])).max() > 0
    )  # gradients, not only decay
    kernels = (tree.text_encoder.blocks.mlp.up.kernel[...] for tree in (first, state.trained, state.ema))
    before, now, average = map(np.asarray, kernels)
    np.testing.assert_allclose(average, 0.5 * before + 0.5 * now, rtol=1e-6)  # decay 0.5, moved once in two steps


def test_average_is_exported_and_started_from(trained):
    folder, _, state = trained
    pipeline = VQDiffusionPipeline.from_pretrained(folder / "model")
    exported = pipeline.model
    assert pipeline.known_words == WORDS
    assert all(equal(exported.text_encoder, state.ema.text_encoder)) and all(
        equal(exported.denoiser, state.ema.denoiser)
    )
    parts = load_pretrained(CONFIG, init_from=folder / "model")
    assert parts.text_encoder is None  # it is no frozen one
    assert all(equal(parts.trained, state.ema))
    again = create_state(CONFIG, make_mesh(devices=jax.devices()[:1]), parts.trained)
    assert all(equal(again.trained, state.ema)) and int(again.step) == 0
