"""Folders and files to pipelines, and pipelines to native folders.

A native folder is for people too:

    config.json   every choice the model is made of
    weights/      arrays under their parameter paths
    tokenizer/    vocabulary and merges (text models)
    README.md     what it is, where it came from, under which licence
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from flax import nnx

from .checkpoint import CheckpointError, load_weights, save_weights
from .config import ComputeConfig, ConfigError, ModelConfig, from_dict, to_dict
from .files import check_empty, whole_or_not_at_all
from .models.vqdiffusion import VQDiffusionModel
from .sharding import shard, shardings
from .text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from .interop.report import Report
    from .pipeline import VQDiffusionPipeline

FORMAT = "vqdiffusion_jax model"
FORMAT_VERSION = 1

_README = """\
# A VQ-Diffusion model

Written by vqdiffusion_jax.  Load it with

    VQDiffusionPipeline.from_pretrained("{name}")

{provenance}

The weights keep the licence of the checkpoint they were converted from.  The
released VQ-Diffusion weights are MIT (Microsoft), the VQGANs of taming
transformers MIT (CompVis), CLIP MIT (OpenAI).
"""


def default_compute() -> ComputeConfig:
    """bfloat16 on accelerators, float32 on the CPU."""
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return ComputeConfig(dtype=dtype, param_dtype=dtype)


def load(
    path: str | Path,
    *,
    compute: ComputeConfig | None = None,
    mesh: jax.sharding.Mesh | None = None,
    **companions,
) -> VQDiffusionPipeline:
    """A pipeline from whatever ``path`` is.

    Args:
        path: a folder written by ``save``, a diffusers VQDiffusionPipeline folder, or one of the reference's .pth files.
        compute: precision and execution; by default bfloat16 on accelerators and float32 on the CPU.
        mesh: devices to spread weights and pictures over (see ``sharding.make_mesh``).
        companions: for a .pth file: config, codec_config, mapping, codec, clip, weights (see ``interop.load``).

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message; FileNotFoundError if nothing is there.
    """
    from .pipeline import VQDiffusionPipeline

    path = Path(path)
    compute = compute or default_compute()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a model folder, a diffusers folder or a .pth file")
    if (path / "config.json").is_file() and not (path / "model_index.json").exists():
        if companions:
            raise ConfigError(f"{', '.join(companions)} given, but {path} is already converted; companions go with .pth files")
        model, tokenizer = _read_native(path, compute, mesh)
        return VQDiffusionPipeline(model, tokenizer, mesh=mesh)
    model, tokenizer, _ = read_foreign(path, compute=compute, **companions)
    return VQDiffusionPipeline(_to_devices(model, mesh), tokenizer, mesh=mesh)


def read_foreign(path: Path, *, compute: ComputeConfig = ComputeConfig(), **companions):
    """(model with host arrays, tokenizer or None, Report) of a diffusers folder or a .pth file."""
    if path.is_dir():
        from .interop.diffusers_folder import read_diffusers

        if companions:
            raise ConfigError(f"{', '.join(companions)} given, but a diffusers folder holds everything; companions go with .pth files")
        return read_diffusers(path, compute)
    from .interop.load import load_reference

    model, report = load_reference(path, compute=compute, **companions)
    return model, None, report


def convert(checkpoint: str | Path, out: str | Path, **companions) -> Report:
    """Read a .pth file or a diffusers folder and write the native folder ``out``, in float32, whole or not at all.

    companions: see ``interop.load.load_reference``.  Raises FileExistsError,
    before anything is read, if ``out`` holds anything, and what ``load`` raises.
    """
    check_empty(out)
    model, tokenizer, report = read_foreign(Path(checkpoint), **companions)
    write_folder(out, model, tokenizer, provenance=f"Converted from `{Path(checkpoint).name}`.")
    return report


def write_folder(folder: str | Path, model: VQDiffusionModel, tokenizer: Tokenizer | None, *, provenance: str = "") -> None:
    """Write a native folder; it appears whole or not at all.  Raises FileExistsError if the folder holds anything."""
    folder = Path(folder)
    if tokenizer is None and model.config.tokenizer is not None:
        tokenizer = Tokenizer(model.config.tokenizer)
    with whole_or_not_at_all(folder) as place:
        head = {"format": FORMAT, "version": FORMAT_VERSION, "model": to_dict(model.config)}
        (place / "config.json").write_text(json.dumps(head, indent=2) + "\n")
        (place / "README.md").write_text(_README.format(name=folder.name, provenance=provenance).replace("\n\n\n", "\n"))
        if tokenizer is not None:
            tokenizer.to_files(place / "tokenizer")
        save_weights(place / "weights", model)


def _read_native(folder: Path, compute: ComputeConfig, mesh) -> tuple[VQDiffusionModel, Tokenizer | None]:
    config = read_config(folder)
    abstract = jax.eval_shape(lambda: VQDiffusionModel(config, compute, rngs=nnx.Rngs(0)))
    model = load_weights(folder / "weights", abstract, None if mesh is None else shardings(abstract, mesh))
    tokenizer = Tokenizer.from_files(folder / "tokenizer") if (folder / "tokenizer").is_dir() else None
    return model, tokenizer


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a native folder.  Raises CheckpointError or ConfigError naming the file."""
    file = folder / "config.json"
    try:
        head = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not of a {FORMAT}; expected a folder written by save_pretrained")
    if head.get("version") != FORMAT_VERSION:
        raise CheckpointError(f"{file} has version {head.get('version')}; this release reads version {FORMAT_VERSION}")
    return from_dict(ModelConfig, head.get("model"), where=f"{file}: model")


def _to_devices(model: VQDiffusionModel, mesh) -> VQDiffusionModel:
    return jax.tree.map(jax.numpy.asarray, model) if mesh is None else shard(model, mesh)
