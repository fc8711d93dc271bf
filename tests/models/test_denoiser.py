"""The denoiser against its definition, against diffusers, and against itself run in other ways."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ComputeConfig, DenoiserConfig
from vqdiffusion_jax.models import layers
from vqdiffusion_jax.models.denoiser import AdaLayerNorm, Denoiser, sinusoidal_embedding
from vqdiffusion_jax.models.shapes import Keys, shapes_of
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.presets import preset

BATCH = 2
TINY = {
    kind: dataclasses.replace(preset(name).denoiser, activation="gelu" if kind == "none" else "gelu2")
    for kind, name in (("text", "tiny_text"), ("class", "tiny_class"), ("none", "tiny_unconditional"))
}
KINDS = tuple(TINY)


@functools.cache
def build(config: DenoiserConfig, compute: ComputeConfig = ComputeConfig()) -> Denoiser:
    """Return a denoiser whose every parameter is away from its initial value, biases and scales too."""
    draw = np.random.default_rng(0)

    def fill(path, leaf):
        center = 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(center + 0.2 * draw.standard_normal(leaf.shape), leaf.dtype)

    # Shapes only: compiling the initialisation would take longer than all else here.
    return jax.tree_util.tree_map_with_path(fill, shapes_of(Denoiser, config, compute))


def recast(model: Denoiser, compute: ComputeConfig) -> Denoiser:
    """Return the same parameters with another ComputeConfig."""
    other = shapes_of(Denoiser, model.config, compute)
    return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(model))


def inputs(config: DenoiserConfig):
    """Return tokens with masks among them, a timestep a sample, and a condition."""
    keys = jax.random.split(jax.random.key(7), 2)
    tokens = jax.random.randint(keys[0], (BATCH, config.num_tokens), 0, config.num_codes + 1)
    condition = {
        "text": jax.random.normal(keys[1], (BATCH, config.condition_length, config.condition_width)),
        "class": jnp.array([1, config.num_classes - 1]),
        "none": None,
    }[config.condition]
    return tokens, jnp.array([3, config.num_timesteps - 1]), condition


run = jax.jit(lambda model, *args, **options: model(*args, **options))


class ByHand:
    """The formulas of the network, in float64 numpy, one sample at a time."""

    def __init__(self, model: Denoiser):
        flat, _ = jax.tree_util.tree_flatten_with_path(model)
        self.parameters = {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf, np.float64) for path, leaf in flat
        }
        self.config = model.config

    def get(self, name, layer=None):
        value = self.parameters[name + ".value"]
        return value if layer is None else value[layer]

    def linear(self, x, name, layer=None):
        return x @ self.get(name + ".kernel", layer) + self.get(name + ".bias", layer)

    def norm(self, x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def affine_norm(self, x, name, layer=None):
        return self.norm(x) * self.get(name + ".scale", layer) + self.get(name + ".bias", layer)

    def adaptive_norm(self, x, index, name, layer):
        table = self.get(name + ".embedding.embedding", layer)
        row = table[index] if index < len(table) else table.mean(0)
        scale, shift = np.split(self.linear(row / (1 + np.exp(-row)), name + ".linear", layer), 2)
        return self.norm(x) * (1 + scale) + shift

    def attention(self, x, context, name, layer):
        query, key, value = (
            self.linear(source, f"{name}.{part}", layer)
            for part, source in (("query", x), ("key", context), ("value", context))
        )
        mixed, width = np.zeros_like(query), self.config.head_width
        for head in range(self.config.num_heads):
            columns = slice(head * width, (head + 1) * width)
            weights = np.exp(query[:, columns] @ key[:, columns].T / math.sqrt(width))
            mixed[:, columns] = weights / weights.sum(-1, keepdims=True) @ value[:, columns]
        return self.linear(mixed, name + ".out", layer)

    def activation(self, x):
        if self.config.activation == "gelu2":
            return x / (1 + np.exp(-1.702 * x))
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def conv(self, x, name, layer):
        height, width = self.config.grid
        padded = np.zeros((height + 2, width + 2, x.shape[-1]))
        padded[1:-1, 1:-1] = x.reshape(height, width, -1)
        kernel = self.get(name + ".kernel", layer)
        out = sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
        return (out + self.get(name + ".bias", layer)).reshape(height * width, -1)

    def mlp(self, x, layer):
        apply = self.conv if self.config.mlp == "conv" else self.linear
        return apply(self.activation(apply(x, "blocks.mlp.up", layer)), "blocks.mlp.down", layer)

    def __call__(self, tokens, t, condition):
        columns = self.config.position_grid[1]
        x = self.get("token_embedding.embedding")[tokens]
        for p in range(len(tokens)):
            x[p] += (
                self.get("height_embedding.embedding")[p // columns]
                + self.get("width_embedding.embedding")[p % columns]
            )
        for layer in range(self.config.num_layers):
            normed = self.adaptive_norm(x, t, "blocks.self_norm", layer)
            x = x + self.attention(normed, normed, "blocks.self_attention", layer)
            if self.config.condition == "text":
                normed = self.adaptive_norm(x, t, "blocks.cross_norm", layer)
                x = x + self.attention(normed, np.asarray(condition, np.float64), "blocks.cross_attention", layer)
            if self.config.condition == "class":
                normed = self.adaptive_norm(x, condition, "blocks.mlp_norm", layer)
            else:
                normed = self.affine_norm(x, "blocks.mlp_norm", layer)
            x = x + self.mlp(normed, layer)
        return self.linear(self.affine_norm(x, "final_norm"), "logits")


def by_hand(model, tokens, timesteps, condition):
    reference = ByHand(model)
    conditions = [None] * len(tokens) if condition is None else condition
    return np.stack([reference(np.asarray(x), int(t), c) for x, t, c in zip(tokens, timesteps, conditions)])


@pytest.mark.parametrize("mlp", ["dense", "conv"])
@pytest.mark.parametrize("kind", KINDS)
def test_matches_the_formulas(kind, mlp):
    model = build(dataclasses.replace(TINY[kind], mlp=mlp))
    args = inputs(model.config)
    logits = run(model, *args)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, by_hand(model, *args), atol=2e-4)


def test_uneven_grid_keeps_its_rows_and_columns_apart():
    model = build(dataclasses.replace(TINY["none"], grid=(2, 6)))
    args = inputs(model.config)
    np.testing.assert_allclose(run(model, *args), by_hand(model, *args), atol=2e-4)


def test_missing_class_takes_the_mean_row_sample_by_sample():
    model = build(TINY["class"])
    tokens, t, _ = inputs(model.config)
    labels = jnp.array([2, model.config.num_classes + 3])
    np.testing.assert_allclose(run(model, tokens, t, labels), by_hand(model, tokens, t, labels), atol=2e-4)
    precomputed = run(model, tokens, t, conditioning=model.precompute(labels))
    np.testing.assert_allclose(precomputed, by_hand(model, tokens, t, labels), atol=2e-4)


@pytest.mark.parametrize(
    "name, count",
    [
        ("coco", 388_780_871),
        ("coco_cf", 388_820_295),
        ("ithq", 1_359_274_624 + 77 * 512),
        ("imagenet", 518_025_678),
        ("imagenet_cf", 518_037_966),
        ("ffhq", 411_185_664),
        ("cub200_small", 35_936_647),
    ],
)
def test_parameter_counts_of_released_models(name, count):
    shapes = shapes_of(Denoiser, preset(name).denoiser)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def test_initialisation():
    config = dataclasses.replace(TINY["text"], width=64, condition_width=64, num_layers=3)
    model = jax.jit(lambda: Denoiser(config, rngs=Keys(0)))()
    for table in (
        model.token_embedding.embedding,
        model.blocks.self_attention.query.kernel,
        model.blocks.mlp.up.kernel,
    ):
        assert abs(table[...].std() - 0.02) < 2e-3
    assert abs(model.null_condition[...].std() - 1.0) < 0.1
    assert not model.blocks.mlp.up.bias[...].any() and not model.logits.bias[...].any()
    kernel = model.blocks.self_attention.query.kernel[...]
    assert not np.array_equal(kernel[0], kernel[1]), "each layer draws its own parameters"

    conv = jax.jit(lambda: Denoiser(dataclasses.replace(config, mlp="conv"), rngs=Keys(0)).blocks.mlp)()
    for part, fan_in in ((conv.up, 9 * 64), (conv.down, 9 * 256)):
        for parameter in (part.kernel[...], part.bias[...]):
            bound = 1 / math.sqrt(fan_in)
            assert np.abs(parameter).max() <= bound
            assert abs(parameter.std() - bound / math.sqrt(3)) < 0.1 * bound


def test_two_models_share_a_structure():
    for config in TINY.values():
        first, second = (jax.eval_shape(lambda: Denoiser(config, rngs=Keys(0))) for _ in range(2))  # noqa: B023
        assert jax.tree.structure(first) == jax.tree.structure(second)


@pytest.mark.parametrize("kind", KINDS)
def test_ways_to_run_agree(kind):
    model = build(TINY[kind])
    tokens, t, condition = inputs(model.config)
    expected = run(model, tokens, t, condition)
    unrolled = recast(model, ComputeConfig(scan_layers=False))
    np.testing.assert_allclose(run(unrolled, tokens, t, condition), expected, atol=1e-5)
    conditioning, modulation = jax.jit(lambda m: (m.precompute(condition), m.modulation_table()))(model)
    everything = {"conditioning": conditioning, "modulation": modulation}
    variants = ((model, {"modulation": modulation}), (model, everything), (unrolled, everything))
    for variant, options in (*variants, (unrolled.for_a_loop(), everything), (model.for_a_loop(), everything)):
        given = condition if options.get("conditioning") is None else None
        np.testing.assert_allclose(run(variant, tokens, t, given, **options), expected, atol=1e-5)
    same = run(model, tokens, jnp.full(BATCH, 4), condition)
    for options in ({}, {"modulation": modulation}):
        np.testing.assert_allclose(run(model, tokens, jnp.asarray(4), condition, **options), same, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_too_large_for_the_cache_run_one_after_the_other(kind, monkeypatch):
    model = build(TINY[kind])
    tokens, t, condition = inputs(model.config)
    together = run(model, tokens, t, condition)
    monkeypatch.setattr(layers, "NUMBERS_IN_CACHE", 0)
    alone = jax.jit(lambda model, *args: model(*args))
    np.testing.assert_allclose(alone(model, tokens, t, condition), together, atol=1e-5)
    loops = [step.lower(model, tokens, t, condition).as_text().count("stablehlo.while") for step in (run, alone)]
    assert loops[0] < loops[1]


def test_precomputed_sampling_runs_no_embedding_of_time_or_text():
    model = build(TINY["text"])
    tokens, t, condition = inputs(model.config)
    conditioning, modulation = model.precompute(condition), model.modulation_table()
    gradients = jax.grad(lambda m: run(m, tokens, t, conditioning=conditioning, modulation=modulation).sum())(model)
    blocks = gradients.blocks
    unused = (blocks.self_norm, blocks.cross_norm, blocks.cross_attention.key, blocks.cross_attention.value)
    assert not any(leaf.any() for leaf in jax.tree.leaves(unused))


@pytest.mark.parametrize("kind, scan_layers", [("text", True), ("class", True), ("none", True), ("text", False)])
def test_remat_keeps_gradients(kind, scan_layers):
    model = build(TINY[kind])
    args = inputs(model.config)

    @jax.jit
    def gradients(model):
        return jax.grad(lambda m: jnp.square(m(*args)).mean())(model)

    expected = gradients(model)
    recomputed = gradients(recast(model, ComputeConfig(remat=True, scan_layers=scan_layers)))
    for got, want in zip(jax.tree.leaves(recomputed), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    missing = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(expected)[0]
        if not leaf.any() and "null_condition" not in jax.tree_util.keystr(path)
    ]
    assert not missing, f"no gradient reaches {missing}"


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close(kind):
    model = build(TINY[kind])
    args = inputs(model.config)
    expected = run(model, *args)
    half = recast(model, ComputeConfig(dtype="bfloat16"))
    logits = run(half, *args)
    assert logits.dtype == jnp.float32
    assert np.abs(logits - expected).mean() < 0.02 * np.abs(expected).mean() + 0.02
    stored = shapes_of(Denoiser, model.config, ComputeConfig(param_dtype="bfloat16"))
    dtypes = {path: leaf.dtype for path, leaf in leaves_by_path(stored).items()}
    exact = {path for path, dtype in dtypes.items() if dtype == jnp.float32}
    assert exact == {path for path in dtypes if re.search(r"norm\.(scale|bias)$|^null_condition$", path)}
    assert {dtype for path, dtype in dtypes.items() if path not in exact} == {jnp.dtype("bfloat16")}


def test_values_out_of_range_are_refused_where_they_can_be_seen():
    model = build(TINY["class"])
    tokens, timesteps, labels = inputs(model.config)
    with pytest.raises(
        ValueError, match=r"token 999 at \(0, 3\) is out of range; allowed: 0 to 16, where 16 is \[MASK\]"
    ):
        model(tokens.at[0, 3].set(999), timesteps, labels)
    with pytest.raises(ValueError, match="timestep 999 is out of range; allowed: 0 to 9"):
        model(tokens, timesteps.at[1].set(999), labels)
    with pytest.raises(ValueError, match="label -1 is out of range; allowed: 0 to 4, or more for no class"):
        model(tokens, timesteps, labels.at[0].set(-1))
    last = run(model, tokens, jnp.array([9, 9]), labels)
    np.testing.assert_array_equal(
        run(model, tokens, jnp.array([999, 9]), labels), last
    )  # compiled: the last row, never a mean


@pytest.mark.parametrize("field", ["attention_dropout", "residual_dropout"])
def test_dropout_follows_its_key(field):
    plain = build(TINY["text"])
    model = build(dataclasses.replace(TINY["text"], **{field: 0.5}))
    args = inputs(model.config)
    first, second = jax.random.split(jax.random.key(0))
    np.testing.assert_array_equal(run(model, *args), run(plain, *args))
    np.testing.assert_array_equal(run(plain, *args, dropout_key=first), run(plain, *args))
    dropped = run(model, *args, dropout_key=first)
    np.testing.assert_array_equal(run(model, *args, dropout_key=first), dropped)
    assert not np.allclose(dropped, run(model, *args), atol=1e-3)
    assert not np.allclose(dropped, run(model, *args, dropout_key=second), atol=1e-3)
    unrolled = recast(model, ComputeConfig(scan_layers=False))
    np.testing.assert_allclose(run(unrolled, *args, dropout_key=first), dropped, atol=1e-5)


def test_sinusoidal_timesteps():
    angles = 25 / 100 * 4000 * np.exp(-np.arange(3) * np.log(10000) / 2)
    expected = [[0, 0, 0, 1, 1, 1], [*np.sin(angles), *np.cos(angles)]]
    np.testing.assert_allclose(sinusoidal_embedding(100, 6)[[0, 25]], expected, atol=1e-6)

    model = build(dataclasses.replace(TINY["text"], timestep_embedding="sinusoidal"))
    assert model.blocks.self_norm.embedding is None and model.blocks.cross_norm.embedding is None
    tokens, t, condition = inputs(model.config)
    logits = run(model, tokens, t, condition)
    np.testing.assert_allclose(run(model, tokens, t, condition, modulation=model.modulation_table()), logits, atol=1e-5)
    assert not np.allclose(run(model, tokens, t - 1, condition), logits, atol=1e-3)
    with pytest.raises(ValueError, match="even width"):
        AdaLayerNorm(10, 5, sinusoidal=True, rngs=Keys(0))


def adaptive_norm(x, embedding, weight, bias, axis):
    """The reference's AdaLayerNorm (axis -1) or AdaInsNorm (axis 1) in numpy; embedding (batch, width)."""
    scale, shift = np.split((embedding / (1 + np.exp(-embedding)) @ weight + bias)[:, None], 2, axis=-1)
    x = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    return x * (1 + scale) + shift


