"""CLIP towers of Hugging Face transformers: CLIPModel, CLIPTextModel, CLIPVisionModelWithProjection.

The text tower is also the ``text_encoder`` of a diffusers folder, whose reader shares its key table and config.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import jax
import numpy as np
from flax import nnx

from ...config import CLIPTextConfig, CLIPVisionConfig, ComputeConfig, mlp_ratio
from ...errors import ConfigError, ConversionError
from ...models.clip import CLIPTextEncoder, CLIPVisionEncoder
from ...models.shapes import shapes_of
from ..engine import Ignore, Report, Rule, apply, conv_kernel, dense, embedding, key, norm, transpose, unapply
from ..files.json_options import JsonOptions, write_json
from ..files.safetensors import open_weights, write_safetensors

Module = TypeVar("Module")

WEIGHTS = ("model", "pytorch_model")
TEXT_PROJECTION = "text_projection"
_ACTIVATIONS = {"quick_gelu": "gelu2", "gelu": "gelu"}

# Values of options that a config.json leaves out, as in transformers: those of ViT-B/32.
_DEFAULTS = {
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 512,
}
TEXT_DEFAULTS = _DEFAULTS | {
    "vocab_size": 49408,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
}
VISION_DEFAULTS = _DEFAULTS | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "num_channels": 3,
}


class Towers(NamedTuple):
    """The towers of a CLIP folder, None for one that it lacks, and the report of every key."""

    text: CLIPTextEncoder | None
    vision: CLIPVisionEncoder | None
    report: Report


def block_rules(foreign: str, ours: str) -> list[Rule]:
    """Return the rules of the transformer blocks, which are alike in both towers."""
    theirs, block = f"{foreign}.encoder.layers.{{layer}}", f"{ours}.blocks"
    rules = norm(f"{theirs}.layer_norm1", f"{block}.norm1") + norm(f"{theirs}.layer_norm2", f"{block}.norm2")
    for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
        rules += dense(f"{theirs}.self_attn.{short}_proj", f"{block}.attention.{name}")
    return rules + dense(f"{theirs}.mlp.fc1", f"{block}.mlp.up") + dense(f"{theirs}.mlp.fc2", f"{block}.mlp.down")


def text_rules(foreign: str, ours: str) -> list[Rule]:
    """Return the rules of the text tower under ``foreign``, without its projection."""
    return [
        *embedding(f"{foreign}.embeddings.token_embedding", f"{ours}.token_embedding"),
        Rule(key(f"{foreign}.embeddings.position_embedding.weight"), f"{ours}.position_embedding"),
        *block_rules(foreign, ours),
        *norm(f"{foreign}.final_layer_norm", f"{ours}.final_norm"),
    ]


def vision_rules(foreign: str, ours: str) -> list[Rule]:
    """Return the rules of the image tower under ``foreign``, without its projection."""
    return [
        Rule(key(f"{foreign}.embeddings.class_embedding"), f"{ours}.class_embedding"),
        Rule(key(f"{foreign}.embeddings.patch_embedding.weight"), f"{ours}.patch_embedding.kernel", conv_kernel),
        Rule(key(f"{foreign}.embeddings.position_embedding.weight"), f"{ours}.position_embedding"),
        *norm(f"{foreign}.pre_layrnorm", f"{ours}.pre_norm"),  # spelt so in the library
        *block_rules(foreign, ours),
        *norm(f"{foreign}.post_layernorm", f"{ours}.final_norm"),
    ]


POSITION_IDS = Ignore(r".*embeddings\.position_ids", "a counter from 0")

# transformers 4 writes the prefixes text_model. and vision_model. for single towers too; transformers 5 may not.
_TEXT_RULES = [
    *text_rules("text.text_model", "text"),
    *text_rules("text", "text"),
    Rule(key("text.text_projection.weight"), "text.text_projection", transpose),
]
_VISION_RULES = [
    *vision_rules("vision.vision_model", "vision"),
    *vision_rules("vision", "vision"),
    Rule(key("vision.visual_projection.weight"), "vision.projection", transpose),
]


def read_text_config(part: JsonOptions) -> CLIPTextConfig:
    """Return the config of a text tower.  Raises ConversionError for one that our tower cannot be."""
    return _tower(
        part,
        CLIPTextConfig,
        vocab_size=part.whole("vocab_size"),
        context_length=part.whole("max_position_embeddings"),
    )


def read_vision_config(part: JsonOptions) -> CLIPVisionConfig:
    """Return the config of an image tower.  Raises ConversionError for one that our tower cannot be."""
    part.require("num_channels", 3)
    return _tower(part, CLIPVisionConfig, image_size=part.whole("image_size"), patch_size=part.whole("patch_size"))


def _tower(part: JsonOptions, config_type: type, **sizes: int) -> Any:
    part.require("layer_norm_eps", 1e-5)
    width = part.whole("hidden_size")
    try:
        return config_type(
            width=width,
            mlp_ratio=mlp_ratio(part.whole("intermediate_size"), width),
            activation=_ACTIVATIONS[part.require("hidden_act", *_ACTIVATIONS)],
            num_layers=part.whole("num_hidden_layers"),
            num_heads=part.whole("num_attention_heads"),
            projection_width=part.whole("projection_dim"),
            **sizes,
        )
    except ConfigError as error:
        raise ConversionError(f"{part.where}: {error}") from error


def text_config_json(config: CLIPTextConfig, *, start: int, end: int, pad: int) -> dict[str, Any]:
    """Return the config.json of a CLIPTextModel; start, end and pad are the tokenizer's ids."""
    return {
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": start,
        "eos_token_id": end,
        "hidden_act": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[config.activation],
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.context_length,
        "model_type": "clip_text_model",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "pad_token_id": pad,
        "projection_dim": config.projection_width,
        "vocab_size": config.vocab_size,
    }


