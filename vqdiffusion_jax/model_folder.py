"""Model folders: the project's own format, for a whole "model", a "codec" alone or "clip" alone.

    config.json   the kind, and every choice that the model is made of
    weights/      arrays under their parameter paths, or weights.safetensors in its place
    tokenizer/    vocabulary and merges (text models)
    words.json    the words of the captions that it was trained on, where the data set knows them
    README.md     its card: origin and licence, as far as they are known

All kinds have the same files, and the same parameter paths under ``weights``.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from .checkpoint import failing_as_checkpoint_error, load_weights, save_weights
from .config import (
    CLIPTextConfig,
    CLIPVisionConfig,
    ComputeConfig,
    ModelConfig,
    TokenizerConfig,
    VQGANConfig,
    from_dict,
    to_dict,
)
from .errors import CheckpointError, ConfigError, shown
from .extensions import check_trusted
from .files import check_empty, whole_or_not_at_all
from .model_card import READERS, Origin, card
from .models.components import CLIPComponents, CodecComponent
from .models.shapes import shapes_of
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import VQGAN
from .multihost import barrier
from .safetensors_weights import FILE, load_safetensors, save_safetensors
from .sharding import shardings
from .storage.addresses import address_of, last_name, local_path
from .storage.folders import written
from .text.known_words import KnownWords, write_words
from .text.tokenizer import Tokenizer
from .user_files import read_json

_MOST_BYTES = 2**20  # of config.json
FORMAT = "vqdiffusion_jax model"
FORMAT_VERSION = 1


def read_config(folder: Path) -> ModelConfig:
    """Read the ModelConfig of a model folder.

    Raises CheckpointError or ConfigError, which name the file, also for a noise schedule that is not trusted.
    """
    where = f"{folder / 'config.json'}: model"
    config = from_dict(ModelConfig, _config_in(folder, "model"), where=where)
    check_trusted(config.schedule.name, f"{where}.schedule.name")
    return config


def read_model(
    folder: Path,
    config: ModelConfig,
    compute: ComputeConfig,
    text_compute: ComputeConfig | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> VQDiffusionModel:
    """Read the weights of a model folder whose ``read_config`` is ``config``, onto the devices of ``mesh``."""
    abstract = shapes_of(VQDiffusionModel, config, compute, text_compute=text_compute)
    return _read_weights(folder, abstract, None if mesh is None else shardings(abstract, mesh))


def read_codec_folder(folder: Path, compute: ComputeConfig = ComputeConfig()) -> VQGAN:
    """Read the codec of a folder of kind "codec", or a whole model's.  Raises CheckpointError or ConfigError."""
    if _read_head(folder)[0] == "model":
        return read_model(folder, read_config(folder), compute).codec
    config = from_dict(VQGANConfig, _config_in(folder, "codec"), where=f"{folder / 'config.json'}: codec")
    return _read_weights(folder, shapes_of(CodecComponent, config, compute)).codec


def read_clip_folder(folder: Path, compute: ComputeConfig = ComputeConfig()) -> CLIPComponents:
    """Read a folder of kind "clip".  Raises CheckpointError or ConfigError."""
    towers, where = _config_in(folder, "clip"), f"{folder / 'config.json'}: clip"
    if not isinstance(towers, dict) or set(towers) != {"text", "image"}:
        raise CheckpointError(f"{where} must have the fields text and image; convert the folder again")
    types = {"text": CLIPTextConfig, "image": CLIPVisionConfig}
    configs = {
        name: None if towers[name] is None else from_dict(types[name], towers[name], where=f"{where}.{name}")
        for name in types
    }
    return _read_weights(folder, shapes_of(CLIPComponents, **configs, compute=compute))


