import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept, reduction_from_full
from vqdiffusion_jax.models.quantizers import (
    codebook_norms,
    commitment_loss,
    ema_update,
    gumbel_noise,
    make_quantizer,
    nearest_codes,
)


def quantizer(kind, codebook_size=6, embed_dim=3):
    return make_quantizer(
        VQGANConfig(quantizer=kind, codebook_size=codebook_size, embed_dim=embed_dim), rngs=nnx.Rngs(0)
    )


def brute_force(latents, codebook):
    return np.square(latents[..., None, :].astype(np.float64) - codebook).sum(-1).argmin(-1)


@pytest.mark.parametrize("codes_at_once", [1, 5, 16, 37, 100])
def test_searching_piece_by_piece_changes_nothing_not_even_ties(codes_at_once):
    rng = np.random.default_rng(0)
    latents, codebook = rng.integers(-3, 4, (4, 9, 3)), rng.integers(-3, 4, (37, 3))  # whole numbers: many exact ties
    codebook[30] = codebook[2]
    found = nearest_codes(jnp.asarray(latents), jnp.asarray(codebook), codes_at_once=codes_at_once)
    assert found.shape == (4, 9) and found.dtype == jnp.int32
    np.testing.assert_array_equal(found, brute_force(latents, codebook))


def test_search_is_float32_for_bfloat16_latents_and_takes_norms_at_hand():
    rng = np.random.default_rng(1)
    codebook = (1.0 + 1e-2 * rng.standard_normal((50, 8))).astype(np.float32)  # closer together than bfloat16 can tell
    latents = jnp.asarray(codebook[::7])
    np.testing.assert_array_equal(nearest_codes(latents, codebook, norms=codebook_norms(codebook)), np.arange(0, 50, 7))
    rounded = latents.astype(jnp.bfloat16)
    np.testing.assert_array_equal(
        nearest_codes(rounded, codebook), brute_force(np.asarray(rounded, np.float64), codebook)
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**16))
def test_nearest_codes_of_any_size(rows, codes, codes_at_once, seed):
    rng = np.random.default_rng(seed)
    latents, codebook = rng.integers(-9, 10, (rows, 4)), rng.integers(-9, 10, (codes, 4))
    found = nearest_codes(jnp.asarray(latents), jnp.asarray(codebook), codes_at_once=codes_at_once)
    np.testing.assert_array_equal(found, brute_force(latents, codebook))


@pytest.mark.parametrize("kind", ["vq", "ema", "gumbel"])
def test_lookup_gives_the_codes_and_nan_outside_the_codebook(kind):
    q = quantizer(kind)
    np.testing.assert_array_equal(q.lookup(jnp.asarray([[5, 0]])), np.asarray(q.codebook[...])[[[5, 0]]])
    assert jnp.isnan(q.lookup(jnp.asarray([6]))).all()


@pytest.mark.parametrize("kind", ["vq", "ema"])
def test_codes_find_themselves(kind):
    q = quantizer(kind)
    np.testing.assert_array_equal(q.tokens(q.codebook[...]), np.arange(6))
    assert float(jnp.abs(q.codebook[...]).max()) <= 1 / 6


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gumbel_tokens_follow_the_softmax_of_the_logits(temperature):
    q = quantizer("gumbel")
    latent = jnp.asarray([1.0, -2.0, 0.5])
    draws = 40_000
    noise = gumbel_noise(jax.random.key(3), 1, draws, 6)[0]
    tokens = q.tokens(jnp.broadcast_to(latent, (draws, 3)), gumbel=noise, temperature=temperature)
    expected = np.asarray(jax.nn.softmax(q.logits(latent) / temperature))
    np.testing.assert_allclose(np.bincount(tokens, minlength=6) / draws, expected, atol=5 * 0.5 / draws**0.5)


