"""Recorded cases of the reference: found by content, sized by their own files.

A golden root holds one folder a case.  What a case is follows from what lies in
it, so folders with other names and other sizes replay just as well.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = ("text", "class", "none", "codec", "clip", "tokenizer", "schedules", "diffusers")


def kind_of(folder: Path) -> str | None:
    if (folder / "pipeline").is_dir():
        return "diffusers"
    if (folder / "prompts.json").is_file():
        return "tokenizer"
    if (folder / "clip_text_state.pt").is_file():
        return "clip"
    if (folder / "config.yaml").is_file():
        text = (folder / "config.yaml").read_text()
        transformers = {"Text2Image": "text", "UnCondition2Image": "none", "Condition2Image": "class"}
        return next(kind for name, kind in transformers.items() if f"{name}Transformer" in text)
    if (folder / "codec.pth").is_file():
        return "codec"
    if (folder / "golden.npz").is_file():
        return "schedules"
    return None


@dataclass(frozen=True)
class Case:
    """One folder: its arrays, and how each run in it was called."""

    path: Path
    kind: str

    @property
    def name(self) -> str:
        return self.path.name

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path / "golden.npz", allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    @functools.cached_property
    def calls(self) -> dict[str, dict]:
        """Keyword arguments of every run, read from the case's README."""
        found = {}
        for name, text in re.findall(r"^- `(run_\w+)`: (.*)$", (self.path / "README.md").read_text(), flags=re.M):
            if settings := re.search(r"\{.*\}", text):  # diffusers: pipeline([prompts], {settings})
                prompts = re.search(r"\[[^\]]*\]", text)
                found[name] = {"prompts": ast.literal_eval(prompts.group()), **ast.literal_eval(settings.group())}
                continue
            pairs = re.findall(r"(\w+)=('[^']*'|\[[^\]]*\]|[\w.]+)", text)
            found[name] = {key: ast.literal_eval(value) for key, value in pairs}
            for key, value in re.findall(r"\b(label|replicate) (\d+)", text):
                found[name][key] = int(value)
        return found

    @functools.cached_property
    def run_names(self) -> list[str]:
        return sorted({name.split("/")[0] for name in self.arrays if name.startswith("run_")})


def find_cases(root: Path) -> list[Case]:
    if not root.is_dir():
        return []
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    return [Case(folder, kind) for folder in folders if (kind := kind_of(folder))]


def classes_last(array: np.ndarray) -> np.ndarray:
    """The reference's (..., class, position) as our (..., position, class)."""
    return np.swapaxes(array, -1, -2)
