"""Recorded cases of the reference: found by their files, described by their README, sized by their arrays.

A golden root holds one folder a case.  What a case is follows from what lies in it, and what a test needs to know of a
recording from its README, so that folders with other names, other sizes and other calls replay just as well.
"""

from __future__ import annotations

import ast
import functools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = ("text", "class", "none", "codec", "clip", "tokenizer", "schedules", "diffusers")
TRANSFORMERS = {"Text2Image": "text", "UnCondition2Image": "none", "Condition2Image": "class"}


def kind_of(folder: Path) -> str | None:
    """Return the kind of the case in ``folder``, one of KINDS, or None if it holds no case."""
    if (folder / "pipeline").is_dir():
        return "diffusers"
    if (folder / "prompts.json").is_file():
        return "tokenizer"
    if (folder / "config.yaml").is_file():
        text = (folder / "config.yaml").read_text()
        return next((kind for name, kind in TRANSFORMERS.items() if f"{name}Transformer" in text), None)
    if any(folder.glob("*.pth")):
        return "codec"
    if any(folder.glob("*.pt")):
        return "clip"
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
        """The folder's name."""
        return self.path.name

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """All recorded arrays by name."""
        with np.load(self.path / "golden.npz", allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays whose names begin with ``prefix``, by the rest of their names."""
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    @property
    def weights(self) -> Path:
        """The checkpoint or codec file: the only .pth in the folder."""
        (file,) = self.path.glob("*.pth")
        return file

    @property
    def companions(self) -> dict[str, Path]:
        """The files beside ``weights`` that are needed to read it, by the role that our loaders give them."""
        files = {
            "config": self.path / "config.yaml",
            "codec_config": self.path / "codec.yaml",
            "mapping": next(self.path.glob("*.pt"), None),
        }
        return {role: file for role, file in files.items() if file is not None and file.is_file()}

    @property
    def towers(self) -> dict[str, Path]:
        """CLIP's weights: "state" is a state dict of the text tower, "archive" a TorchScript archive of the whole."""
        return {"archive" if _is_torchscript(file) else "state": file for file in sorted(self.path.glob("*.pt"))}

    @functools.cached_property
    def readme(self) -> str:
        """The folder's README."""
        return (self.path / "README.md").read_text()

    @functools.cached_property
    def meanings(self) -> dict[str, str]:
        """The meaning of each array by its name, from the README's table: name | shape | dtype | meaning."""
        return dict(re.findall(r"^\| `([^`]+)` \|[^|]*\|[^|]*\| (.*) \|$", self.readme, flags=re.M))

    @functools.cached_property
    def calls(self) -> dict[str, dict]:
        """Keyword arguments of every run, read from the README."""
        found = {}
        for name, text in re.findall(r"^- `(run_\w+)`: (.*)$", self.readme, flags=re.M):
            if settings := re.search(r"\{.*\}", text):  # diffusers: pipeline([prompts], {settings})
                prompts = re.search(r"\[[^\]]*\]", text)
                found[name] = {"prompts": ast.literal_eval(prompts.group()), **ast.literal_eval(settings.group())}
                found[name]["learnable"] = "learnable=False" not in text
                continue
            pairs = re.findall(r"(\w+)=('[^']*'|\[[^\]]*\]|[\w.]+)", text)
            found[name] = {key: ast.literal_eval(value) for key, value in pairs}
            for key, value in re.findall(r"\b(label|replicate) (\d+)", text):
                found[name][key] = int(value)
        return found

    @functools.cached_property
    def run_names(self) -> list[str]:
        """The sampling runs."""
        return sorted({name.split("/")[0] for name in self.arrays if name.startswith("run_")})

    @property
    def text_embeddings(self) -> list[str]:
        """The recorded outputs of CLIPTextEmbedding: the name of the options and of the dtype, as in "configs_fp16"."""
        return [name for name in self.arrays if re.fullmatch(r"\w+_fp(16|32)", name)]


def find_cases(root: Path) -> list[Case]:
    """Return the cases in the folders of ``root``."""
    if not root.is_dir():
        return []
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    return [Case(folder, kind) for folder in folders if (kind := kind_of(folder))]


def classes_last(array: np.ndarray) -> np.ndarray:
    """Return the reference's (..., class, position) as our (..., position, class)."""
    return np.swapaxes(array, -1, -2)


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