@pytest.mark.parametrize("class_norm", ["layer", "instance"])
@pytest.mark.parametrize("class_embedding", ["learned", "sinusoidal"])
def test_class_norms_of_the_reference(class_norm, class_embedding):
    model = build(dataclasses.replace(TINY["class"], class_norm=class_norm, class_embedding=class_embedding))
    norm = jax.tree.map(lambda leaf: leaf[0], model.blocks.mlp_norm)
    classes, width = model.config.num_classes, model.config.width
    table = sinusoidal_embedding(classes, width)
    if class_embedding == "learned":
        table = np.asarray(norm.embedding.embedding[...])
    rows = np.stack([table[1], table[classes - 1], table.mean(0)])
    x = np.random.default_rng(0).normal(size=(3, 5, width)).astype(np.float32)
    linear = (np.asarray(norm.linear.kernel[...]), np.asarray(norm.linear.bias[...]))
    expected = adaptive_norm(x, rows, *linear, {"layer": -1, "instance": 1}[class_norm])
    labels = jnp.array([1, classes - 1, classes])  # the last one stands for no class
    np.testing.assert_allclose(norm(jnp.asarray(x), norm.modulation(labels)), expected, atol=2e-5)
    tokens, timesteps, labels = inputs(model.config)
    assert not np.allclose(run(model, tokens, timesteps, labels), run(model, tokens, timesteps, labels + 1), atol=1e-3)


