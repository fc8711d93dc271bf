"""Configurations from JSON: what is of a wrong type is said in one line, with the field's name."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import ConfigError, ModelConfig, SamplingDefaults, from_dict, to_dict


@pytest.mark.parametrize("name", ["tiny_text", "tiny_class", "tiny_unconditional", "ithq"])
def test_json_round_trip(name):
    config = preset(name)
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config


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
