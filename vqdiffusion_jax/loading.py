"""Files and folders of any known format as models, in two steps: which model it is, then its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
from absl import logging

from .config import MODEL_DTYPES, ComputeConfig, ModelConfig, compute_in
from .embedded import is_embedded
from .errors import ConfigError
from .files import check_empty
from .finite import check_finite
from .hub import OPTIONS, Located, Wanted, locate
from .interop.detect import CHECKPOINT, CODEC, DIFFUSERS, MODEL_FOLDER, VQ_MODEL, kind_of_folder, open_any
from .model_card import Origin, stated_license
from .model_folder import (
    read_clip_folder,
    read_codec_folder,
    read_config,
    read_model,
    read_origin,
    tokenizer_of,
    write_folder,
)
from .models.clip import CLIPTextEncoder, CLIPVisionEncoder
from .models.components import CLIPComponents, CodecComponent
from .models.shapes import shapes_of
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import VQGAN
from .sharding import place, shardings
from .storage.addresses import address_of, check_address, last_name
from .storage.scratch import as_typed, naming_addresses
from .text.known_words import KnownWords, read_words
from .text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from .interop.engine import Report

__all__ = [
    "OpenedModel",
    "convert",
    "default_compute",
    "load_clip",
    "load_codec",
    "load_model",
    "open_model",
    "open_to_load",
    "write_folder",
]

TEXT_DTYPES = ("float32", "float16")
COMPANIONS = ("config", "codec_config", "mapping", "codec", "clip", "weights", "clip_weights")  # of a .pth file
Mesh = jax.sharding.Mesh
Module = TypeVar("Module")


def default_compute(platform: str | None = None) -> ComputeConfig:
    """Return bfloat16 on accelerators, float32 on the CPU; norms, codebook, latents and pixels are float32 anyway.

    platform: "cpu" or an accelerator's; by default this machine's.
    """
    return compute_in("float32" if (platform or jax.default_backend()) == "cpu" else "bfloat16")


def _chosen_compute(compute: ComputeConfig | None, dtype: str | None) -> ComputeConfig:
    """Return ``compute``, or that of ``dtype``, or the device's.  Raises ConfigError for both, or an unknown dtype."""
    if dtype is None:
        return compute or default_compute()
    if compute is not None:
        raise ConfigError("dtype and compute are both given; give one, dtype being short for compute=compute_in(dtype)")
    if dtype not in MODEL_DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; allowed: {', '.join(MODEL_DTYPES)}")
    return compute_in(dtype)


@dataclass(frozen=True)
class OpenedModel:
    """A model of which everything but the weights is known; ``load`` reads them.

    Attributes:
        path: the file or folder.
        config: the model's configuration.
        tokenizer: of a text model.
        read: from (compute, the text tower's or None, mesh or None) to the model.
        origin: of the weights, as far as it is known.
        known_words: of the captions that a text model was trained on, where its folder has them.
    """

    path: Path
    config: ModelConfig
    tokenizer: Tokenizer | None
    read: Callable[[ComputeConfig, ComputeConfig | None, Mesh | None], VQDiffusionModel]
    origin: Origin = Origin()
    known_words: KnownWords | None = None

    @naming_addresses()
    def load(
        self,
        *,
        compute: ComputeConfig | None = None,
        mesh: Mesh | None = None,
        clip_dtype: str | None = None,
    ) -> VQDiffusionModel:
        """Read the weights.  Arguments and errors are those of ``load_model``."""
        compute = compute or default_compute()
        model = self.read(compute, self._text_compute(clip_dtype, compute), mesh)
        check_finite(model, self.path)
        return model

    def shapes(self, compute: ComputeConfig, *, clip_dtype: str | None = None) -> VQDiffusionModel:
        """Return what ``load`` returns, with a ``jax.ShapeDtypeStruct`` in place of every array; no weight is read."""
        text_compute = self._text_compute(clip_dtype, compute)
        return shapes_of(VQDiffusionModel, self.config, compute, text_compute=text_compute)

    def _text_compute(self, clip_dtype: str | None, compute: ComputeConfig) -> ComputeConfig | None:
        """Return the text tower's precision, or None for the model's.  Raises ConfigError for one that cannot be."""
        if clip_dtype is None:
            return None
        if self.config.text_encoder is None:
            raise ConfigError(f"clip_dtype={clip_dtype} is given, but {self.path} has no text tower; leave it out")
        if clip_dtype not in TEXT_DTYPES:
            raise ConfigError(f"clip_dtype is {clip_dtype!r}; allowed: {', '.join(TEXT_DTYPES)}")
        return replace(compute, dtype=clip_dtype, param_dtype="float32")