def write_folder(
    folder: str | Path,
    model: VQDiffusionModel | CodecComponent | CLIPComponents,
    tokenizer: Tokenizer | None,
    *,
    provenance: str = "",
    origin: Origin = Origin(),
    name: str | None = None,
    safetensors: bool = False,
    int8: bool = False,
    known_words: KnownWords | None = None,
) -> None:
    """Write a model folder, whole or not at all.  All processes call this, and each writes its share of the weights.

    Weights are stored as they are held.  If they are held in fewer bits than float32 they have been rounded: a warning,
    README.md and "rounded_to" in config.json say so.

    Args:
        folder: absent or empty; a path, or an address of a bucket.
        model: a whole model or a part.
        tokenizer: of a text model; by default CLIP's, as the model's configuration says.
        provenance: a sentence on the weights, for README.md.
        origin: of the weights, for README.md and config.json.
        name: by which README.md loads the folder; by default its own.
        safetensors: write weights.safetensors, which other programs read too, in place of ``weights``.
        int8: write weights.safetensors with denoiser and text tower rounded to int8, a quarter of float32's size.
        known_words: of a text model's captions, as far as they are known.

    Raises:
        FileExistsError: if the folder holds anything.
        ConfigError: if safetensors is asked for of several processes, which write one file each.
        CheckpointError: if it cannot be written.
    """
    if address_of(folder) is not None:
        if jax.process_count() > 1:
            raise ConfigError(f"{folder}: several processes cannot write to a bucket; give a disk that all of them see")
        told = {"provenance": provenance, "origin": origin, "known_words": known_words, "safetensors": safetensors}
        told["int8"] = int8
        with written(folder) as out:
            write_folder(out.folder, model, tokenizer, name=name or last_name(folder), **told)
        return
    folder, safetensors = local_path(folder), safetensors or int8
    if safetensors and jax.process_count() > 1:
        raise ConfigError(
            "safetensors is True, but several processes hold the weights; leave it out, and convert later"
        )
    head = _head_of(model)
    if known := origin.to_dict():
        head["origin"] = known
    held = _rounded_to(model)
    if rounded := ", ".join(dtype for dtype in ("int8" * int8, held) if dtype):
        head["rounded_to"] = rounded
        note = (
            f"Its weights were rounded to {rounded} before they were written; "
            "a model loaded with param_dtype float32 has all digits."
        )
        provenance = f"{provenance}\n\n{note}".strip()
    if held:
        warnings.warn(
            f"{folder}: weights held in {held} are saved so; load with param_dtype float32 to save all digits",
            stacklevel=3,
        )
    kind = head["kind"]
    if isinstance(model, VQDiffusionModel):
        tokenizer = tokenizer_of(model.config.tokenizer, tokenizer)
    else:
        tokenizer = None
    check_empty(folder)
    with failing_as_checkpoint_error(f"{folder} cannot be written"), _one_place(folder) as place:
        if jax.process_index() == 0:
            (place / "config.json").write_text(json.dumps(head, indent=2) + "\n")
            condition = model.config.denoiser.condition if isinstance(model, VQDiffusionModel) else None
            readme = card(kind, name or folder.name, origin, provenance, condition)
            (place / "README.md").write_text(readme, encoding="utf-8")
            if tokenizer is not None:
                tokenizer.to_files(place / "tokenizer")
                write_words(place, known_words)
        if safetensors:
            save_safetensors(place / FILE, model, int8=int8)
        else:
            save_weights(place / "weights", model)


def read_origin(folder: Path) -> Origin:
    """Return the origin of the weights of a model folder, as far as its config.json tells."""
    try:
        head = read_json(folder / "config.json")
    except (OSError, ValueError):
        return Origin()
    return Origin.from_dict(head.get("origin") if isinstance(head, dict) else None)


def _read_weights(folder: Path, abstract: Any, shardings: Any = None) -> Any:
    """Read the weights of a model folder in either form."""
    if (folder / FILE).exists():
        return load_safetensors(folder / FILE, abstract, shardings)
    return load_weights(folder / "weights", abstract, shardings)


def tokenizer_of(config: TokenizerConfig | None, given: Tokenizer | None = None) -> Tokenizer | None:
    """Return the tokenizer given, else CLIP's as the configuration has it, or None for a model without text."""
    return given or (Tokenizer(config) if config is not None else None)


def _head_of(model: VQDiffusionModel | CodecComponent | CLIPComponents) -> dict[str, Any]:
    """Return the content of config.json."""
    if isinstance(model, VQDiffusionModel):
        kind, config = "model", to_dict(model.config)
    elif isinstance(model, CodecComponent):
        kind, config = "codec", to_dict(model.codec.config)
    else:
        towers = {"text": model.text_encoder, "image": model.image_encoder}
        kind = "clip"
        config = {name: None if tower is None else to_dict(tower.config) for name, tower in towers.items()}
    return {"format": FORMAT, "version": FORMAT_VERSION, "kind": kind, kind: config}


def _config_in(folder: Path, kind: str) -> Any:
    """Return the configuration in a model folder of that kind.  Raises CheckpointError if it is no such folder."""
    found, head = _read_head(folder)
    if found != kind:
        raise CheckpointError(f"{folder} holds a {found}, not a {kind}; {READERS[found]} reads it")
    return head.get(kind)


def _read_head(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a model folder and its config.json.  Raises CheckpointError if it is no model folder."""
    file = folder / "config.json"
    try:
        head = read_json(file, most=_MOST_BYTES)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not of a {FORMAT}; expected a folder written by save_pretrained or convert")
    if head.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file} has version {shown(head.get('version'))}; this release reads version {FORMAT_VERSION}"
        )
    found = head.get("kind", "model")
    if not isinstance(found, str) or found not in READERS:
        raise CheckpointError(f"{file}: kind is {shown(found)}; allowed: {', '.join(READERS)}")
    return found, head


def _rounded_to(model: Any) -> str:
    """Return the floating point formats of fewer bits than float32 that weights are held in, or ""."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(model) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)}
    return ", ".join(sorted(dtype.name for dtype in dtypes if dtype.itemsize < 4))


@contextmanager
def _one_place(folder: Path) -> Iterator[Path]:
    """Yield a new folder as ``whole_or_not_at_all`` does, the same in all processes; the first makes and names it."""
    if jax.process_count() == 1:
        with whole_or_not_at_all(folder) as place:
            yield place
        return
    place = folder.parent / f".{folder.name}.partial"
    if jax.process_index() == 0:
        shutil.rmtree(place, ignore_errors=True)  # left by a run that was killed
        place.mkdir(parents=True)
    barrier(f"{place} is there")
    yield place
    barrier(f"{place} is whole")
    if jax.process_index() == 0:
        place.replace(folder)
    barrier(f"{folder} is there")
