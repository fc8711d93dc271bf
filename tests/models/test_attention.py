"""Every attention implementation computes the same function, and lowers for every platform on this one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from vqdiffusion_jax.models.attention import _cudnn_supports, attention, cudnn_refusal, evened
from vqdiffusion_jax.models.layers import Attention
from vqdiffusion_jax.sharding import AXES

QUERY_BLOCK = 64

# (head width, queries, keys): every released head width; lengths below, at and off the query block.
SIZES = (
    (88, 2 * QUERY_BLOCK, 2 * QUERY_BLOCK),
    (64, QUERY_BLOCK + 22, QUERY_BLOCK + 22),
    (32, 16, 77),
    (12, 2 * QUERY_BLOCK, 40),
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Take the forms of long sequences on short ones."""
    monkeypatch.setattr("vqdiffusion_jax.models.attention.QUERY_BLOCK", QUERY_BLOCK)
    monkeypatch.setattr("vqdiffusion_jax.models.attention.SCORES_AT_ONCE", QUERY_BLOCK**2)


def draw(length, width, context=None, heads=2, dtype="float32"):
    keys = jax.random.split(jax.random.key(length + width), 3)
    context = context or length
    shapes = ((2, length, heads, width), (2, context, heads, width), (2, context, heads, width))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes)]


def by_hand(query, key, value, causal=False):
    """Return the definition in float64 numpy."""
    query, key, value = (np.asarray(a, np.float64) for a in (query, key, value))
    scores = np.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), value)


@pytest.mark.parametrize("implementation", ["auto", "xla", "blocked"])
@pytest.mark.parametrize("width, length, context", SIZES)
def test_implementations_agree(implementation, width, length, context):
    qkv = draw(length, width, context)
    np.testing.assert_allclose(attention(*qkv, implementation=implementation), by_hand(*qkv), atol=1e-5)


@pytest.mark.parametrize("implementation", ["auto", "xla", "blocked"])
@pytest.mark.parametrize("length", [8, QUERY_BLOCK + 3, 2 * QUERY_BLOCK])
def test_causal(implementation, length):
    qkv = draw(length, 12)
    np.testing.assert_allclose(
        attention(*qkv, causal=True, implementation=implementation), by_hand(*qkv, causal=True), atol=1e-5
    )


@pytest.mark.parametrize("width, length, context", SIZES)
def test_gradients_agree(width, length, context):
    qkv = draw(length, width, context)
    target = jax.random.normal(jax.random.key(9), qkv[0].shape)

    def gradient(implementation):
        return jax.grad(
            lambda *args: (attention(*args, implementation=implementation) * target).sum(), argnums=(0, 1, 2)
        )(*qkv)

    expected = gradient("xla")
    for implementation in ("auto", "blocked"):
        for got, want in zip(gradient(implementation), expected):
            np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("implementation", ["auto", "xla", "blocked"])
def test_half_precision_stays_close(implementation, dtype):
    qkv = draw(256, 88, dtype=dtype)
    got = attention(*qkv, implementation=implementation)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype("float32"), by_hand(*qkv), atol=2e-2)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_auto_lowers_for_other_platforms(platform, dtype):
    qkv = draw(256, 88, dtype=dtype)

    def step(*args):
        return jax.grad(lambda *qkv: attention(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))(*args)

    for function in (attention, step):
        text = jax.jit(function).trace(*qkv).lower(lowering_platforms=(platform,)).as_text()
        loops = "stablehlo.while" in text
        assert loops == (platform == "cpu"), "only the CPU's form walks over heads and query blocks"


def test_a_large_batch_of_short_sequences_is_not_held_at_once(monkeypatch):
    monkeypatch.setattr("vqdiffusion_jax.models.attention.SCORES_AT_ONCE", 2 * 16**2)
    monkeypatch.setattr("vqdiffusion_jax.models.attention.MOST_SCORES", 4 * 2 * 16**2)
    for batch, turns in ((4, False), (5, True)):
        query = jnp.ones((batch, 16, 2, 8))
        text = jax.jit(attention).trace(query, query, query).lower(lowering_platforms=("cpu",)).as_text()
        assert ("stablehlo.while" in text) == turns


@pytest.mark.parametrize("tensor", [1, 2])
def test_split_heads_do_not_take_turns(tensor):
    """On a mesh with a tensor axis each device has heads of its own, and works on them at the same time."""
    qkv = draw(256, 88)  # outside the mesh: JAX computes nothing on an abstract one
    mesh = jax.sharding.AbstractMesh((2, 1, tensor), AXES, axis_types=(AxisType.Auto,) * 3)
    with jax.sharding.use_abstract_mesh(mesh):
        text = jax.jit(attention).trace(*qkv).lower(lowering_platforms=("cpu",)).as_text()
    assert ("stablehlo.while" in text) == (tensor == 1)


def test_auto_compiles_to_one_branch():
    compiled = jax.jit(jax.grad(lambda q, k, v: attention(q, k, v).sum())).lower(*draw(256, 12)).compile()
    assert "conditional" not in compiled.as_text()


