"""Recipes: the JSON beside and inside a picture, from which ``--mode=sample --again`` draws the picture again.

A recipe is a flat table of the model's origin, under the names of flags, and of the call's settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import __version__
from .sampling.settings import PICTURES, SamplingSettings
from .storage.addresses import absolute, joined

ORIGIN = (  # the flags, besides settings, that a picture depends on
    "checkpoint",
    "reference_config",
    "codec_config",
    "mapping",
    "codec",
    "clip",
    "weights",
    "clip_weights",
    "clip_dtype",
    "lora",
    "dtype",
    "faithful",
    "mesh",
)
KEYWORD = "vqdiffusion"  # of the recipe among the texts of a PNG
_FORMERLY = ("mask",)  # such settings of older recipes
_ABOUT = ("mode", "version")


def recipe(origin: Mapping[str, Any], settings: SamplingSettings) -> dict[str, Any]:
    """Return the recipe of all pictures of a call.  Raises SettingError for settings that JSON cannot hold."""
    return {"mode": "sample", **origin, **settings.to_dict()}


def with_absolute_paths(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe that can be read in any folder, with absolute paths of pictures."""
    return _with_paths(table, absolute)


def recipe_of_one(shared: Mapping[str, Any], first_image: int, **subject: Any) -> dict[str, Any]:
    """Return the recipe of one picture of a call.

    shared: the recipe of the call.  first_image: the picture's number among those of its subject.  subject: settings of
    this picture alone, such as its prompt.
    """
    own = {"num_images_per_prompt": 1, "first_image": first_image, "version": __version__}
    return {**shared, **subject, **own}


def settings_of_recipe(table: Mapping[str, Any], folder: str | Path) -> SamplingSettings:
    """Return the settings of a recipe in ``folder``, a path or an address, where its relative paths begin.

    Raises SettingError for a setting that is unknown or not allowed.
    """
    settings = {name: value for name, value in table.items() if name not in (*ORIGIN, *_ABOUT)}
    return SamplingSettings.from_dict(_with_paths(settings, lambda path: joined(folder, path)))


def json_of(table: Mapping[str, Any]) -> str:
    """Return a recipe as the text of a JSON file."""
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def texts_of_png(table: Mapping[str, Any], size: tuple[int, int], steps: int | None = None) -> dict[str, str]:
    """Return the texts that a picture's PNG carries: its recipe as JSON, and ``parameters`` as other tools write it.

    size: width and height in pixels.  steps: network calls, if the recipe leaves them to the model.
    """
    return {KEYWORD: json_of(table), "parameters": parameters(table, size, steps)}


def parameters(table: Mapping[str, Any], size: tuple[int, int], steps: int | None = None) -> str:
    """Return a recipe in the form of AUTOMATIC1111's web UI: the prompt, the negative prompt, and a line of values."""
    lines = [_one(table.get("prompt", ""))]
    if "negative_prompt" in table:
        lines.append(f"Negative prompt: {_one(table['negative_prompt'])}")
    checkpoint = str(table.get("checkpoint", ""))
    values = {
        "Steps": table.get("num_inference_steps", steps),
        "Sampler": table.get("strategy"),
        "CFG scale": table.get("guidance_scale"),
        "Seed": table.get("seed"),
        "Size": f"{size[0]}x{size[1]}",
        "Model": Path(checkpoint).stem if checkpoint.endswith((".pth", ".pt", ".safetensors")) else checkpoint,
        "Class": table.get("class_labels"),
        "Denoising strength": table.get("strength"),
        "Image number": table.get("first_image"),
        "Version": f"vqdiffusion_jax {__version__}",
    }
    told = (f"{name}: {_quoted(value)}" for name, value in values.items() if value not in (None, ""))
    return "\n".join([*lines, ", ".join(told)])


def _one(text: Any) -> str:
    return text if isinstance(text, str) else ", ".join(map(str, text))


def _quoted(value: Any) -> str:
    """Return a value of the last line, as JSON if a comma, a colon or a line end would divide it."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def _with_paths(table: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the table with ``change`` applied to each path of a picture."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(one) for one in value]
        return change(value) if isinstance(value, str) else value

    pictures = (*PICTURES, *_FORMERLY)
    return {name: changed(value) if name in pictures else value for name, value in table.items()}
