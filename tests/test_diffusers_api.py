"""Lines of scripts for diffusers do what is meant, or say what to write instead."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.diffusers_api import dtype_named, loading_options, seed_of
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))


def test_dtypes_of_every_library():
    torch = pytest.importorskip("torch")
    for dtype in (torch.bfloat16, jnp.bfloat16, jnp.dtype("bfloat16"), "bfloat16", "torch.bfloat16"):
        assert dtype_named(dtype) == "bfloat16"
    assert dtype_named(np.float32) == dtype_named(torch.float32) == "float32" and dtype_named("auto") is None
    for dtype in (torch.float16, np.float16, "float16"):
        with pytest.warns(UserWarning, match="float16 is taken as bfloat16"):
            assert dtype_named(dtype) == "bfloat16"


def test_arguments_of_from_pretrained():
    given = {"torch_dtype": "float32", "safety_checker": None, "use_auth_token": "t", "revision": "fp16"}
    assert loading_options(given) == {"dtype": "float32", "token": "t", "revision": "fp16"}
    for name, instead in (("device_map", "give mesh="), ("scheduler", "give a strategy"), ("proxies", "HTTPS_PROXY")):
        with pytest.raises(ConfigError, match=f"{name} is an argument of diffusers; here .*{instead}"):
            loading_options({name: "auto"})
    with pytest.raises(ConfigError, match="dtype and torch_dtype are both given; give dtype"):
        loading_options({"dtype": "float32", "torch_dtype": "float32"})


def test_a_script_of_diffusers_draws(pipeline):
    torch = pytest.importorskip("torch")
    with pytest.warns(UserWarning, match="JAX sees no accelerator, and the pipeline stays on the CPU"):
        assert pipeline.to("cuda") is pipeline
    pipeline.enable_attention_slicing()
    pipeline.enable_xformers_memory_efficient_attention()
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.to("cpu", torch.float32) is pipeline and pipeline.device.platform == "cpu"
    with pytest.warns(UserWarning, match="the weights stay float32; load them with dtype='bfloat16'"):
        pipeline.to(torch.bfloat16)
    generator = torch.Generator("cpu").manual_seed(7)
    given = {"num_inference_steps": 2, "output_type": "tokens"}
    drawn, again = pipeline("a", generator=generator, **given), pipeline("a", seed=7, **given)
    np.testing.assert_array_equal(drawn.tokens, again.tokens)
    assert seed_of([generator, 3]) == [7, 3]


def test_what_is_elsewhere_is_told(pipeline):
    with pytest.raises(ConfigError, match="set CUDA_VISIBLE_DEVICES=1, or give mesh="):
        pipeline.to("cuda:1")
    with pytest.raises(ConfigError, match="no such device"):
        pipeline.to("warp")
    with pytest.raises(
        AttributeError, match="vqvae is an attribute of diffusers' pipelines; here it is pipeline.model"
    ):
        _ = pipeline.vqvae
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pipeline.nothing
