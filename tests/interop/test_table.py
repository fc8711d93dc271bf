"""The key-table engine on small modules: nothing is lost, nothing is guessed, and what is read can be written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.errors import ConversionError
from vqdiffusion_jax.exit_status import exit_with_status
from vqdiffusion_jax.interop.engine import (
    Ignore,
    Rule,
    apply,
    conv,
    dense,
    key,
    norm,
    pointwise,
    pointwise_kernel,
    split,
    squeeze_first,
    transpose,
    unapply,
)
from vqdiffusion_jax.paths import leaves_by_path


class Block(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.query, self.key, self.value = (nnx.Linear(width, width, rngs=rngs) for _ in range(3))


class Network(nnx.Module):
    def __init__(self, layers: int = 3, width: int = 4, *, rngs: nnx.Rngs):
        self.blocks = jax.vmap(lambda k: Block(width, rngs=nnx.Rngs(k)))(jax.random.split(rngs.params(), layers))
        self.convs = nnx.List([nnx.Conv(2, 3, (3, 3), rngs=rngs) for _ in range(2)])
        self.mix = nnx.Linear(2, 5, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((2,)))
        self.absent = None


FUSED = tuple(f"blocks.{name}." for name in ("query", "key", "value"))
RULES = [
    *norm("h.{layer}.ln", "blocks.norm"),
    Rule(key("h.{layer}.in_proj_weight"), tuple(f"{f}kernel" for f in FUSED), split(3, transpose)),
    Rule(key("h.{layer}.in_proj_bias"), tuple(f"{f}bias" for f in FUSED), split(3)),
    *conv("c.{i}", "convs.{i}"),
    *pointwise("mix", "mix"),
    Rule(key("scale"), "scale", squeeze_first),
]


def network(layers: int = 3) -> Network:
    return Network(layers, rngs=nnx.Rngs(0))


def test_quantised_weights_fill_nothing():
    tensors = unapply(RULES, network()) | {"scale": np.ones((1, 2), np.int8)}
    with pytest.raises(ConversionError, match="our scale holds floats, the file gives int8"):
        apply(RULES, [], tensors, network())


def foreign(layers: int = 3) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    shapes = {"c.0.weight": (3, 2, 3, 3), "c.0.bias": (3,), "c.1.weight": (3, 2, 3, 3), "c.1.bias": (3,)}
    shapes |= {"mix.weight": (5, 2, 1, 1), "mix.bias": (5,), "scale": (1, 2)}
    for i in range(layers):
        shapes |= {
            f"h.{i}.ln.weight": (4,),
            f"h.{i}.ln.bias": (4,),
            f"h.{i}.in_proj_weight": (12, 4),
            f"h.{i}.in_proj_bias": (12,),
        }
    return {name: draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def abstract(layers: int = 3) -> Network:
    return jax.eval_shape(lambda: network(layers))


def test_every_value_lands_where_it_belongs():
    tensors = foreign()
    module, report = apply(RULES, [], tensors, abstract())
    assert report.ok and len(report.mapped) == 4 + 3 + 3 * (2 + 3 + 3)
    np.testing.assert_array_equal(module.convs[1].kernel[...], tensors["c.1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(module.mix.kernel[...], tensors["mix.weight"][:, :, 0, 0].T)
    np.testing.assert_array_equal(module.scale[...], tensors["scale"][0])
    for i in range(3):
        np.testing.assert_array_equal(module.blocks.key.kernel[...][i], tensors[f"h.{i}.in_proj_weight"][4:8].T)
        np.testing.assert_array_equal(module.blocks.value.bias[...][i], tensors[f"h.{i}.in_proj_bias"][8:])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(module))
    assert jax.tree.structure(module) == jax.tree.structure(network())


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 12))
def test_written_tensors_are_the_ones_read(layers):
    tensors = foreign(layers)
    module, _ = apply(RULES, [], tensors, abstract(layers))
    back = unapply(RULES, module)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(back[name], tensor)


def test_shapes_alone_suffice_and_take_no_memory():
    huge = {name: jax.ShapeDtypeStruct(t.shape, t.dtype) for name, t in foreign().items()}
    module, report = apply(RULES, [], huge, abstract())
    assert report.ok
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(module))
    wide = jax.ShapeDtypeStruct((10**7, 10**7), np.float32)  # would be 400 TB
    with pytest.raises(ConversionError, match="10000000"):
        apply(RULES, [], {**huge, "h.0.in_proj_weight": wide}, abstract())


def test_one_error_lists_every_fault():
    tensors = foreign()
    del tensors["h.1.ln.bias"], tensors["mix.bias"]
    tensors |= {
        "surprise": np.zeros(1),
        "c.7.weight": np.zeros((3, 2, 3, 3)),
        "h.3.ln.weight": np.zeros(4),
        "c.0.bias": np.zeros(8),
    }
    with pytest.raises(ConversionError) as caught:
        apply(RULES, [], tensors, abstract(), what="net.pth")
    message = str(caught.value)
    for part in (
        "net.pth",
        "blocks.norm.bias[1]",
        "mix.bias",
        "surprise",
        "convs.7.kernel",
        "no layer 3",
        "c.0.bias (8,)",
        "2 missing",
    ):
        assert part in message, part
    assert "\n" not in message
    _, report = apply(RULES, [], tensors, abstract(), check=False)
    assert len(report.missing) == 2 and len(report.unmapped) == 1 and len(report.wrong_shape) == 3


def test_an_error_of_thousands_of_keys_is_one_short_line_and_its_note_lists_all(capsys):
    unknown = {f"key{chr(97 + i // 26)}{chr(97 + i % 26)}": np.zeros(1) for i in range(600)}
    with pytest.raises(ConversionError) as caught:
        apply(RULES, [], foreign() | unknown, abstract(), what="net.pth")
    message, note = str(caught.value), "".join(caught.value.__notes__)
    assert "600 not recognised: keyaa (1,), " in message and "and 595 more" in message and len(message) < 300
    assert all(name in note for name in unknown)
    with pytest.raises(SystemExit):
        exit_with_status(lambda: apply(RULES, [], foreign() | unknown, abstract()))
    assert capsys.readouterr().err.endswith("and 595 more (--debug lists all)\n")


def test_two_keys_for_one_parameter_are_refused():
    rules = [*RULES, *dense("also", "mix")]
    with pytest.raises(ConversionError, match="already filled"):
        apply(rules, [], {**foreign(), "also.bias": np.zeros(5, np.float32)}, abstract())


def test_wrong_number_of_axes_is_a_wrong_shape():
    for name, array in (
        ("c.0.weight", np.zeros((3, 2))),
        ("mix.weight", np.zeros((5, 2, 3, 3))),
        ("h.0.in_proj_bias", np.zeros(13)),
    ):
        with pytest.raises(ConversionError, match="1 wrong shape") as caught:
            apply(RULES, [], {**foreign(), name: array}, abstract())
        assert name in str(caught.value) and "missing" not in str(caught.value)


class Unreadable:
    """A tensor that must not be read."""

    shape, dtype = (2,), np.dtype(np.float32)

    def __array__(self, *unused, **named):
        raise AssertionError("an ignored tensor was read")


def test_ignored_tensors_are_reported_and_never_read():
    _, report = apply(
        RULES, [Ignore(r"optimizer\..*", "not weights")], {**foreign(), "optimizer.0": Unreadable()}, abstract()
    )
    assert report.ignored == [("optimizer.0", "not weights")]
    assert "ignored, not weights: optimizer.0" in report.table()


def test_optional_parameters_stay_as_they_are():
    tensors = foreign()
    del tensors["scale"]
    module, report = apply(RULES, [], tensors, network(), optional=["scale"])
    assert report.left == ["scale"] and report.ok
    np.testing.assert_array_equal(module.scale[...], np.ones(2))
    del tensors["h.2.ln.bias"]  # a layer short is no option
    with pytest.raises(ConversionError):
        apply(RULES, [], tensors, network(), optional=["scale", r"blocks\.norm\.bias"])


def test_dtypes_are_the_modules_unless_kept():
    tensors = {name: tensor.astype(np.float16) for name, tensor in foreign().items()}
    module, _ = apply(RULES, [], tensors, abstract())
    assert {leaf.dtype for leaf in jax.tree.leaves(module)} == {np.dtype(np.float32)}
    module, _ = apply(RULES, [], tensors, abstract(), keep_dtype=lambda path: path.startswith("blocks."))
    assert {path.split(".")[0] for path, leaf in leaves_by_path(module).items() if leaf.dtype == np.float16} == {
        "blocks"
    }


def test_the_table_gives_a_stack_one_line():
    _, report = apply(RULES, [], foreign(12), abstract(12))
    lines = report.table().splitlines()
    assert sum("blocks.query.kernel" in line for line in lines) == 1
    assert any("h.N.in_proj_weight" in line and "12x4 x12" in line and "blocks.query.kernel" in line for line in lines)
    assert len(lines) < 25


def test_what_no_rule_writes_is_an_error():
    module = network()
    with pytest.raises(ConversionError, match="no rule writes 1 of our parameters: scale"):
        unapply(RULES[:-1], module)
    assert "scale" not in unapply(RULES[:-1], module, skip=["scale"])


def test_a_pattern_that_is_no_literal_key_reads_but_does_not_write():
    rules = [Rule(r"scale|gain", "scale", squeeze_first), *RULES[:-1]]
    tensors = foreign()
    tensors["gain"] = tensors.pop("scale")
    module, _ = apply(rules, [], tensors, abstract())
    with pytest.raises(ValueError, match="cannot be written back"):
        unapply(rules, module)


def test_a_path_that_does_not_tell_the_key_does_not_write():
    rules = [Rule(key("mix.{n}.bias"), "mix.bias"), *RULES]
    with pytest.raises(ValueError, match="does not tell its 'n'"):
        unapply(rules, network())


def test_the_first_rule_names_the_key():
    rules = [Rule(key("new.weight"), "mix.kernel", pointwise_kernel), *RULES]
    module, _ = apply(rules, [], foreign(), abstract())
    back = unapply(rules, module)
    assert "new.weight" in back and "mix.weight" not in back and back["new.weight"].shape == (5, 2, 1, 1)
