"""Requests as tables of fields: what becomes a setting, and what is refused under which name."""

import re

import pytest

from vqdiffusion_jax.errors import ApiError
from vqdiffusion_jax.sampling.settings import all_settings
from vqdiffusion_jax.serving.asked import FIXED, Model, inputs, read, table_of, table_of_form
from vqdiffusion_jax.serving.limits import Limits
from vqdiffusion_jax.serving.refusals import as_table

MODEL, LIMITS = Model("emoji", 64), Limits(max_batch=4)


def refused(table, **options):
    with pytest.raises(ApiError) as refusal:
        read(table, MODEL, LIMITS, **options).settings()
    error = refusal.value
    assert "\n" not in str(error) and len(str(error)) < 600
    return error


def test_every_setting_that_json_can_hold_is_taken_but_files_and_animations():
    left_out = {"image", "mask_image", "return_trajectory"}
    typed = {name for name, about in all_settings().items() if about.type is not None}
    assert set(inputs(LIMITS, edits=True)) == (typed - left_out) | {"strategy"}
    assert set(inputs(LIMITS, edits=True)) - set(inputs(LIMITS, edits=False)) == {"strength", "outpaint"}


def test_openais_fields_and_ours():
    asked = read(
        {"model": "emoji", "prompt": "a", "n": 2, "size": "64x64", "quality": "auto", "user": "me", "seed": 3}
        | {"response_format": "url", "strategy": "purity", "tokens_per_call": 4, "guidance_scale": 2, "top_k": None},
        MODEL,
        LIMITS,
    )
    settings = asked.settings()
    assert asked.form == "url" and (settings.num_images_per_prompt, settings.seed) == (2, 3)
    assert settings.flat()["tokens_per_call"] == 4 and settings.guidance_scale == 2.0 and settings.prompt == ("a",)
    assert read({"prompt": ["a", "b"]}, MODEL, LIMITS).settings().prompt == ("a", "b")
    assert all(read({name: value}, MODEL, LIMITS) for name, values in FIXED.items() for value in values)


@pytest.mark.parametrize(
    ("table", "param", "told"),
    [
        ({"promt": "a"}, "promt", "did you mean prompt"),
        ({"sise": "64x64"}, "sise", "did you mean size"),
        ({"n": 0}, "n", "n is 0; it must be a whole number from 1 to 8"),
        ({"num_images_per_prompt": 9}, "num_images_per_prompt", "num_images_per_prompt is 9"),
        ({"n": 1, "num_images_per_prompt": 1}, "n", "both given"),
        ({"n": True}, "n", "n is True"),
        ({"n": 5, "prompt": ["a", "b"]}, "n", "asks for 10 pictures, by n and prompts; at most 8"),
        ({"prompt": "x" * 301}, "prompt", "301 characters; give at most 300"),
        ({"prompt": 5}, "prompt", "prompt is 5; it must be"),
        ({"prompt": []}, "prompt", r"prompt is \[\]"),
        ({"prompt": ["a", ["b"]]}, "prompt", r"\['b'\]"),
        ({"size": "1024x1024"}, "size", "it must be 64x64, the size of this model's pictures, or auto"),
        ({"size": 64}, "size", "size is 64"),
        ({"model": "dall-e-3"}, "model", "this server has emoji alone"),
        ({"response_format": "png"}, "response_format", "one of b64_json, url"),
        ({"output_format": "webp"}, "output_format", 'must be one of "png"'),
        ({"stream": True}, "stream", "must be one of false"),
        ({"stream": 0}, "stream", "stream is 0"),
        ({"user": 5}, "user", "user is 5"),
        ({"batch_size": 3}, "batch_size", "one of 1, 2, 4"),
        ({"seed": -1}, "seed", "seed is -1"),
        ({"seed": 2**60}, "seed", "seed is 1152921504606846976"),
        ({"seed": 1.5}, "seed", "seed is 1.5"),
        ({"guidance_scale": 1e9}, "guidance_scale", "guidance_scale is 1000000000.0"),
        ({"guidance_interval": [1]}, "guidance_interval", "2 values"),
        ({"timesteps": [1] * 2000}, "timesteps", "2,000 values; give at most 1024"),
        ({"top_k": 3, "truncation_rate": 0.5}, "truncation_rate", "both given"),
        ({"strategy": "posterior", "tokens_per_call": 4}, "tokens_per_call", "goes with strategy="),
        ({"strategy": "puriy"}, "strategy", "must be one of posterior"),
        ({"image": "/etc/passwd"}, "image", "a file of /v1/images/edits"),
        ({"mask_image": "/etc/passwd"}, "mask_image", "/v1/images/edits"),
        ({"strength": 0.5}, "strength", "at /v1/images/edits"),
        ({"a\nb": 1}, "a b", "there is no field"),
        ({"x" * 10_000: 1}, None, "there is no field"),
    ],
)
def test_what_is_refused_is_named_as_the_request_named_it(table, param, told):
    error = refused(table)
    assert re.search(told, str(error))
    assert param is None or error.param == param
    shape = as_table(error.status, str(error), error.param, error.code)["error"]
    assert list(shape) == ["message", "type", "param", "code"] and shape["type"] == "invalid_request_error"
    assert error.status == (404 if param == "model" else 400)


@pytest.mark.parametrize("body", [b"", b"[1]", b"5", b"{", b"\xff", b"[" * 500, b'{"a":' * 200 + b"1" + b"}" * 200])
def test_bodies_that_are_no_objects(body):
    with pytest.raises(ApiError, match="the body"):
        table_of(body)


def test_texts_of_a_form_mean_values():
    known = inputs(LIMITS, edits=True)
    texts = {"n": "2", "seed": "3", "strength": "0.5", "outpaint": "0.25,0,0.25,0", "prompt": "1,2", "top_k": "many"}
    found = table_of_form(texts | {"stream": "false"}, known)
    assert found["outpaint"] == [0.25, 0.0, 0.25, 0.0] and (found["n"], found["seed"], found["strength"]) == (2, 3, 0.5)
    assert found["prompt"] == "1,2" and found["stream"] is False
    assert refused({"top_k": found["top_k"]}, edits=True).param == "top_k"
    assert table_of_form({"seed": "3,4"}, known) == {"seed": [3, 4]}
