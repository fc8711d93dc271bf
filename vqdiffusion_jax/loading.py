"""Folders and files to models, and models to native folders.

A native folder is for people too:

    config.json   every choice the model is made of
    weights/      arrays under their parameter paths
    tokenizer/    vocabulary and merges (text models)
    README.md     what it is, where it came from, under which licence

A codec alone and CLIP alone have such folders too; config.json says which kind it is.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from .checkpoint import failing_as_checkpoint_error, load_weights, save_weights
from .config import MODEL_DTYPES, ComputeConfig, ModelConfig, compute_in
from .embedded import folder_of
from .errors import ConfigError
from .files import check_empty, whole_or_not_at_all
from .interop.kinds import DIFFUSERS, NATIVE, kind_of_folder
from .models.clip import CLIPTextEncoder, CLIPVisionEncoder
from .models.components import CLIPPart, CodecPart
from .models.shapes import shapes_of
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import VQGAN
from .multihost import wait_for_all
from .native import READERS, head_of, read_clip_folder, read_codec_folder, read_config
from .sharding import shard, shardings
from .text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from .interop.report import Report

TEXT_DTYPES = ("float32", "float16")
COMPANIONS = ("config", "codec_config", "mapping", "codec", "clip", "weights", "clip_weights")  # of a .pth file

_TITLES = {"model": "A VQ-Diffusion model", "codec": "The image codec of a VQ-Diffusion model", "clip": "CLIP"}
_README = """\
# {title}

Written by vqdiffusion_jax.  Load it with

    {reader}("{name}")

{provenance}