def test_learned_null_condition():
    model = build(TINY["text"])
    null = model.null(3)
    assert null.shape == (3, model.config.condition_length, model.config.condition_width)
    np.testing.assert_array_equal(null[2], model.null_condition[...])
    for config in (
        dataclasses.replace(TINY["text"], learnable_null=False),
        dataclasses.replace(TINY["class"], learnable_null=True),
    ):
        without = shapes_of(Denoiser, config)
        assert without.null_condition is None
        with pytest.raises(ValueError, match="no learned null condition"):
            without.null(1)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("kind", KINDS)
def test_lowers_for_other_platforms(kind, platform):
    compute = ComputeConfig(dtype="bfloat16")
    model = shapes_of(Denoiser, TINY[kind], compute)
    assert run.trace(model, *inputs(TINY[kind])).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("text", lambda x, t, c: (x[:, :-1], t, c), r"takes integers \(batch, 16\)"),
        ("text", lambda x, t, c: (x[0], t, c), r"takes integers \(batch, 16\)"),
        ("text", lambda x, t, c: (x.astype(float), t, c), "takes integers"),
        ("text", lambda x, t, c: (x, jnp.zeros(5, int), c), r"\(\) or \(2,\)"),
        ("text", lambda x, t, c: (x, t.astype(float), c), "timesteps are float32"),
        ("text", lambda x, t, c: (x, t, None), "needs a text condition"),
        ("text", lambda x, t, c: (x, t, c[:, :-1]), "a text denoiser takes floating"),
        ("text", lambda x, t, c: (x, t, c[:1]), "a text denoiser takes floating"),
        ("class", lambda x, t, c: (x, t, None), "needs a class condition"),
        ("class", lambda x, t, c: (x, t, c.astype(float)), "a class denoiser takes integer"),
        ("none", lambda x, t, c: (x, t, jnp.zeros(BATCH, int)), "unconditional"),
    ],
)
def test_misfits_are_named_in_one_line(kind, change, message):
    model = shapes_of(Denoiser, TINY[kind])
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(lambda m: m(*change(*inputs(TINY[kind]))), model)
    assert "\n" not in str(error.value)