def test_cudnn_without_a_gpu_warns_and_falls_back():
    if jax.default_backend() == "gpu":
        pytest.skip("this machine has a GPU")
    qkv = draw(20, 12)
    with pytest.warns(UserWarning, match="needs a CUDA GPU"):
        got = attention(*qkv, implementation="cudnn")
    np.testing.assert_allclose(got, by_hand(*qkv), atol=1e-5)


def test_cudnn_says_why_it_is_not_taken():
    refusal = cudnn_refusal((64, 2, 64), (64, 2, 64), "float32")
    assert refusal and "not float32" in refusal and "\n" not in refusal


@pytest.fixture
def cudnn_9(monkeypatch):
    """Let JAX lower for cuDNN as where its package is installed; lowering asks for nothing but its version."""
    module = "jax._src.cudnn.fused_attention_stablehlo"
    monkeypatch.setattr(f"{module}.check_cudnn_version", lambda: 92800)
    answers = (_cudnn_supports, cudnn_refusal)
    for asked in answers:
        asked.cache_clear()
    yield
    for asked in answers:
        asked.cache_clear()


@pytest.mark.parametrize("implementation", ["auto", "cudnn"])
@pytest.mark.parametrize(
    "width, length, context, causal",
    [(88, 1024, 1024, False), (88, 1024, 77, False), (64, 1024, 77, False), (32, 256, 256, False), (64, 77, 77, True)],
)
def test_a_program_for_a_gpu_that_is_not_here_has_cudnn_attention(
    cudnn_9, implementation, width, length, context, causal
):
    """At every released shape, CLIP's odd context too, in sampling and in training."""
    if jax.default_backend() == "gpu":
        pytest.skip("this machine has a GPU, which is asked itself")
    qkv = [jax.ShapeDtypeStruct((2, n, 4, width), "bfloat16") for n in (length, context, context)]

    def mixed(*qkv):
        return attention(*qkv, causal=causal, implementation=implementation)

    def gradient(*qkv):
        return jax.grad(lambda *qkv: mixed(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))(*qkv)

    def lowered(function, platform):
        return jax.jit(function).trace(*qkv).lower(lowering_platforms=(platform,)).as_text()

    assert "__cudnn$fmha" in lowered(mixed, "cuda") and "dot_general" not in lowered(mixed, "cuda")
    assert "__cudnn$fmhaSoftmaxBackward" in lowered(gradient, "cuda")
    assert "__cudnn" not in lowered(mixed, "cpu") + lowered(mixed, "tpu")


def test_cudnn_is_not_taken_where_jax_refuses_the_shape(cudnn_9):
    qkv = draw(64, 12, dtype="bfloat16")
    assert "__cudnn" not in jax.jit(attention).trace(*qkv).lower(lowering_platforms=("cuda",)).as_text()
    with pytest.warns(UserWarning, match="head dim must be"):
        attention(*qkv, implementation="cudnn")


@pytest.mark.parametrize("length, context, causal", [(16, 7, False), (9, 7, False), (9, 8, False), (7, 7, True)])
def test_odd_lengths_filled_up_change_nothing(length, context, causal):
    """The form of cuDNN's backward pass, computed by XLA."""
    qkv = draw(length, 8, context)
    target = jax.random.normal(jax.random.key(9), qkv[0].shape)

    def gradient(form):
        return jax.grad(lambda *qkv: (form(*qkv) * target).sum(), argnums=(0, 1, 2))(*qkv)

    def filled(*qkv):
        return evened(*qkv, causal=causal, implementation="xla")

    np.testing.assert_allclose(filled(*qkv), by_hand(*qkv, causal=causal), atol=1e-5)
    plain = gradient(lambda *qkv: attention(*qkv, causal=causal, implementation="xla"))
    for got, want in zip(gradient(filled), plain, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_unknown_implementation():
    with pytest.raises(ValueError, match="allowed: auto"):
        attention(*draw(8, 12), implementation="flash")


def test_dropout_keeps_the_mean_and_needs_a_key():
    qkv = draw(8, 12)
    plain = attention(*qkv)
    np.testing.assert_array_equal(attention(*qkv, dropout_rate=0.5), plain)
    dropped = jax.vmap(lambda key: attention(*qkv, dropout_rate=0.5, dropout_key=key))(
        jax.random.split(jax.random.key(0), 4000)
    )
    assert not np.allclose(dropped[0], plain, atol=1e-2)
    np.testing.assert_allclose(dropped.mean(0), plain, atol=0.15)


def test_precomputed_keys_and_values():
    layer = Attention(16, 2, context_width=6, rngs=nnx.Rngs(0))
    x, context = jax.random.normal(jax.random.key(1), (2, 5, 16)), jax.random.normal(jax.random.key(2), (2, 7, 6))
    key, value = layer.keys_values(context)
    assert key.shape == value.shape == (2, 7, 2, 8)
    assert layer(x, (key, value)).shape == x.shape