The weights keep the licence of the checkpoint they were converted from.  The
released VQ-Diffusion weights are MIT (Microsoft), the VQGANs of taming
transformers MIT (CompVis), CLIP MIT (OpenAI).
"""


def default_compute() -> ComputeConfig:
    """bfloat16 on accelerators, but for norms, codebook, latents and pixels, which are float32 everywhere; float32 on the CPU."""
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return ComputeConfig(dtype=dtype, param_dtype=dtype)


@dataclass(frozen=True)
class OpenedModel:
    """A model of which everything but the weights is known; ``load`` reads them.

    tokenizer: of a text model.  read: from (compute, the text tower's or None, mesh or None) to the model.
    """

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer | None
    read: Callable[[ComputeConfig, ComputeConfig | None, jax.sharding.Mesh | None], VQDiffusionModel]

    def load(
        self,
        *,
        compute: ComputeConfig | None = None,
        mesh: jax.sharding.Mesh | None = None,
        clip_dtype: str | None = None,
    ) -> VQDiffusionModel:
        """The model with its weights.  Arguments and errors as of ``load_model``."""
        if clip_dtype is not None and self.config.text_encoder is None:
            raise ConfigError(f"clip_dtype={clip_dtype} is given, but {self.path} has no text tower; leave it out")
        compute = compute or default_compute()
        return self.read(compute, _text_compute(clip_dtype, compute), mesh)


def open_model(path: str | Path, **companions) -> OpenedModel:
    """What model ``path`` holds.  Companions and errors as of ``load_model``, whose other arguments go to ``OpenedModel.load``; what is
    wrong with weights is found there.
    """
    _check_known(companions, ())
    path = folder_of(path)
    check_exists(path)
    if not path.is_dir():
        from .interop.load import fill_reference, plan_reference

        made = plan_reference(path, **companions)

        def read_reference(compute, text_compute, mesh):
            return _to_devices(fill_reference(made, path, compute=compute, text_compute=text_compute)[0], mesh)

        return OpenedModel(path, made.config, _tokenizer_of(made.config), read_reference)
    kind = kind_of_folder(path)
    if kind not in (NATIVE, DIFFUSERS):
        raise ConfigError(f"{path} is a {kind}; a model folder, a diffusers folder or a .pth file is needed here")
    _check_complete(path, kind, companions)
    if kind == NATIVE:
        config = read_config(path)
        tokenizer = Tokenizer.from_files(path / "tokenizer") if (path / "tokenizer").is_dir() else None
        return OpenedModel(path, config, _tokenizer_of(config, tokenizer), partial(_read_native, path, config))
    from .interop.diffusers_folder import fill_diffusers, read_configs

    config, tokenizer = read_configs(path)

    def read_diffusers(compute, text_compute, mesh):
        return _to_devices(fill_diffusers(path, config, compute, text_compute)[0], mesh)

    return OpenedModel(path, config, tokenizer, read_diffusers)


def load_model(
    path: str | Path,
    *,
    compute: ComputeConfig | None = None,
    dtype: str | None = None,
    mesh: jax.sharding.Mesh | None = None,
    clip_dtype: str | None = None,
    **companions,
) -> tuple[VQDiffusionModel, Tokenizer | None]:
    """A model from whatever ``path`` is, and the tokenizer of a text model.

    Args:
        path: a folder written by ``save``, a diffusers VQDiffusionPipeline folder, one of the reference's .pth files, or
            "emoji", the model that comes with the package.
        compute: precision and execution; by default bfloat16 on accelerators and float32 on the CPU.
        dtype: "float32", "bfloat16" or "float8", short for ``compute=compute_in(dtype)``.
        mesh: devices to spread weights over (see ``sharding.make_mesh``).
        clip_dtype: "float32" or "float16", what the text tower computes in; by default as the rest.  The reference ran it in
            float16, and its numbers need that.  Its parameters are held in float32 either way.
        companions: for a .pth file: config, codec_config, mapping, codec, clip, weights, clip_weights (see ``interop.load``).

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message; FileNotFoundError if nothing is there.
    """
    _check_known(companions)
    if dtype is not None:
        if compute is not None:
            raise ConfigError(
                "dtype and compute are both given; give one, dtype being short for compute=compute_in(dtype)"
            )
        if dtype not in MODEL_DTYPES:
            raise ConfigError(f"dtype is {dtype!r}; allowed: {', '.join(MODEL_DTYPES)}")
        compute = compute_in(dtype)
    opened = open_model(path, **companions)
    return opened.load(compute=compute, mesh=mesh, clip_dtype=clip_dtype), opened.tokenizer


def _check_known(given: Iterable[str], others: Sequence[str] = ("compute", "dtype", "mesh", "clip_dtype")) -> None:
    """Raise ConfigError for what is neither a companion nor one of ``others``."""
    if "torch_dtype" in given:
        raise ConfigError(f"torch_dtype is PyTorch's; give dtype, one of {', '.join(MODEL_DTYPES)}")
    if unknown := sorted(set(given) - {*others, *COMPANIONS}):
        raise ConfigError(
            f"{', '.join(unknown)}: no such option; known: {''.join(f'{name}, ' for name in others)}and of .pth files the companions "
            f"{', '.join(COMPANIONS)}"
        )


def _check_complete(path: Path, kind: str, companions: Iterable[str]) -> None:
    """Raise ConfigError for companions of a folder, which needs none."""
    if companions:
        holds = "is already converted" if kind == NATIVE else "is a diffusers folder, which holds everything"
        raise ConfigError(f"{', '.join(companions)} given, but {path} {holds}; companions go with .pth files")


def check_exists(path: Path) -> None:
    """Raise FileNotFoundError, one line, if nothing is at ``path``."""
    if not path.exists():
        hub = f"; a hub id is not fetched by itself: first download the folder (hf download {path} --local-dir DIR)"
        is_id = len(path.parts) == 2 and not path.is_absolute() and not path.suffix and not path.parent.exists()
        raise FileNotFoundError(
            f"{path} does not exist; give a model folder, a diffusers folder, a .pth file or the name emoji{hub if is_id else ''}"
        )


def _text_compute(clip_dtype: str | None, compute: ComputeConfig) -> ComputeConfig | None:
    if clip_dtype is None:
        return None
    if clip_dtype not in TEXT_DTYPES:
        raise ConfigError(f"clip_dtype is {clip_dtype!r}; allowed: {', '.join(TEXT_DTYPES)}")
    return replace(compute, dtype=clip_dtype, param_dtype="float32")


def load_codec(
    path: str | Path,
    *,
    config: str | Path | None = None,
    mapping: str | Path | None = None,
    image_size: int | None = None,
    compute: ComputeConfig | None = None,
) -> VQGAN:
    """An image codec alone, from a native codec folder or a foreign codec file.

    Args:
        path: the folder, or taming's f8 or f16, ITHQ's, or a whole checkpoint of the reference.
        config, mapping, image_size: for a file, see ``interop.codecs.load_codec``.
        compute: as for ``load_model``.

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message.
    """
    path, compute = Path(path), compute or default_compute()
    if path.is_dir():
        options = {"config": config, "mapping": mapping, "image_size": image_size}
        if given := [name for name, value in options.items() if value is not None]:
            raise ConfigError(f"{', '.join(given)} given, but {path} is already converted; these go with codec files")
        return read_codec_folder(path, compute).codec
    from .interop.codecs import load_codec as load_file

    return _to_devices(load_file(path, config=config, mapping=mapping, image_size=image_size, compute=compute)[0], None)


def load_clip(
    path: str | Path, *, compute: ComputeConfig | None = None
) -> tuple[CLIPTextEncoder | None, CLIPVisionEncoder | None]:
    """CLIP's text and image towers, None for one that is not there; parameters are held in float32.

    Args:
        path: a native CLIP folder, a Hugging Face CLIP folder, ViT-B-32.pt or its state dict.
        compute: as for ``load_model``.

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message.
    """
    path, compute = Path(path), replace(compute or default_compute(), param_dtype="float32")
    if path.is_dir() and kind_of_folder(path) == NATIVE:
        part = read_clip_folder(path, compute)
        return part.text_encoder, part.image_encoder
    text, image, _ = _read_clip(path, compute)
    return _to_devices(text, None), _to_devices(image, None)


def _read_clip(path: Path, compute: ComputeConfig, **options):
    if path.is_dir():
        from .interop.huggingface_clip import read_clip

        if options:
            raise ConfigError(f"{', '.join(options)} given, but {path} is a folder; that goes with OpenAI's files")
        return read_clip(path, compute)
    from .interop.openai_clip import load_openai_clip

    return load_openai_clip(path, compute=compute, **options)


def convert(checkpoint: str | Path, out: str | Path, **companions) -> Report:
    """Write the native folder ``out`` from any foreign file or folder, in float32, whole or not at all.

    checkpoint: a .pth file of the reference, a diffusers folder, a codec alone,
    ViT-B-32.pt or a Hugging Face CLIP folder; told apart by what is in them.
    companions: for a .pth file see ``interop.load.load_reference``; mapping and
    codec_config for a codec; clip_dtype for ViT-B-32.pt.  Raises FileExistsError,
    before anything is read, if ``out`` holds anything, and what ``load_model`` raises.
    """
    _check_known(companions, ("clip_dtype",))
    check_empty(out)
    model, tokenizer, report = _read_any(Path(checkpoint), **companions)
    leaves, structure = jax.tree.flatten(model)
    del model  # so that each host array is let go as soon as it is on the device
    write_folder(
        out,
        structure.unflatten(_one_by_one(leaves)),
        tokenizer,
        provenance=f"Converted from `{Path(checkpoint).name}`.",
    )
    return report


def _read_any(path: Path, **companions):
    """(whole model, CodecPart or CLIPPart with host arrays, tokenizer or None, Report)."""
    from .interop.kinds import CHECKPOINT, CODEC, kind_of

    kind = kind_of(path)
    if kind == NATIVE:
        raise ConfigError(
            f"{path} is already converted; load it as it is, or write a diffusers folder with convert/flax_to_diffusers.py"
        )
    if kind == CHECKPOINT:
        from .interop.load import load_reference

        model, report = load_reference(path, **companions)
        return model, None, report
    if kind == DIFFUSERS:
        from .interop.diffusers_folder import read_diffusers

        _check_complete(path, kind, companions)
        return read_diffusers(path)
    if unused := sorted(set(companions) - ({"mapping", "codec_config"} if kind == CODEC else {"clip_dtype"})):
        raise ConfigError(f"{', '.join(unused)} given, but {path} is a {kind} alone; that goes with whole checkpoints")
    if kind == CODEC:
        from .interop.codecs import load_codec as load_file

        codec, report = load_file(path, config=companions.get("codec_config"), mapping=companions.get("mapping"))
        part = shapes_of(CodecPart, codec.config)
        part.codec = codec
        return part, None, report
    text, image, report = _read_clip(path, ComputeConfig(), **companions)
    part = shapes_of(CLIPPart, text and text.config, image and image.config)
    part.text_encoder, part.image_encoder = text, image
    return part, None, report


def _one_by_one(leaves: list) -> list:
    """Host arrays onto the default device, the list giving up each before the next is copied."""
    for i in range(len(leaves)):
        leaves[i] = jax.numpy.asarray(leaves[i]).block_until_ready()
    return leaves


def write_folder(
    folder: str | Path,
    model: VQDiffusionModel | CodecPart | CLIPPart,
    tokenizer: Tokenizer | None,
    *,
    provenance: str = "",
) -> None:
    """Write a native folder; it appears whole or not at all.  All processes call this, and each writes its share of the weights.

    Weights are stored as they are held.  Those held in fewer bits than float32
    have been rounded: a warning, README.md and "rounded_to" in config.json say so.
    Raises FileExistsError if the folder holds anything, CheckpointError if it cannot be written.
    """
    folder = Path(folder)
    head = head_of(model)
    if rounded := _rounded_to(model):
        head["rounded_to"] = rounded
        note = f"Its weights were rounded to {rounded} before they were written; a model loaded with param_dtype float32 has all digits."
        provenance = f"{provenance}\n\n{note}".strip()
        warnings.warn(
            f"{folder}: weights held in {rounded} are saved so; load with param_dtype float32 to save all digits",
            stacklevel=3,
        )
    kind = head["kind"]
    tokenizer = _tokenizer_of(model.config, tokenizer) if kind == "model" else None
    check_empty(folder)
    with failing_as_checkpoint_error(f"{folder} cannot be written"), _one_place(folder) as place:
        if jax.process_index() == 0:
            (place / "config.json").write_text(json.dumps(head, indent=2) + "\n")
            readme = _README.format(title=_TITLES[kind], reader=READERS[kind], name=folder.name, provenance=provenance)
            (place / "README.md").write_text(readme.replace("\n\n\n", "\n"))
            if tokenizer is not None:
                tokenizer.to_files(place / "tokenizer")
        save_weights(place / "weights", model)


def _tokenizer_of(config: ModelConfig, given: Tokenizer | None = None) -> Tokenizer | None:
    """The tokenizer given, or CLIP's as the model's configuration has it; None if it reads no text."""
    return given or (Tokenizer(config.tokenizer) if config.tokenizer is not None else None)


@contextmanager
def _one_place(folder: Path) -> Iterator[Path]:
    """``whole_or_not_at_all``, the same folder for all processes: the first makes it and gives it its name."""
    if jax.process_count() == 1:
        with whole_or_not_at_all(folder) as place:
            yield place
        return
    place = folder.parent / f".{folder.name}.partial"
    if jax.process_index() == 0:
        shutil.rmtree(place, ignore_errors=True)  # left by a run that was killed
        place.mkdir(parents=True)
    wait_for_all(f"{place} is there")
    yield place
    wait_for_all(f"{place} is whole")
    if jax.process_index() == 0:
        place.replace(folder)
    wait_for_all(f"{folder} is there")


def _rounded_to(model: Any) -> str | None:
    """The floating point formats of fewer bits than float32 that weights are held in, or None."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(model) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)}
    return ", ".join(sorted(dtype.name for dtype in dtypes if dtype.itemsize < 4)) or None


def _read_native(
    folder: Path, config: ModelConfig, compute: ComputeConfig, text_compute: ComputeConfig | None, mesh
) -> VQDiffusionModel:
    abstract = shapes_of(VQDiffusionModel, config, compute, text_compute=text_compute)
    return load_weights(folder / "weights", abstract, None if mesh is None else shardings(abstract, mesh))


def _to_devices(model: Any, mesh) -> Any:
    return jax.tree.map(jax.numpy.asarray, model) if mesh is None else shard(model, mesh)
