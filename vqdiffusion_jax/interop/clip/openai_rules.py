"""Key table of OpenAI CLIP's two towers, and their sizes from shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import CLIPTextConfig, CLIPVisionConfig, mlp_ratio
from ...errors import ConfigError
from ..engine import Ignore, Rule, conv_kernel, dense, embedding, key, norm, split, transpose
from ..engine.shapes import count, rows, shape_of

HEAD_WIDTH = 64  # in every CLIP that OpenAI released; shapes do not tell


def _blocks(foreign: str, ours: str) -> list[Rule]:
    source = f"{foreign}resblocks.{{layer}}."
    fused = tuple(f"{ours}attention.{name}." for name in ("query", "key", "value"))
    return [
        *norm(f"{source}ln_1", f"{ours}norm1"),
        Rule(key(f"{source}attn.in_proj_weight"), tuple(f"{name}kernel" for name in fused), split(3, transpose)),
        Rule(key(f"{source}attn.in_proj_bias"), tuple(f"{name}bias" for name in fused), split(3)),
        *dense(f"{source}attn.out_proj", f"{ours}attention.out"),
        *norm(f"{source}ln_2", f"{ours}norm2"),
        *dense(f"{source}mlp.c_fc", f"{ours}mlp.up"),
        *dense(f"{source}mlp.c_proj", f"{ours}mlp.down"),
    ]


def text_rules(foreign: str = "", ours: str = "") -> list[Rule]:
    """Return the rules of the text tower; its keys begin with ``foreign``, our paths with ``ours``."""
    return [
        *embedding(f"{foreign}token_embedding", f"{ours}token_embedding"),
        Rule(key(f"{foreign}positional_embedding"), f"{ours}position_embedding"),
        *_blocks(f"{foreign}transformer.", f"{ours}blocks."),
        *norm(f"{foreign}ln_final", f"{ours}final_norm"),
        Rule(key(f"{foreign}text_projection"), f"{ours}text_projection"),
    ]


def vision_rules(foreign: str = "visual.", ours: str = "") -> list[Rule]:
    """Return the rules of an image tower (a vision transformer), as ``text_rules`` does for a text tower."""
    return [
        Rule(key(f"{foreign}conv1.weight"), f"{ours}patch_embedding.kernel", conv_kernel),
        Rule(key(f"{foreign}class_embedding"), f"{ours}class_embedding"),
        Rule(key(f"{foreign}positional_embedding"), f"{ours}position_embedding"),
        *norm(f"{foreign}ln_pre", f"{ours}pre_norm"),
        *_blocks(f"{foreign}transformer.", f"{ours}blocks."),
        *norm(f"{foreign}ln_post", f"{ours}final_norm"),
        Rule(key(f"{foreign}proj"), f"{ours}projection"),
    ]


def settings(foreign: str = "") -> list[Ignore]:
    """Return the keys of an OpenAI file beside the two towers."""
    return [
        Ignore(key(f"{foreign}logit_scale"), "similarities are used without the training temperature"),
        Ignore(key(foreign) + "(input_resolution|context_length|vocab_size)", "sizes, read from the weights' shapes"),
    ]


def text_config(tensors: Mapping[str, Any], foreign: str = "") -> CLIPTextConfig:
    """Return the sizes of the text tower whose keys begin with ``foreign``.  Raises ConfigError if it is not one."""
    vocab_size, width = shape_of(tensors, f"{foreign}token_embedding.weight", 2)
    return CLIPTextConfig(
        vocab_size=vocab_size,
        context_length=rows(tensors, f"{foreign}positional_embedding"),
        width=width,
        num_layers=count(tensors, f"{foreign}transformer.resblocks."),
        num_heads=_heads(width, "text"),
        mlp_ratio=mlp_ratio(rows(tensors, f"{foreign}transformer.resblocks.0.mlp.c_fc.weight"), width),
        projection_width=shape_of(tensors, f"{foreign}text_projection", 2)[1],
    )


def vision_config(tensors: Mapping[str, Any], foreign: str = "visual.") -> CLIPVisionConfig:
    """Return the sizes of the image tower whose keys begin with ``foreign``.

    Raises ConfigError if it is no vision transformer.
    """
    width, _, patch, _ = shape_of(tensors, f"{foreign}conv1.weight", 4)
    side = round((rows(tensors, f"{foreign}positional_embedding") - 1) ** 0.5)
    return CLIPVisionConfig(
        image_size=side * patch,
        patch_size=patch,
        width=width,
        num_layers=count(tensors, f"{foreign}transformer.resblocks."),
        num_heads=_heads(width, "image"),
        mlp_ratio=mlp_ratio(rows(tensors, f"{foreign}transformer.resblocks.0.mlp.c_fc.weight"), width),
        projection_width=shape_of(tensors, f"{foreign}proj", 2)[1],
    )


def _heads(width: int, tower: str) -> int:
    if width % HEAD_WIDTH:
        raise ConfigError(
            f"CLIP's {tower} tower is {width} wide, which is not a multiple of {HEAD_WIDTH}, OpenAI's head width"
        )
    return width // HEAD_WIDTH