@naming_addresses()
def open_model(path: str | Path, **companions: Any) -> OpenedModel:
    """Open a model without its weights.

    Companions, options of the hub and errors are those of ``load_model``, whose other arguments go to
    ``OpenedModel.load``, which also finds faults in the weights.
    """
    _check_known(companions, ())
    found, variant, companions = _located(path, companions)
    origin, path = _origin_of(path, found), found.path
    if not path.is_dir():
        from .interop.load import plan_reference

        _check_no_variant(variant, path)
        made = plan_reference(path, **companions)
        for note in made.guesses:
            logging.warning("%s: %s", as_typed(str(path)), note)

        def read_reference(compute: ComputeConfig, text_compute: ComputeConfig | None, mesh: Mesh | None):
            return _to_devices(made.fill(compute=compute, text_compute=text_compute)[0], mesh)

        return OpenedModel(path, made.config, tokenizer_of(made.config.tokenizer), read_reference, origin)
    kind = kind_of_folder(path)
    if kind not in (MODEL_FOLDER, DIFFUSERS):
        raise ConfigError(f"{path} is a {kind}; a model folder, a diffusers folder or a .pth file is needed here")
    _check_complete(path, kind, companions)
    if kind == MODEL_FOLDER:
        _check_no_variant(variant, path)
        config = read_config(path)
        stored = Tokenizer.from_files(path / "tokenizer") if (path / "tokenizer").is_dir() else None
        read = partial(read_model, path, config)
        tokenizer = tokenizer_of(config.tokenizer, stored)
        return OpenedModel(path, config, tokenizer, read, origin, None if tokenizer is None else read_words(path))
    from .interop.diffusers.folder import fill_diffusers, read_configs

    config, tokenizer = read_configs(path)

    def read_diffusers(compute: ComputeConfig, text_compute: ComputeConfig | None, mesh: Mesh | None):
        return _to_devices(fill_diffusers(path, config, compute, text_compute, variant=variant)[0], mesh)

    return OpenedModel(path, config, tokenizer, read_diffusers, origin)


def load_model(
    path: str | Path,
    *,
    compute: ComputeConfig | None = None,
    dtype: str | None = None,
    mesh: Mesh | None = None,
    clip_dtype: str | None = None,
    **companions: Any,
) -> tuple[VQDiffusionModel, Tokenizer | None]:
    """Load a model from a file or folder of any known format, and the tokenizer of a text model.

    Args:
        path: a model folder (as ``save_pretrained`` writes it), a diffusers VQDiffusionPipeline folder, one of the
            reference's .pth files, "emoji", the model that comes with the package, or any of these on the Hugging Face
            hub: "owner/name" or "hf://owner/name[@revision][/subfolder]".
        compute: precision and execution; by default bfloat16 on accelerators and float32 on the CPU.
        dtype: "float32", "bfloat16" or "float8", short for ``compute=compute_in(dtype)``.
        mesh: devices to spread weights over (see ``sharding.make_mesh``).
        clip_dtype: "float32" or "float16", the arithmetic of the text tower; by default as the rest.  The reference ran
            it in float16, and its numbers need that.  Its parameters are held in float32 either way.
        companions: for a .pth file: config, codec_config, mapping, codec, clip, weights, clip_weights (see
            ``interop.load_reference``).  For the hub: revision, variant, cache_dir, token, local_files_only,
            force_download, subfolder and progress (see ``hub.locate``).

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message.
        FileNotFoundError: if nothing is there.
    """
    opened, compute = open_to_load(path, compute=compute, dtype=dtype, **companions)
    return opened.load(compute=compute, mesh=mesh, clip_dtype=clip_dtype), opened.tokenizer


