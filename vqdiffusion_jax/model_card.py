"""The origin of a model's weights, and the README.md of a model folder, which tells it.

Nothing is said that is not known: a licence only where the source states one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .user_files import lines_of, open_regular

READERS = {  # kind of folder: the function that reads it
    "model": "VQDiffusionPipeline.from_pretrained",
    "codec": "vqdiffusion_jax.loading.load_codec",
    "clip": "vqdiffusion_jax.loading.load_clip",
}
_TITLES = {"model": "A VQ-Diffusion model", "codec": "The image codec of a VQ-Diffusion model", "clip": "CLIP"}
_IMPORTS = {"model": "from vqdiffusion_jax import VQDiffusionPipeline", "codec": "import vqdiffusion_jax.loading"}
_TASKS = {"text": "text-to-image", "none": "unconditional-image-generation"}  # by condition, as the hub names them


@dataclass(frozen=True)
class Origin:
    """The origin of weights, as far as it is known.

    source: the file, folder or repository they were loaded from.  repository, commit: on the Hugging Face hub.
    license: as the source states it.  training: how they were trained.  changed: they are not those of the source any
    more.
    """

    source: str | None = None
    repository: str | None = None
    commit: str | None = None
    license: str | None = None
    training: str | None = None
    changed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are known."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}

    @classmethod
    def from_dict(cls, values: Any) -> Origin:
        """Return the origin in a config.json; fields that are unknown or of another kind are left out."""
        names = {field.name: bool if field.name == "changed" else str for field in dataclasses.fields(cls)}
        known = values if isinstance(values, Mapping) else {}
        return cls(**{name: known[name] for name, kind in names.items() if isinstance(known.get(name), kind)})

    def after_changes(self) -> Origin:
        """Return the origin of weights that were changed, to which the source's licence and training need not apply."""
        return dataclasses.replace(self, license=None, training=None, changed=True)


def stated_license(folder: Path) -> str | None:
    """Return the licence that the head of a folder's README.md states, or None."""
    try:
        with open_regular(folder / "README.md") as file:
            text = "\n".join(lines_of(file.read(20_000).decode("utf-8", "replace"), keep_last=True))
    except OSError:
        return None
    head = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    stated = head and re.search(r"^license:[ \t]*['\"]?([\w.+-]+)['\"]?[ \t]*$", head[1], re.MULTILINE)
    return stated[1] if stated else None


def card(kind: str, name: str, origin: Origin, notes: str, condition: str | None) -> str:
    """Return the README.md of a model folder: a head that the hub reads, and text for people.

    Args:
        kind: "model", "codec" or "clip".
        name: by which the folder is loaded.
        origin: of the weights.
        notes: sentences of the writer.
        condition: of a model's denoiser.
    """
    head = {"library_name": "vqdiffusion_jax", "pipeline_tag": _TASKS.get(condition or ""), "license": origin.license}
    lines = [f"{key}: {value}" for key, value in head.items() if value]
    if origin.repository:
        lines.append(f"base_model: {origin.repository}")
    tags = ["jax", "flax", "vq-diffusion"] + (["class-conditional"] if condition == "class" else [])
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    imported = _IMPORTS.get(kind, "import vqdiffusion_jax.loading")
    parts = [
        "---\n" + "\n".join(lines) + "\n---",
        f"# {_TITLES[kind]}",
        "Written by vqdiffusion_jax. Load it with",
        f'```python\n{imported}\n\n{READERS[kind]}("{name}")\n```',
        _told(origin),
        notes,
        _licence(origin),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _told(origin: Origin) -> str:
    if origin.source is None:
        return origin.training or ""
    commit = f", commit {origin.commit}" if origin.commit else ""
    start = "The weights began as those of" if origin.changed else "The weights are those of"
    return f"{start} `{origin.source}`{commit}. {origin.training or ''}".strip()


def _licence(origin: Origin) -> str:
    if origin.license:
        return f"Licence: {origin.license}, as their source states."
    return "Licence: none is recorded; weights keep that of what they were made from."
