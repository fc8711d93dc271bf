"""Recipes: the JSON beside a picture, from which ``--mode=sample --again`` draws it once more.

A recipe is a flat table: the origin of the model under the names of flags, and the settings of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import __version__
from .sampling.settings import SamplingSettings

# Flags besides the settings that a picture depends on.
ORIGIN = (
    "checkpoint",
    "reference_config",
    "codec_config",
    "mapping",
    "codec",
    "clip",
    "weights",
    "clip_weights",
    "clip_dtype",
    "dtype",
    "faithful",
    "mesh",
)
PICTURES = ("image", "mask_image")  # settings that name a file, which may lie beside the JSON
_FORMERLY = ("mask",)  # of older recipes
_ABOUT = ("mode", "version")


def recipe(origin: Mapping[str, Any], settings: SamplingSettings) -> dict[str, Any]:
    """Return the recipe of all the pictures of a call.  Raises SettingError for settings that JSON cannot hold."""
    return {"mode": "sample", **origin, **settings.to_dict()}


def recipe_of_one(shared: Mapping[str, Any], first_image: int, **subject: Any) -> dict[str, Any]:
    """Return the recipe of one picture of a call.

    shared: the call's recipe; first_image: the picture's number among those of its subject; subject: settings of this
    picture alone, such as its prompt.
    """
    own = {"num_images_per_prompt": 1, "first_image": first_image, "version": __version__}
    return {**shared, **subject, **own}


def settings_of_recipe(table: Mapping[str, Any], folder: Path) -> SamplingSettings:
    """Return the settings of a recipe that lies in ``folder``, from which paths of pictures start.

    Raises SettingError for a setting that is unknown or not allowed.
    """
    settings = {name: value for name, value in table.items() if name not in (*ORIGIN, *_ABOUT)}
    return SamplingSettings.from_dict(with_paths(settings, lambda path: str(folder / path)))


def with_paths(table: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the table with each path of a picture replaced by ``change`` of it."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(one) for one in value]
        return change(value) if isinstance(value, str) else value

    pictures = (*PICTURES, *_FORMERLY)
    return {name: changed(value) if name in pictures else value for name, value in table.items()}