def open_to_load(
    path: str | Path, *, compute: ComputeConfig | None = None, dtype: str | None = None, **companions: Any
) -> tuple[OpenedModel, ComputeConfig]:
    """Open a model as ``load_model`` does, and return the precision that it asks for beside it; no weight is read."""
    _check_known(companions)
    compute = _chosen_compute(compute, dtype)
    return open_model(path, **companions), compute


@naming_addresses()
def load_codec(
    path: str | Path,
    *,
    config: str | Path | None = None,
    mapping: str | Path | None = None,
    image_size: int | None = None,
    compute: ComputeConfig | None = None,
    **hub: Any,
) -> VQGAN:
    """Load an image codec alone, from a folder of a codec or of a model, or a foreign codec file.

    Args:
        path: the folder of a codec or of a whole model, taming's f8 or f16, ITHQ's, a whole checkpoint of the
            reference, a diffusers folder or its ``vqvae`` folder, or any of these on the hub.
        config, mapping, image_size: for a file, see ``interop.load_codec``.
        compute: as for ``load_model``.
        hub: options of the hub, see ``hub.locate``.

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message.
    """
    path, compute = locate(path, "codec", **hub).path, compute or default_compute()
    config, mapping = (None if file is None else locate(file, "file").path for file in (config, mapping))
    if path.is_dir():
        if (kind := kind_of_folder(path)) in (DIFFUSERS, VQ_MODEL):
            from .interop.diffusers.codec import read_codec_part

            given = [name for name, value in (("config", config), ("mapping", mapping)) if value is not None]
            if given:
                raise ConfigError(f"{', '.join(given)} given, but {path} is a {kind}; these go with codec files")
            part = path / "vqvae" if kind == DIFFUSERS else path
            variant = hub.get("variant")
            return _to_devices(read_codec_part(part, compute, image_size=image_size, variant=variant)[0], None)
        options = {"config": config, "mapping": mapping, "image_size": image_size}
        if given := [name for name, value in options.items() if value is not None]:
            raise ConfigError(f"{', '.join(given)} given, but {path} is already converted; these go with codec files")
        return _checked(read_codec_folder(path, compute), path)
    from .interop.codecs import load_codec as load_file

    given = {"config": config, "mapping": mapping, "image_size": image_size}
    return _checked(_to_devices(load_file(path, compute=compute, **given)[0], None), path)


@naming_addresses()
def load_clip(
    path: str | Path, *, compute: ComputeConfig | None = None, **hub: Any
) -> tuple[CLIPTextEncoder | None, CLIPVisionEncoder | None]:
    """Load CLIP's text and image towers, None for one that is not there; parameters are held in float32.

    Args:
        path: a model folder of CLIP, a Hugging Face CLIP folder, the text tower of a diffusers folder, ViT-B-32.pt or
            its state dict, or any of these on the hub.
        compute: as for ``load_model``.
        hub: options of the hub, see ``hub.locate``.

    Raises:
        CheckpointError, ConfigError, ConversionError: one clear message.
    """
    path = locate(path, "clip", **hub).path
    compute = replace(compute or default_compute(), param_dtype="float32")
    if path.is_dir() and (kind := kind_of_folder(path)) == DIFFUSERS:
        path = path / "text_encoder"
    elif path.is_dir() and kind == MODEL_FOLDER:
        part = _checked(read_clip_folder(path, compute), path)
        return part.text_encoder, part.image_encoder
    # Taken out of a list one by one, which then keeps no array of the host that is on a device.
    towers: list[Any] = list(_read_clip(path, compute, variant=hub.get("variant"))[:2])
    text, image = (_checked(_to_devices(towers.pop(0), None), path) for _ in range(2))
    return text, image


