import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.toy import make_batch, make_config, make_frozen, shared_step
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import EMAConfig
from vqdiffusion_jax.training.denoiser.state import abstract_state, create_state
from vqdiffusion_jax.training.denoiser.step import make_step
from vqdiffusion_jax.training.ema import update_ema


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def run(config, mesh, steps=3, images=False, state=None):
    step, frozen = shared_step(config, mesh), make_frozen(config)
    state = create_state(config, mesh) if state is None else state
    metrics = []
    for number in range(int(state.step), int(state.step) + steps):
        state, measured = step(state, make_batch(config, number, images=images), frozen)
        metrics.append(jax.device_get(measured))
    return state, metrics


@pytest.mark.parametrize(("condition", "images"), [("text", True), ("class", False), ("none", True)])
def test_trains(condition, images, mesh):
    config = make_config(condition)
    state, metrics = run(config, mesh, steps=2, images=images)
    assert int(state.step) == 2
    assert all(np.isfinite(list(m.values())).all() for m in metrics)
    assert state.losses.count.sum() == 2 * config.batch_size


def test_learns(mesh):
    """One batch again and again: the loss estimate falls well below that of an untrained network."""
    config = make_config("class")
    step, frozen, state, batch = (
        shared_step(config, mesh),
        make_frozen(config),
        create_state(config, mesh),
        make_batch(config),
    )
    bits = []
    for _ in range(40):
        state, metrics = step(state, batch, frozen)
        bits.append(float(metrics["bits_per_token"]))
    assert np.mean(bits[-8:]) < 0.8 * np.mean(bits[:4])


def test_null_condition_learns_from_empty_captions_only(mesh):
    config = make_config("text")
    before = np.asarray(create_state(config, mesh).trained.denoiser.null_condition[...])
    batch = make_batch(config)
    step, frozen = shared_step(config, mesh), make_frozen(config)
    moments = {}
    for name, mask in {"some": batch["text_mask"], "none": np.ones_like(batch["text_mask"])}.items():
        state, _ = step(create_state(config, mesh), {**batch, "text_mask": mask}, frozen)
        moments[name] = np.abs(np.asarray(state.optimizer[1].mu.denoiser.null_condition[...])).max()
        assert not np.array_equal(before, state.trained.denoiser.null_condition[...])  # decay reaches it in any case
    assert moments["some"] > 0 and moments["none"] == 0


def test_accumulation_changes_nothing_but_rounding(mesh):
    results = [run(make_config("text", accumulation=rounds), mesh, steps=2) for rounds in (1, 4)]
    for name in ("loss", "bits_per_token", "grad_norm"):
        once, often = ([m[name] for m in metrics] for _, metrics in results)
        np.testing.assert_allclose(once, often, rtol=2e-4)
    np.testing.assert_array_equal(results[0][0].losses.count, results[1][0].losses.count)
    np.testing.assert_allclose(results[0][0].losses.history, results[1][0].losses.history, rtol=1e-4)


def test_state_starts_from_given_parameters(mesh):
    config = make_config()
    given = create_state(make_config(seed=11), mesh).trained
    kept = jax.tree.map(np.asarray, given)
    state = create_state(config, mesh, given)
    for tree in (state.trained, state.ema):
        jax.tree.map(np.testing.assert_array_equal, kept, tree)
    run(config, mesh, steps=1, state=state)  # both trees are given away without clashing


def test_average_moves_at_its_interval():
    config = EMAConfig(decay=0.9, interval=3)
    ema, expected = {"w": jnp.ones(2)}, np.ones(2)
    for step in range(7):
        parameters = {"w": jnp.full(2, float(step))}
        if step in (2, 5):
            expected = 0.9 * expected + 0.1 * step
        ema = update_ema(config, jnp.int32(step), ema, parameters)
        np.testing.assert_allclose(ema["w"], expected, rtol=1e-6)


def test_bfloat16_keeps_float32_state(mesh):
    config = make_config("text", compute=ComputeConfig(dtype="bfloat16", remat=True))
    state, metrics = run(config, mesh, steps=2)
    floats = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {jnp.dtype("float32")}
    exact = run(make_config("text"), mesh, steps=2)[1]
    np.testing.assert_allclose([m["loss"] for m in metrics], [m["loss"] for m in exact], rtol=0.05)


def test_batch_must_divide():
    config = make_config(batch_size=8, accumulation=2)

    class Fake:
        shape = {"data": 3, "fsdp": 1, "tensor": 1}

    with pytest.raises(ConfigError, match="not divisible by the mesh's data x fsdp = 3 x 1"):
        config.check_mesh(Fake)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform, mesh):
    config = make_config("text", compute=ComputeConfig(dtype="bfloat16", remat=True), accumulation=2)
    frozen = jax.eval_shape(lambda given: given, make_frozen(config))  # made outside: it is kept for other tests
    batch = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in make_batch(config, images=True).items()}
    traced = make_step(config, mesh).trace(abstract_state(config, mesh), batch, frozen)
    assert traced.lower(lowering_platforms=(platform,)).as_text()
