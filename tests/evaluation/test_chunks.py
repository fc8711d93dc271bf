"""Chunks of an evaluation that hold something else than they should."""

import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.chunks import SECONDS, ChunkStore


@pytest.fixture
def store(tmp_path):
    store = ChunkStore(tmp_path, 3, 2, {})
    store.fill(lambda pictures: {"colour": np.ones((len(pictures), 4), np.float32)})
    return store


def test_whole_chunks_are_read(store):
    assert store.all("colour").shape == (3, 4) and store.pictures_per_second() > 0


@pytest.mark.parametrize(
    "changed",
    [
        {SECONDS: np.array(["a", "b"])},
        {SECONDS: np.ones(2)},
        {"colour": np.array(["a"])},
        {"colour": np.ones((2, 4))},
        {"colour": np.float32(1)},
    ],
)
def test_other_arrays_in_a_chunk_are_one_line(store, changed):
    arrays = {"colour": np.ones((1, 4), np.float32), SECONDS: np.float64(1)} | changed
    np.savez(store.path(1), **arrays)
    with pytest.raises(EvaluationError, match="chunk-000001.npz is not there, is damaged or lacks"):
        store.all("colour")
        store.pictures_per_second()