def test_gumbel_tokens_with_given_noise_are_an_argmax_and_without_are_the_mode():
    q = quantizer("gumbel")
    latents = jax.random.normal(jax.random.key(0), (2, 7, 3))
    noise = jax.random.gumbel(jax.random.key(1), (2, 7, 6))
    np.testing.assert_array_equal(q.tokens(latents, gumbel=noise), (q.logits(latents) + noise).argmax(-1))
    np.testing.assert_array_equal(q.tokens(latents), q.logits(latents).argmax(-1))
    with pytest.raises(ValueError, match=r"noise has shape \(2, 7, 5\); these latents need \(2, 7, 6\)"):
        q.tokens(latents, gumbel=noise[..., :5])


def test_noise_of_an_image_does_not_depend_on_its_company():
    key = jax.random.key(0)
    three, two = gumbel_noise(key, 3, 4, 5), gumbel_noise(key, 2, 4, 5)
    np.testing.assert_array_equal(three[:2], two)
    assert not np.array_equal(three[0], three[1])
    keys = jax.random.split(key, 3)
    np.testing.assert_array_equal(gumbel_noise(keys[::-1], 3, 4, 5), gumbel_noise(keys, 3, 4, 5)[::-1])
    with pytest.raises(ValueError, match="one for each of the 2 images"):
        gumbel_noise(keys, 2, 4, 5)
    with pytest.raises(ValueError, match="jax.random.key"):
        gumbel_noise(jnp.zeros(2, jnp.uint32), 2, 4, 5)


def test_ema_update_by_hand():
    q = quantizer("ema", codebook_size=3, embed_dim=2)
    q.codebook[...] = q.codebook_sum[...] = jnp.asarray([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    before = jax.tree.map(np.asarray, q)
    latents = jnp.asarray([[[1.0, 0.0], [9.0, 1.0]], [[11.0, 0.0], [0.0, -1.0]]])
    after = jax.jit(ema_update)(q, latents)

    sizes = 0.99 + 0.01 * np.asarray([2.0, 2.0, 0.0])
    sums = 0.99 * before.codebook[...] + 0.01 * np.asarray([[1.0, -1.0], [20.0, 1.0], [0.0, 0.0]])
    smoothed = (sizes + 1e-5) / (sizes.sum() + 3e-5) * sizes.sum()
    np.testing.assert_allclose(after.cluster_size[...], sizes, rtol=1e-6)
    np.testing.assert_allclose(after.codebook_sum[...], sums, rtol=1e-6)
    np.testing.assert_allclose(after.codebook[...], sums / smoothed[:, None], rtol=1e-6)
    ema_update(q, latents)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, q))


def test_repeated_ema_updates_move_codes_to_the_means_of_their_latents():
    q = quantizer("ema", codebook_size=2, embed_dim=2)
    q.codebook[...] = q.codebook_sum[...] = jnp.asarray([[-1.0, 0.0], [1.0, 0.0]])
    latents = jnp.asarray([[-3.0, 1.0], [-5.0, 3.0], [4.0, 4.0]])
    q = jax.lax.fori_loop(0, 60, lambda _, q: ema_update(q, latents, decay=0.8), q)
    np.testing.assert_allclose(q.codebook[...], [[-4.0, 2.0], [4.0, 4.0]], rtol=1e-3)


def test_commitment_loss_pulls_latents_only():
    latents, codes = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[0.0, 4.0]])
    assert float(commitment_loss(latents, codes)) == 2.5
    to_latents, to_codes = jax.grad(commitment_loss, argnums=(0, 1))(latents, codes)
    np.testing.assert_array_equal(to_latents, [[1.0, -2.0]])
    np.testing.assert_array_equal(to_codes, [[0.0, 0.0]])


def test_reduction_decodes_to_the_smallest_full_code():
    reduction = reduction_from_full(np.asarray([0, 0, 2, 1, 0, 2], np.int64), codebook_size=6, num_codes=3)
    np.testing.assert_array_equal(reduction.reduced_to_full, [0, 3, 2])
    assert all(table.dtype == np.int32 for table in reduction)
    np.testing.assert_array_equal(reduction.full_to_reduced[reduction.reduced_to_full], [0, 1, 2])