def test_precompute_checks_its_condition():
    with pytest.raises(ValueError, match="needs a class condition"):
        build(TINY["class"]).precompute(None)
    unconditional = build(TINY["none"])
    assert unconditional.precompute(None) is None
    with pytest.raises(ValueError, match="unconditional"):
        unconditional.precompute(jnp.zeros(2, int))


@pytest.mark.filterwarnings("ignore")  # diffusers deprecates its own spelling of this configuration
def test_matches_diffusers():
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    config = DenoiserConfig(
        condition="text",
        num_codes=16,
        grid=(4, 4),
        position_grid=(4, 4),
        width=24,
        num_layers=2,
        num_heads=2,
        num_timesteps=10,
        condition_width=6,
        condition_length=7,
    )
    torch.manual_seed(0)
    theirs = diffusers.Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        dropout=0.0,
        cross_attention_dim=6,
        attention_bias=True,
        sample_size=4,
        num_vector_embeds=17,
        activation_fn="geglu-approximate",
        num_embeds_ada_norm=10,
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}

    names = {
        "self_norm": "norm1",
        "cross_norm": "norm2",
        "mlp_norm": "norm3",
        "self_attention": "attn1",
        "cross_attention": "attn2",
        "query": "to_q",
        "key": "to_k",
        "value": "to_v",
        "out": "to_out.0",
        "up": "net.0.proj",
        "down": "net.2",
        "mlp": "ff",
        "embedding.embedding": "emb.weight",
        "kernel": "weight",
        "scale": "weight",
        "token_embedding": "latent_image_embedding.emb",
        "height_embedding": "latent_image_embedding.height_emb",
        "width_embedding": "latent_image_embedding.width_emb",
        "final_norm": "norm_out",
        "logits": "out",
    }

    def their_value(path, leaf):
        ours = jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
        ours = ours.replace("norm.embedding.embedding", "norm.emb.weight").removesuffix(".embedding")
        turned = ours.endswith(".kernel")
        in_block = ours.startswith("blocks.")
        key = ".".join(names.get(part, part) for part in ours.removeprefix("blocks.").split("."))
        key = key if key.endswith(("weight", "bias")) else key + ".weight"
        found = [state.pop(f"transformer_blocks.{i}.{key}") for i in range(2)] if in_block else [state.pop(key)]
        found = [value.T if turned else value for value in found]
        value = np.stack(found) if in_block else found[0]
        assert value.shape == leaf.shape
        return jnp.asarray(value)

    ours = jax.tree_util.tree_map_with_path(their_value, shapes_of(Denoiser, config))
    assert not state, f"unused: {list(state)}"

    tokens, _, condition = inputs(config)
    for t in (0, 4, 9):
        with torch.no_grad():
            expected = theirs(
                torch.tensor(np.asarray(tokens)).long(),
                encoder_hidden_states=torch.tensor(np.asarray(condition)),
                timestep=torch.tensor(t),
                return_dict=False,
            )[0]
        log_prob = jax.nn.log_softmax(run(ours, tokens, jnp.asarray(t), condition))
        np.testing.assert_allclose(log_prob, expected.numpy().transpose(0, 2, 1), atol=1e-4)