@naming_addresses()
def convert(checkpoint: str | Path, out: str | Path, *, safetensors: bool = False, **companions: Any) -> Report:
    """Write the model folder ``out`` from any foreign file or folder, in float32, whole or not at all.

    Args:
        checkpoint: a .pth file of the reference, a diffusers folder, a codec alone, ViT-B-32.pt or a Hugging Face CLIP
            folder; its content tells which.
        out: the folder to write, absent or empty; a path, or an address of a bucket.
        safetensors: write weights.safetensors, which other programs read too.
        companions: for a .pth file those of ``interop.load_reference``; for a codec mapping and codec_config; for
            ViT-B-32.pt clip_dtype.

    Returns:
        The report of every key.

    Raises:
        FileExistsError: before anything is read, if ``out`` holds anything.
        CheckpointError, ConfigError, ConversionError: as ``load_model``.
    """
    _check_known(companions, ("clip_dtype",))
    if address_of(out) is None:
        check_empty(out)
    else:
        check_address(out, writing=True)
    found, variant, companions = _located(checkpoint, companions)
    model, tokenizer, report = _read_any(found.path, variant, **companions)
    check_finite(model, checkpoint)
    leaves, structure = jax.tree.flatten(model)
    del model  # each host array is released as soon as it is on the device
    write_folder(
        out,
        structure.unflatten(_one_by_one(leaves)),
        tokenizer,
        provenance="The weights were converted to this format.",
        origin=_origin_of(checkpoint, found),
        safetensors=safetensors,
        known_words=read_words(found.path) if found.path.is_dir() else None,
    )
    return report


def _located(path: str | Path, options: dict[str, Any]) -> tuple[Located, str | None, dict[str, Any]]:
    """Return a model's place on this machine, the variant of its weights, and its companions, on this machine too.

    options: companions and options of the hub.
    """
    hub = {name: value for name, value in options.items() if name in OPTIONS}
    companions = {name: value for name, value in options.items() if name not in OPTIONS and value is not None}
    of_hub = {
        name: value for name, value in hub.items() if name in ("cache_dir", "token", "local_files_only", "progress")
    }
    kinds: dict[str, Wanted] = {
        "config": "file",
        "codec_config": "file",
        "mapping": "file",
        "codec": "codec",
        "clip": "clip",
    }
    place = locate(path, **hub)
    for name, kind in kinds.items():
        if name in companions:
            companions[name] = locate(companions[name], kind, **of_hub).path
    return place, hub.get("variant"), companions


def _origin_of(place: str | Path, found: Located) -> Origin:
    """Return the origin of a model's weights: as a model folder records it, else the place that it is loaded from."""
    folder = found.path.is_dir()
    recorded = read_origin(found.path) if folder else Origin()
    if recorded != Origin():
        return recorded
    stated = stated_license(found.path) if folder else None
    if found.address is None:
        return Origin(source=str(place) if is_embedded(place) else last_name(place), license=stated)
    return Origin(str(found.address), found.address.repo, found.commit, stated)


def _check_known(given: Iterable[str], others: Sequence[str] = ("compute", "dtype", "mesh", "clip_dtype")) -> None:
    """Raise ConfigError for an option that is neither a companion nor one of ``others``."""
    if "torch_dtype" in given:
        raise ConfigError(f"torch_dtype is PyTorch's; give dtype, one of {', '.join(MODEL_DTYPES)}")
    if unknown := sorted(set(given) - {*others, *COMPANIONS, *OPTIONS}):
        raise ConfigError(
            f"{', '.join(unknown)}: no such option; known: {''.join(f'{name}, ' for name in others)}and of .pth files "
            f"the companions {', '.join(COMPANIONS)}; of the hub {', '.join(OPTIONS)}"
        )


def _check_complete(path: Path, kind: str, companions: Iterable[str]) -> None:
    """Raise ConfigError for companions of a folder, which needs none."""
    if companions:
        holds = "is already converted" if kind == MODEL_FOLDER else "is a diffusers folder, which holds everything"
        raise ConfigError(f"{', '.join(companions)} given, but {path} {holds}; companions go with .pth files")


