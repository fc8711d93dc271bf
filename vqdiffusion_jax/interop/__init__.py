"""Foreign checkpoint formats, read and written through key tables.

The names below are public; each is imported when it is first used.  Every format has a subpackage: ``reference`` (the
.pth and yaml files of VQ-Diffusion), ``codecs``, ``clip`` (OpenAI's and Hugging Face's) and ``diffusers``.  ``engine``
applies key tables; ``files`` reads the containers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clip.huggingface import read_clip, write_clip_text
    from .clip.openai import load_openai_clip
    from .codecs import load_codec, read_reduction
    from .detect import kind_of
    from .diffusers import read_diffusers, write_diffusers
    from .engine import Ignore, Report, Rule, apply, unapply
    from .files.torch_zip import open_checkpoint, state_dict
    from .load import load_reference
    from .reference.yaml_file import config_from_yaml

__all__ = [
    "Ignore",
    "Report",
    "Rule",
    "apply",
    "config_from_yaml",
    "kind_of",
    "load_codec",
    "load_openai_clip",
    "load_reference",
    "open_checkpoint",
    "read_clip",
    "read_diffusers",
    "read_reduction",
    "state_dict",
    "unapply",
    "write_clip_text",
    "write_diffusers",
]

_PLACES = {
    "engine": ("Ignore", "Report", "Rule", "apply", "unapply"),
    "files.torch_zip": ("open_checkpoint", "state_dict"),
    "detect": ("kind_of",),
    "load": ("load_reference",),
    "reference.yaml_file": ("config_from_yaml",),
    "codecs": ("load_codec", "read_reduction"),
    "clip.openai": ("load_openai_clip",),
    "clip.huggingface": ("read_clip", "write_clip_text"),
    "diffusers": ("read_diffusers", "write_diffusers"),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
