"""The files of a repository that a loader needs, chosen from the list of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from .errors import CheckpointError, and_more

Wanted = Literal["model", "codec", "clip", "file"]

_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of weight files, without ending
PARTS = ("transformer", "vqvae", "text_encoder", "learned_classifier_free_sampling_embeddings")  # with weights
_CHECKPOINTS = (".pth", ".pt", ".ckpt")
_TEXTS = (".json", ".txt", ".md")  # settings, vocabularies and cards: small
_PIPELINE_PARTS = {"codec": "vqvae", "clip": "text_encoder"}  # of a diffusers folder, if that part alone is wanted


class Chosen(NamedTuple):
    """A file or folder of a repository, and the names of the files to fetch for it, all from the repository's root."""

    place: str
    names: tuple[str, ...]


def choose(names: Iterable[str], place: str, wanted: Wanted, variant: str | None) -> Chosen:
    """Return what ``wanted`` takes of the repository's files ``names``, at ``place`` ("" is the root).

    A model folder is taken whole; of a diffusers or Hugging Face folder the settings, and each part's weights in one
    format: safetensors before .bin, one file before shards, and the variant before full precision if one is named.
    A folder without settings must hold one checkpoint file, or ``place`` must name it.

    Raises CheckpointError if there is no such place, nothing to load at it, or no such variant.
    """
    names = sorted(names)
    if place in names:
        return Chosen(place, (place,))
    inside = _below(names, place)
    where = place or "the repository"
    if not inside:
        raise CheckpointError(f"it has no file or folder {place!r}; it holds {_some(names)}")
    if "model_index.json" in inside:
        if part := _PIPELINE_PARTS.get(wanted):
            chosen = choose(names, _join(place, part), wanted, variant)
            # A codec's own config does not tell the size of its pictures; the transformer's does.
            beside = [_join(place, "transformer/config.json")] if wanted == "codec" else []
            return Chosen(chosen.place, chosen.names + tuple(name for name in beside if name in names))
        return Chosen(place, _all_of(place, _pipeline(inside, variant)))
    if "config.json" in inside:
        if any(name.startswith("weights") for name in inside):
            return Chosen(place, _all_of(place, [name for name in inside if _is_of_model_folder(name)]))
        weights = weight_files(inside, variant)
        _check_variant(inside, weights, variant)
        return Chosen(place, _all_of(place, [*(name for name in inside if _is_text(name)), *weights]))
    files = [name for name in inside if name.endswith(_CHECKPOINTS)]
    if len(files) == 1:
        return Chosen(_join(place, files[0]), (_join(place, files[0]),))
    if files:
        raise CheckpointError(f"{where} holds several checkpoint files; name one of them: {_some(files)}")
    raise CheckpointError(
        f"{where} holds neither model_index.json (diffusers), config.json (a model folder, CLIP) nor a .pth file, but "
        f"{_some(inside)}"
    )


def weight_files(names: Sequence[str], variant: str | None = None) -> list[str]:
    """Return the files of one format of a part's weights: one file, or an index and its shards; [] if there are none.

    names: of the files in the part's folder.  variant: the one to prefer, as "fp16"; by default full precision.
    """
    present = set(names)
    for kind in (variant, None) if variant else (None, "fp16"):
        middle = f".{kind}" if kind else ""
        for ending in ("safetensors", "bin"):
            for stem in _STEMS:
                if (single := f"{stem}{middle}.{ending}") in present:
                    return [single]
                if (index := f"{stem}.{ending}.index{middle}.json") in present:
                    mark = re.escape(middle)
                    shard = re.compile(rf"{stem}(?:{mark}-\d+-of-\d+|-\d+-of-\d+{mark})\.{ending}")
                    return [index, *(name for name in names if shard.fullmatch(name))]
    return []


def _pipeline(inside: Sequence[str], variant: str | None) -> list[str]:
    """Return the files of a diffusers folder that its reader needs."""
    weights = []
    for part in PARTS:
        weights += [f"{part}/{name}" for name in weight_files(_below(inside, part), variant)]
    _check_variant(inside, weights, variant)
    return [name for name in inside if _is_text(name) and name.count("/") < 2] + weights


def _check_variant(inside: Iterable[str], weights: Iterable[str], variant: str | None) -> None:
    if variant and not any(f".{variant}" in PurePosixPath(name).name for name in weights):
        pattern = re.compile(r"(?:model)\.([\w-]+?)(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
        found = sorted({match[1] for name in inside if (match := pattern.search(PurePosixPath(name).name))})
        others = f"it has {', '.join(found)}" if found else "it has full precision alone"
        raise CheckpointError(f"it has no variant {variant!r}; {others}")


def _is_text(name: str) -> bool:
    return name.endswith(_TEXTS) and ".index" not in name


def _is_of_model_folder(name: str) -> bool:
    return name in ("config.json", "README.md", "weights.safetensors") or name.startswith(("weights/", "tokenizer/"))


def _below(names: Iterable[str], place: str) -> list[str]:
    """Return the names below a folder, without its name in front."""
    start = f"{place}/" if place else ""
    return [name.removeprefix(start) for name in names if name.startswith(start)]


def _all_of(place: str, inside: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_join(place, name) for name in inside))


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _some(names: Sequence[str], most: int = 8) -> str:
    return and_more(names[:most], len(names))
