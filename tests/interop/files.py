"""Small files in the reference's layouts, written with torch from modules of ours."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax.config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.interop.clip.openai_rules import text_rules
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.interop.reference.denoiser import denoiser_rules
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.models.vqgan import VQGAN


def save(path, tree):
    """``torch.save`` of nested dicts of numpy arrays."""
    torch = pytest.importorskip("torch")

    def convert(node):
        if isinstance(node, dict):
            return {name: convert(child) for name, child in node.items()}
        return torch.from_numpy(np.array(node)) if isinstance(node, np.ndarray) else node

    torch.save(convert(tree), path)
    return path


def same_leaves(ours, theirs) -> None:
    """Equal structure and equal numbers."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), ours, theirs)


def perturbed(module, seed: int = 3):
    """Every number drawn anew, so that no two parameters are alike; integers stay."""
    leaves, treedef = jax.tree.flatten(module)
    draw = np.random.default_rng(seed)
    fresh = [
        jnp.asarray(draw.standard_normal(leaf.shape), leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        for leaf in leaves
    ]
    return treedef.unflatten(fresh)


def codec_config(quantizer: str = "vq", **changes) -> VQGANConfig:
    return VQGANConfig(
        **{
            "quantizer": quantizer,
            "codebook_size": 24,
            "embed_dim": 6,
            "image_size": 8,
            "channels": 32,
            "channel_multipliers": (1, 2),
            "num_res_blocks": 1,
            "attention_levels": (1,),
            "z_channels": 10,
            **changes,
        }
    )


def codec_module(config: VQGANConfig) -> VQGAN:
    return perturbed(random_network(VQGAN, config))


def model_config(condition: str = "text", **denoiser) -> ModelConfig:
    """Everything a checkpoint tells without a yaml: 16 heads, head width 64 in CLIP, 32 norm groups."""
    codec = codec_config({"text": "gumbel", "class": "vq", "none": "ema"}[condition])
    text = condition == "text"
    codec = replace(codec, reduced_codebook_size=None if condition == "none" else 10)
    sizes = {
        "condition": condition,
        "num_codes": codec.num_codes,
        "grid": (4, 4),
        "width": 32,
        "num_layers": 3,
        "num_heads": 16,
        "num_timesteps": 12,
        "position_grid": (4, 4) if text else (8, 8),
        "mlp": "dense" if text else "conv",
        "mlp_ratio": 2,
        "condition_width": 64 if text else 512,
        "condition_length": 9 if text else 77,
        "num_classes": 1001 if condition == "class" else 0,
        "learnable_null": condition != "none",
    }
    encoder = CLIPTextConfig(
        vocab_size=600, context_length=9, width=64, num_layers=2, num_heads=1, mlp_ratio=2, projection_width=5
    )
    network = DenoiserConfig(**{**sizes, **denoiser})
    return ModelConfig(
        denoiser=network,
        codec=codec,
        schedule=ScheduleConfig(num_codes=network.num_codes, num_timesteps=network.num_timesteps),
        objective=ObjectiveConfig(auxiliary_weight=5.0e-4 if text else 1.0e-3),
        text_encoder=encoder if text else None,
        text_embedding=TextEmbeddingConfig() if text else None,
        tokenizer=TokenizerConfig(context_length=9, end_index=600 - 256) if text else None,
    )


def schedule_buffers(config: ScheduleConfig) -> dict[str, np.ndarray]:
    """The float32 buffers that the reference stores, by full key."""
    schedule = make_schedule(config)
    with np.errstate(divide="ignore"):
        steps = {"at": schedule.keep, "bt": schedule.uniform, "ct": schedule.mask, "1_min_ct": 1 - schedule.mask}
        totals = {"at": schedule.cum_keep, "bt": schedule.cum_uniform, "ct": schedule.cum_mask}
        buffers = {f"log_{name}": np.log(values) for name, values in steps.items()}
        buffers |= {f"log_cumprod_{name}": np.log(values) for name, values in totals.items()}
        buffers["log_1_min_cumprod_ct"] = np.log(1 - schedule.cum_mask)
    buffers |= {"Lt_history": np.zeros(config.num_timesteps), "Lt_count": np.zeros(config.num_timesteps)}
    return {f"transformer.{name}": values.astype(np.float32) for name, values in buffers.items()}


def tensors_of(model: VQDiffusionModel) -> dict[str, np.ndarray]:
    """A model as the reference's ``model`` state dict, with all that is beside the weights."""
    config = model.config
    codec = codec_rules("content_codec.enc.", "content_codec.dec.", quantizer=config.codec.quantizer)
    tensors = unapply(codec, model.codec, skip=["full_to_reduced", "reduced_to_full"])
    tensors |= {key.replace(".enc.", ".dec."): value for key, value in tensors.items() if ".quantize." in key}
    tensors |= unapply(denoiser_rules(condition=config.denoiser.condition, mlp=config.denoiser.mlp), model.denoiser)
    tensors |= schedule_buffers(config.schedule)
    if config.denoiser.condition == "text":
        tensors |= unapply(text_rules("transformer.condition_emb."), model.text_encoder)
        tokens = config.denoiser.num_tokens
        for i in range(config.denoiser.num_layers):
            tensors[f"transformer.transformer.blocks.{i}.attn2.mask"] = np.tril(
                np.ones((1, 1, tokens, tokens), np.float32)
            )
    if "transformer.empty_text_embed" in tensors:
        tensors["transformer.empty_text_embed"] = tensors["transformer.empty_text_embed"].astype(np.float64)
    return tensors