def read_clip(folder: str | Path, compute: ComputeConfig = ComputeConfig(), *, variant: str | None = None) -> Towers:
    """Load the towers of a Hugging Face CLIP folder (config.json beside model.safetensors or pytorch_model.bin).

    A text tower without projection (CLIPTextModel) gets one of zeros; the report says so.  variant: the one of the
    weights to prefer, as "fp16".

    Raises:
        CheckpointError: for a file that is absent or corrupt.
        ConversionError: for another kind of model, and, with every key listed, for weights that do not fill the towers.
    """
    folder = Path(folder)
    text, vision = _read_tower_configs(folder / "config.json")
    keys = _sort_by_tower(open_weights(folder, *WEIGHTS, variant=variant), text is not None, vision is not None)
    module = nnx.Dict(
        text=text and shapes_of(CLIPTextEncoder, text, compute),
        vision=vision and shapes_of(CLIPVisionEncoder, vision, compute),
    )
    ignores = [POSITION_IDS, Ignore(r".*logit_scale", "the temperature of CLIP's training loss")]
    filled, report = apply(
        _TEXT_RULES + _VISION_RULES, ignores, keys, module, optional=(r"text\.text_projection",), what=str(folder)
    )
    filled = fill_text_projection(filled, report)
    return Towers(cast(CLIPTextEncoder | None, filled.text), cast(CLIPVisionEncoder | None, filled.vision), report)


def _read_tower_configs(path: Path) -> tuple[CLIPTextConfig | None, CLIPVisionConfig | None]:
    whole = JsonOptions.read(path, {})
    kind = whole.require("model_type", "clip", "clip_text_model", "clip_vision_model")
    if kind == "clip_text_model":
        return read_text_config(JsonOptions.read(path, TEXT_DEFAULTS)), None
    if kind == "clip_vision_model":
        return None, read_vision_config(JsonOptions.read(path, VISION_DEFAULTS))
    # The width of the shared space stands beside the towers, not in them.
    shared = {"projection_dim": whole.values.get("projection_dim", 512)}
    # Older files may have a second table, which counts instead of the first in transformers.
    text, vision = (
        JsonOptions(
            {**defaults, **(whole.values.get(f"{name}_dict") or whole.values.get(name) or {}), **shared},
            f"{path}, {name}",
        )
        for name, defaults in (("text_config", TEXT_DEFAULTS), ("vision_config", VISION_DEFAULTS))
    )
    return read_text_config(text), read_vision_config(vision)


def _sort_by_tower(tensors: Mapping[str, Any], text: bool, vision: bool) -> dict[str, Any]:
    """Put each key's tower in front of it; in a file of one tower all keys are that tower's."""

    def tower(name: str) -> str:
        if text and vision:
            kinds = {
                "text_model": "text.",
                TEXT_PROJECTION: "text.",
                "vision_model": "vision.",
                "visual_projection": "vision.",
            }
            return kinds.get(name.split(".")[0], "")
        return "text." if text else "vision."

    return {tower(name) + name: tensor for name, tensor in tensors.items()}


def fill_text_projection(module: Module, report: Report) -> Module:
    """Return the module with zeros for a text projection that its file lacks, noted in the report."""
    if not any(path.endswith(TEXT_PROJECTION) for path in report.left):
        return module
    report.notes.append("the file has no text projection; it is zero here, and the released models do not use it")
    return jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, module
    )


def write_clip_text(encoder: CLIPTextEncoder, folder: str | Path, *, start: int, end: int, pad: int) -> None:
    """Write config.json and model.safetensors of a CLIPTextModel, which has no text projection.

    Args:
        encoder: the text tower.
        folder: an existing folder.
        start, end, pad: ids of the tokenizer.
    """
    folder = Path(folder)
    tensors = unapply(text_rules("text_model", "text"), nnx.Dict(text=encoder), skip=(rf"text\.{TEXT_PROJECTION}",))
    write_json(folder / "config.json", text_config_json(encoder.config, start=start, end=end, pad=pad))
    write_safetensors(folder / "model.safetensors", tensors)
