"""Weights and pictures that are no numbers are said, and nothing is drawn of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.checkpoint import load_weights, save_weights
from vqdiffusion_jax.errors import CheckpointError, NonFiniteNumbers
from vqdiffusion_jax.finite import check_finite
from vqdiffusion_jax.loading import load_model, write_folder
from vqdiffusion_jax.paths import path_of
from vqdiffusion_jax.safetensors_weights import load_safetensors, save_safetensors


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline.from_pretrained("emoji16")


def spoilt(model, name, value=np.nan, *, everywhere=False):
    def change(path, leaf):
        if path_of(path) != name:
            return leaf
        return jnp.full_like(leaf, value) if everywhere else leaf.at[(0,) * leaf.ndim].set(value)

    return jax.tree_util.tree_map_with_path(change, model)


def weight_of(model, part):
    names = [path_of(path) for path, leaf in jax.tree_util.tree_leaves_with_path(model) if leaf.dtype == jnp.float32]
    return next(name for name in names if name.startswith(part))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_parameter_is_named(dtype, value):
    good = jnp.linspace(-3, 3, 5_000_000).astype(dtype)
    tree = {"part": {"good": good, "count": np.arange(3), "bad": good.at[-1].set(value)}, "key": jax.random.key(0)}
    with pytest.raises(CheckpointError, match="folder: part.bad hold NaN or infinity .1 of") as caught:
        check_finite(tree, "folder")
    assert "good" not in str(caught.value) and "\n" not in str(caught.value)


def test_large_numbers_and_shapes_pass():
    check_finite({"a": np.full(9, 3e38, np.float32), "b": jax.ShapeDtypeStruct((2,), jnp.float32), "c": 1.0}, "here")


@pytest.mark.parametrize("part", ["denoiser", "codec", "text_encoder"])
def test_a_pipeline_refuses_such_weights(pipeline, part):
    name = weight_of(pipeline.model, part)
    with pytest.raises(CheckpointError, match=name):
        VQDiffusionPipeline(spoilt(pipeline.model, name), pipeline.tokenizer)


def test_such_a_folder_is_refused_when_it_is_loaded(pipeline, tmp_path):
    name = weight_of(pipeline.model, "denoiser")
    write_folder(tmp_path / "model", spoilt(pipeline.model, name, np.inf), pipeline.tokenizer)
    with pytest.raises(CheckpointError, match=name):
        load_model(tmp_path / "model")
    with pytest.raises(CheckpointError, match="float16"):
        huge = spoilt(pipeline.model, name, 1e6)
        check_finite(jax.tree.map(lambda leaf: leaf.astype(jnp.float16), huge), "rounded")


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("part", ["denoiser.blocks.mlp", "codec.decoder"])
def test_numbers_that_overflow_while_drawing_are_told(pipeline, part, watched):
    name = weight_of(pipeline.model, part)
    broken = VQDiffusionPipeline(spoilt(pipeline.model, name, 3e38, everywhere=True), pipeline.tokenizer)
    callback = (lambda *seen: None) if watched else None
    with pytest.raises(NonFiniteNumbers, match="picture 1 of the call came out as NaN"):
        broken("a red apple", 2, output_type="uint8", callback=callback)


def test_text_states_of_nan_are_told(pipeline):
    denoiser = pipeline.config.denoiser
    states = np.full((1, denoiser.condition_length, denoiser.condition_width), np.nan, np.float32)
    with pytest.raises(ValueError, match="NaN|finite"):
        pipeline(prompt_embeds=states, num_inference_steps=2, output_type="tokens")


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.bool_])
def test_whole_numbers_fill_no_float(tmp_path, safetensors, dtype):
    tree = {"kernel": jnp.ones((2, 3)), "count": jnp.arange(4)}
    quantised = tree | {"kernel": tree["kernel"].astype(dtype)}
    save, load = (save_safetensors, load_safetensors) if safetensors else (save_weights, load_weights)
    for name, stored in (("good", tree), ("bad", quantised)):
        save(tmp_path / name, stored)
    assert load(tmp_path / "good", jax.eval_shape(lambda: tree))["count"].tolist() == [0, 1, 2, 3]
    with pytest.raises(CheckpointError, match="kernel holds whole numbers, expected float32") as caught:
        load(tmp_path / "bad", jax.eval_shape(lambda: tree))
    assert "count" not in str(caught.value)
