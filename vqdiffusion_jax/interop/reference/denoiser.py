"""Key table of the reference's denoisers (text, class-conditional, unconditional), and their sizes from shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...config import mlp_ratio
from ...errors import ConversionError
from ..engine import Ignore, Rule, conv, dense, embedding, key, norm, squeeze_first
from ..engine.shapes import count, rows, shape_of

PREFIX = "transformer."
TEXT_PREFIX = f"{PREFIX}condition_emb."
NETWORK = f"{PREFIX}transformer."
NULL_CONDITION = f"{PREFIX}empty_text_embed"


def denoiser_rules(ours: str = "", *, condition: str, mlp: str) -> list[Rule]:
    """Return the rules of a denoiser; condition and mlp are DenoiserConfig's, and our paths begin with ``ours``."""
    block, layer = f"{NETWORK}blocks.{{layer}}.", f"{ours}blocks."
    content = f"{NETWORK}content_emb."
    rules = [
        *embedding(f"{content}emb", f"{ours}token_embedding"),
        *embedding(f"{content}height_emb", f"{ours}height_embedding"),
        *embedding(f"{content}width_emb", f"{ours}width_embedding"),
        # pos_emb_type "parameter": the same tables with a leading axis of one
        Rule(key(f"{content}height_emb"), f"{ours}height_embedding.embedding", squeeze_first),
        Rule(key(f"{content}width_emb"), f"{ours}width_embedding.embedding", squeeze_first),
        *_adaptive_norm(f"{block}ln1", f"{layer}self_norm"),
        *_attention(f"{block}attn1" if condition == "text" else f"{block}attn", f"{layer}self_attention"),
        *(_adaptive_norm if condition == "class" else norm)(f"{block}ln2", f"{layer}mlp_norm"),
        *norm(f"{NETWORK}to_logits.0", f"{ours}final_norm"),
        *dense(f"{NETWORK}to_logits.1", f"{ours}logits"),
    ]
    if condition == "text":
        rules += [
            Rule(key(NULL_CONDITION), f"{ours}null_condition"),
            *_adaptive_norm(f"{block}ln1_1", f"{layer}cross_norm"),
            *_attention(f"{block}attn2", f"{layer}cross_attention"),
        ]
    layers = ("conv1", "conv2") if mlp == "conv" else ("0", "2")
    for name, target in zip(layers, ("up", "down"), strict=True):
        rules += (conv if mlp == "conv" else dense)(f"{block}mlp.{name}", f"{layer}mlp.{target}")
    return rules


def denoiser_ignores(condition: str) -> list[Ignore]:
    """Return the keys of a training checkpoint under ``transformer.`` that are no weights."""
    buffers = "log_(at|bt|ct|1_min_ct|cumprod_at|cumprod_bt|cumprod_ct|1_min_cumprod_ct)"
    ignores = [
        Ignore(key(PREFIX) + buffers, "noise schedule, computed anew in float64"),
        Ignore(key(PREFIX) + "Lt_(history|count)", "statistics of the training loss"),
        Ignore(key(f"{NETWORK}blocks.{{layer}}.attn2.mask"), "a causal mask that is never applied"),
    ]
    if condition != "text":
        ignores.append(
            Ignore(key(NULL_CONDITION), f"a text embedding that a model with condition={condition!r} never reads")
        )
    return ignores


def _adaptive_norm(foreign: str, ours: str) -> list[Rule]:
    return [*embedding(f"{foreign}.emb", f"{ours}.embedding"), *dense(f"{foreign}.linear", f"{ours}.linear")]


def _attention(foreign: str, ours: str) -> list[Rule]:
    names = {"query": "query", "key": "key", "value": "value", "proj": "out"}
    return [rule for theirs, name in names.items() for rule in dense(f"{foreign}.{theirs}", f"{ours}.{name}")]


def denoiser_fields(
    tensors: Mapping[str, Any], yaml: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the fields of DenoiserConfig that shapes tell: all but num_heads, activation, dropout and, mostly, grid.

    Args:
        tensors: of a training checkpoint.
        yaml: fields that the model's yaml sets; sinusoidal embeddings leave no table to count, so it tells their rows.
        defaults: fields that it leaves open.

    Raises:
        ConversionError: if the keys are not those of a training checkpoint.
    """
    told = {**(defaults or {}), **(yaml or {})}
    block = f"{NETWORK}blocks.0."
    tokens, width = shape_of(tensors, f"{NETWORK}content_emb.emb.weight", 2)
    learned = f"{block}ln1.emb.weight" in tensors
    convolutional = f"{block}mlp.conv1.weight" in tensors
    fields: dict[str, Any] = {
        "num_codes": tokens - 1,
        "width": width,
        "num_layers": count(tensors, f"{NETWORK}blocks."),
        "num_timesteps": rows(tensors, f"{block}ln1.emb.weight" if learned else f"{PREFIX}log_at"),
        "position_grid": (_positions(tensors, "height_emb"), _positions(tensors, "width_emb")),
        "mlp": "conv" if convolutional else "dense",
        "mlp_ratio": mlp_ratio(rows(tensors, f"{block}mlp.{'conv1' if convolutional else '0'}.weight"), width),
        "timestep_embedding": "learned" if learned else "sinusoidal",
    }
    if f"{block}attn2.key.weight" in tensors:
        fields |= {
            "condition": "text",
            "condition_width": shape_of(tensors, f"{block}attn2.key.weight", 2)[1],
            "learnable_null": NULL_CONDITION in tensors,
        }
        if f"{block}attn2.mask" in tensors:
            fields |= _grid(shape_of(tensors, f"{block}attn2.mask", 4)[2])
        if NULL_CONDITION in tensors:
            fields["condition_length"] = shape_of(tensors, NULL_CONDITION, 2)[0]
    elif f"{block}ln2.emb.weight" in tensors:
        classes = rows(tensors, f"{block}ln2.emb.weight")
        fields |= {"condition": "class", "class_embedding": "learned", "num_classes": classes}
    elif f"{block}ln2.linear.weight" in tensors:
        if "num_classes" not in told:
            raise ConversionError(
                "the file's class embedding is sinusoidal, so it does not hold the number of classes; "
                "give config (--reference_config): the model's yaml"
            )
        fields |= {"condition": "class", "class_embedding": "sinusoidal", "num_classes": told["num_classes"]}
    else:
        fields |= {"condition": "none"}
    return fields


def _positions(tensors: Mapping[str, Any], name: str) -> int:
    name = f"{NETWORK}content_emb.{name}"
    return rows(tensors, f"{name}.weight") if f"{name}.weight" in tensors else shape_of(tensors, name, 3)[1]


def _grid(length: int) -> dict[str, tuple[int, int]]:
    side = math.isqrt(length)
    return {"grid": (side, side)} if side * side == length else {}
