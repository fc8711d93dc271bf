"""Configurations from JSON: what is of a wrong type is said in one line, with the field's name."""

import functools
import itertools
import json
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import (
    CLIPTextConfig,
    ModelConfig,
    SamplingDefaults,
    TextEmbeddingConfig,
    compute_in,
    dtype_of,
    from_dict,
    mlp_ratio,
    to_dict,
)
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.clip import CLIPTextEncoder, text_condition
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import shapes_of


@pytest.mark.parametrize("name", ["tiny_text", "tiny_class", "tiny_unconditional", "ithq"])
def test_json_round_trip(name):
    config = preset(name)
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float8"])
def test_dtype_of_is_the_inverse_of_compute_in(dtype):
    assert dtype_of(compute_in(dtype)) == dtype


WRONG = [
    ("denoiser.grid", "ab", "must be a list"),
    ("denoiser.grid", 4, "must be a list"),
    ("denoiser.grid", [4, 4, 4], "a list of 2"),
    ("denoiser.grid", [4, "4"], r"denoiser.grid\[1\] is '4'"),
    ("denoiser.grid", None, "must be a list"),
    ("denoiser.width", "16", "a whole number"),
    ("denoiser.width", 16.0, "a whole number"),
    ("denoiser.width", True, "a whole number"),
    ("denoiser.learnable_null", 1, "true or false"),
    ("denoiser.residual_dropout", "0", "a number"),
    ("denoiser.mlp", 3, "a text"),
    ("codec.attention_levels", None, "must be a list"),
    ("codec.dropout", "none", "a number"),
    ("codec.reduced_codebook_size", "3", "a whole number or null"),
    ("schedule.keep_start", "1", "a number"),
    ("schedule", None, "a table of fields"),
    ("tokenizer.end_index", "x", "a whole number"),
    ("tokenizer", [], "a table of fields"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_wrong_types_are_named(field, value, message):
    values = json.loads(json.dumps(to_dict(preset("tiny_text"))))
    *path, last = field.split(".")
    table = values
    for name in path:
        table = table[name]
    table[last] = value
    with pytest.raises(ConfigError, match=message) as caught:
        from_dict(ModelConfig, values)
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_the_width_of_an_mlp_need_be_no_multiple():
    tower = CLIPTextConfig(width=32, num_heads=4, mlp_ratio=mlp_ratio(37, 32))
    assert tower.mlp_width == 37 and from_dict(CLIPTextConfig, json.loads(json.dumps(to_dict(tower)))) == tower
    for hidden, width in itertools.product(range(1, 300, 7), range(1, 100)):
        assert round(mlp_ratio(hidden, width) * width) == hidden
    whole = from_dict(CLIPTextConfig, {"mlp_ratio": 4})  # as older files have it
    assert whole == CLIPTextConfig() and json.dumps(to_dict(whole)) == json.dumps(to_dict(CLIPTextConfig()))
    for wrong in (0, -1, 1e-9, float("nan"), "4", True):
        with pytest.raises(ConfigError, match="mlp_ratio is .*; it must be a number that gives a width of at least 1"):
            CLIPTextConfig(mlp_ratio=wrong)


def test_a_width_that_a_file_need_not_confirm_is_bounded():
    with pytest.raises(ConfigError, match="CLIPTextConfig.projection_width is 2147483647; .* from 1 to 32768"):
        CLIPTextConfig(projection_width=2**31 - 1)


def test_whole_numbers_serve_as_numbers():
    assert from_dict(SamplingDefaults, {"guidance_scale": 5}) == SamplingDefaults(guidance_scale=5.0)


def test_open_tables_are_left_alone():
    @dataclass(frozen=True)
    class Free:
        options: dict[str, Any] = field(default_factory=dict)
        anything: Any = None

    assert from_dict(Free, {"options": {"a": [1]}, "anything": {2}}) == Free({"a": [1]}, {2})
    with pytest.raises(ConfigError, match="options is 3; it must be a table"):
        from_dict(Free, {"options": 3})


OPTIONS = ("pick_last", "keep_length_axis", "double", "additional_last")
SHAPES = list(
    itertools.product((1, 8), (16, 24, 32, 48))
)  # of the denoiser's condition; the tower is 16 wide and projects to 24


def condition_of(length, embedding, text, network):
    return network.precompute(text_condition(text, np.zeros((2, length), np.int32), embedding))


@pytest.mark.parametrize("chosen", list(itertools.product((False, True), repeat=len(OPTIONS))))
def test_a_text_condition_is_refused_where_the_denoiser_cannot_take_it(chosen):
    """Every combination with every shape: the configuration says no where, and only where, the networks do."""
    tiny = preset("tiny_text")
    options, tower = dict(zip(OPTIONS, chosen)), replace(tiny.text_encoder, projection_width=24)
    for length, width in SHAPES:
        denoiser = replace(tiny.denoiser, condition_length=length, condition_width=width)
        embedding = TextEmbeddingConfig(**options)
        try:
            jax.eval_shape(
                functools.partial(condition_of, length, embedding),
                shapes_of(CLIPTextEncoder, tower),
                shapes_of(Denoiser, denoiser),
            )
            works = True
        except (AttributeError, ValueError):
            works = False
        tokenizer = replace(tiny.tokenizer, context_length=length)
        parts = {"denoiser": denoiser, "text_encoder": tower, "text_embedding": embedding, "tokenizer": tokenizer}
        if works:
            replace(tiny, **parts)
        else:
            with pytest.raises(ConfigError, match="text_embedding|text condition") as caught:
                replace(tiny, **parts)
            assert "\n" not in str(caught.value)