@settings(deadline=None)
@given(st.integers(1, 20), st.data())
def test_reduction_there_and_back_is_the_identity(num_codes, data):
    extra = data.draw(st.lists(st.integers(0, num_codes - 1), max_size=20))
    table = data.draw(st.permutations([*range(num_codes), *extra]))
    full_to_reduced, reduced_to_full = reduction_from_full(table)
    np.testing.assert_array_equal(full_to_reduced[reduced_to_full], np.arange(num_codes))
    assert all(reduced_to_full[r] <= full for full, r in enumerate(full_to_reduced))


def test_first_codes_kept():
    full_to_reduced, reduced_to_full = first_codes_kept(5, 3)
    np.testing.assert_array_equal(full_to_reduced, [0, 1, 2, 0, 0])
    np.testing.assert_array_equal(reduced_to_full, [0, 1, 2])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1]], r"one row of integers"),
        ([], r"one row of integers"),
        ([0.0, 1.0], r"one row of integers, one a code; got float64"),
        ([0, -1], r"maps full code 1 to -1"),
        ([0, 1, 3], r"nothing maps to 2"),
        ([0, 1, 1, 2], r"4 entries but the codebook 3;"),
        ([0, 0, 1], r"keeps 2 codes but the model expects 3"),
    ],
)
def test_reduction_errors_are_one_line(table, message):
    with pytest.raises(ValueError, match=message) as error:
        reduction_from_full(table, codebook_size=3 if np.size(table) > 2 else None, num_codes=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "num_codes", "kept"),
    [("2887", 2887, [0, 3, 9, 10, 11, 12, 13, 14, 19]), ("974", 974, [0, 23, 66, 81, 91, 112, 125, 128])],
)
def test_released_reductions_have_one_catch_all(reference_root, name, num_codes, kept):
    torch = pytest.importorskip("torch")
    table = torch.load(reference_root / "codebooks" / f"taming_vqvae_{name}.pt", weights_only=True).numpy()
    full_to_reduced, reduced_to_full = reduction_from_full(table, num_codes=num_codes)
    np.testing.assert_array_equal(reduced_to_full[: len(kept)], kept)
    counts = np.bincount(full_to_reduced)
    assert counts[0] == table.size - num_codes + 1 and (counts[1:] == 1).all()
    assert (np.diff(reduced_to_full) > 0).all()


def test_fsq_counts_every_combination_of_levels_once_and_rounds_to_the_nearest():
    levels = (4, 3, 5)
    q = make_quantizer(VQGANConfig(quantizer="fsq", codebook_size=60, embed_dim=3, levels=levels), rngs=nnx.Rngs(0))
    codes = np.asarray(q.lookup(jnp.arange(60)))
    assert codes.shape == (60, 3) and len(np.unique(codes, axis=0)) == 60
    assert [sorted(set(column)) for column in codes.T] == [[-1, -0.5, 0, 0.5], [-1, 0, 1], [-1, -0.5, 0, 0.5, 1]]
    np.testing.assert_array_equal(codes[:6, 2], [-1, -0.5, 0, 0.5, 1, -1])  # the last number counts fastest
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(500, 3)) * 2, jnp.float32)
    rounded = np.round(np.asarray(q.bound(latents))) / (np.array(levels) // 2)
    np.testing.assert_allclose(q.lookup(q.tokens(latents)), rounded, atol=1e-6)
    assert set(np.asarray(q.tokens(latents * 10))) <= set(range(60)) and len(set(np.asarray(q.tokens(latents)))) > 40
    assert jnp.isnan(q.lookup(jnp.asarray([60, -1]))).all()


@pytest.mark.parametrize("levels, size, width", [((4, 4), 15, 2), ((16,), 16, 2), ((), 16, 2), ((16, 1), 16, 2)])
def test_levels_must_make_the_codebook(levels, size, width):
    with pytest.raises(ConfigError, match="levels"):
        VQGANConfig(quantizer="fsq", codebook_size=size, embed_dim=width, levels=levels)
