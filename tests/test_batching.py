"""Batches have one shape, and rows and results keep their order."""

import jax
import numpy as np

from vqdiffusion_jax.batching import in_batches, spread
from vqdiffusion_jax.sharding import make_mesh


def test_the_last_batch_is_filled_up_and_the_filling_dropped():
    shapes = []

    def double(batch):
        shapes.append(batch["a"].shape)
        return {"twice": 2 * batch["a"], "kept": batch["b"]}

    rows = {"a": np.arange(14).reshape(7, 2), "b": np.arange(7.0), "absent": None}
    for mesh in (None, make_mesh(devices=jax.devices()[:1])):
        shapes.clear()
        made = in_batches(double, rows, 3, mesh=mesh)
        assert shapes == [(3, 2)] * 3
        np.testing.assert_array_equal(made["twice"], 2 * rows["a"])
        np.testing.assert_array_equal(made["kept"], rows["b"])


def test_batches_are_prepared_on_the_host():
    made = in_batches(lambda batch: batch + 1, np.arange(5), 2, prepare=lambda batch: np.asarray(batch) * 10)
    np.testing.assert_array_equal(made, 10 * np.arange(5) + 1)


def test_random_keys_are_rows_too():
    keys = jax.random.split(jax.random.key(0), 5)
    wanted = np.asarray(jax.vmap(jax.random.bits)(keys))
    mesh = make_mesh(devices=jax.devices()[:1])
    for chosen in (None, mesh):
        made = in_batches(lambda batch: jax.vmap(jax.random.bits)(batch[0]), (keys, None), 2, mesh=chosen)
        np.testing.assert_array_equal(made, wanted)
    np.testing.assert_array_equal(jax.random.key_data(spread(keys, mesh)), jax.random.key_data(keys))