def _check_no_variant(variant: str | None, path: Path) -> None:
    """Raise ConfigError if a variant is asked of anything but a diffusers or Hugging Face folder."""
    if variant is not None:
        raise ConfigError(f"variant is {variant!r}, but {path} has its weights once; leave it out, or give dtype")


def _read_any(
    path: Path, variant: str | None, **companions: Any
) -> tuple[VQDiffusionModel | CodecComponent | CLIPComponents, Tokenizer | None, Report]:
    """Read a foreign file or folder of any kind, with host arrays."""
    kind, tree = open_any(path)
    if kind == MODEL_FOLDER:
        raise ConfigError(
            f"{path} is already converted; load it as it is, or write a diffusers folder with --mode=flax_to_diffusers"
        )
    if kind == CHECKPOINT:
        from .interop.load import load_reference

        model, report = load_reference(path, tree=tree, **companions)
        return model, None, report
    if kind == DIFFUSERS:
        from .interop.diffusers import read_diffusers

        _check_complete(path, kind, companions)
        return read_diffusers(path, variant=variant)
    if kind == VQ_MODEL:
        from .interop.diffusers.codec import read_codec_part

        _check_complete(path, kind, companions)
        codec, report = read_codec_part(path, ComputeConfig(), variant=variant)
        return _codec_component(codec), None, report
    if unused := sorted(set(companions) - ({"mapping", "codec_config"} if kind == CODEC else {"clip_dtype"})):
        raise ConfigError(f"{', '.join(unused)} given, but {path} is a {kind} alone; that goes with whole checkpoints")
    if kind == CODEC:
        from .interop.codecs import load_codec as load_file

        mapping, config = companions.get("mapping"), companions.get("codec_config")
        codec, report = load_file(path, tree=tree, config=config, mapping=mapping)
        return _codec_component(codec), None, report
    text, image, report = _read_clip(path, ComputeConfig(), tree=tree, variant=variant, **companions)
    part = shapes_of(CLIPComponents, text and text.config, image and image.config)
    part.text_encoder, part.image_encoder = text, image
    return part, None, report


def _codec_component(codec: VQGAN) -> CodecComponent:
    part = shapes_of(CodecComponent, codec.config)
    part.codec = codec
    return part


def _read_clip(
    path: Path, compute: ComputeConfig, *, tree: Any = None, variant: str | None = None, **options: Any
) -> tuple[CLIPTextEncoder | None, CLIPVisionEncoder | None, Report]:
    if path.is_dir():
        from .interop.clip.huggingface import read_clip

        if options:
            raise ConfigError(f"{', '.join(options)} given, but {path} is a folder; that goes with OpenAI's files")
        return read_clip(path, compute, variant=variant)
    _check_no_variant(variant, path)
    from .interop.clip.openai import load_openai_clip

    return load_openai_clip(path, tree=tree, compute=compute, **options)


def _one_by_one(leaves: list[Any], places: list[Any] | None = None) -> list[Any]:
    """Copy host arrays to ``places``, by default the default device; each is given up before the next is copied.

    On a CPU the weights would take twice their memory otherwise.
    """
    for i in range(len(leaves)):
        leaf = jax.numpy.asarray(leaves[i]) if places is None else place(leaves[i], places[i])
        leaves[i] = jax.block_until_ready(leaf)
    return leaves


def _checked(network: Module, path: Path) -> Module:
    """Return a network.  Raises CheckpointError if a parameter is no finite number."""
    check_finite(network, path)
    return network


def _to_devices(model: Module, mesh: Mesh | None) -> Module:
    """Return a module with its host arrays on devices.

    The memory of the host is free again if the caller has no name for ``model``.
    """
    leaves, structure = jax.tree.flatten(model)
    places = None if mesh is None else jax.tree.leaves(shardings(model, mesh))
    del model
    return structure.unflatten(_one_by_one(leaves, places))
