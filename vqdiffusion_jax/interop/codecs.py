"""Standalone codec files: taming's f8 and f16, the f16 inside a Net2NetTransformer, ITHQ's, and the copy in a training checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ComputeConfig
from ..errors import CheckpointError, ConfigError
from ..models.codebook_reduction import CodebookReduction, reduction_from_full
from ..models.shapes import shapes_of
from ..models.vqgan import VQGAN
from .codec_rules import codec_rules, codec_sizes, make_config
from .facts import merge
from .reference_yaml import codec_facts
from .table import Ignore, Report, Rule, apply, key
from .torch_zip import LazyTensor, open_checkpoint, state_dict

REDUCTION = "codebook reduction: "  # what the keys of a mapping file's two tables begin with
REDUCTION_FILES = {2887: "taming_vqvae_2887.pt", 974: "taming_vqvae_974.pt"}
FULL_CHECKPOINT = "content_codec."
_FIRST_STAGE = "first_stage_model."


@dataclass(frozen=True)
class CodecSource:
    """A codec's tensors in some file, under that file's names."""

    tensors: Mapping[str, Any]
    encoder: str  # what the keys of encoder, quant_conv and quantize begin with
    decoder: str  # what the keys of decoder and post_quant_conv begin with
    ignores: tuple[Ignore, ...] = ()

    def sizes(self) -> dict[str, Any]:
        return codec_sizes(self.tensors, self.encoder, self.decoder)

    def rules(self, ours: str = "") -> list[Rule]:
        return codec_rules(self.encoder, self.decoder, ours, quantizer=self.sizes()["quantizer"])


def in_checkpoint(tensors: Mapping[str, Any]) -> CodecSource:
    """The codec inside a training checkpoint."""
    shared = Ignore(key(f"{FULL_CHECKPOINT}dec.quantize.") + ".*", f"the same tensors as {FULL_CHECKPOINT}enc.quantize")
    return CodecSource(tensors, f"{FULL_CHECKPOINT}enc.", f"{FULL_CHECKPOINT}dec.", (shared,))


def read_codec(path: str | Path, label: str = "") -> CodecSource:
    """The codec of a file of any of the five layouts; ``label`` is put before every key.

    Raises:
        CheckpointError: if the file cannot be read or holds no tensors.
    """
    tree = open_checkpoint(path)
    if isinstance(tree, Mapping):
        tree = next((tree[name] for name in ("state_dict", "model") if isinstance(tree.get(name), Mapping)), tree)
    tensors = state_dict(tree)
    if not isinstance(tree, Mapping) or not tensors:
        raise CheckpointError(f"{path} holds no weights; give a codec file such as vqgan_imagenet_f16_16384.pth")
    tensors = {label + name: tensor for name, tensor in tensors.items()}
    if any(name.startswith(f"{label}{FULL_CHECKPOINT}") for name in tensors):
        whole = in_checkpoint({name.removeprefix(label): tensor for name, tensor in tensors.items()})
        prefixes = (label + whole.encoder, label + whole.decoder)
        ignores = (
            Ignore(key(prefixes[1] + "quantize.") + ".*", whole.ignores[0].reason),
            Ignore(key(label + "transformer.") + ".*", "the denoiser, not the codec"),
        )
        return CodecSource(tensors, *prefixes, ignores)
    if any(name.startswith(label + _FIRST_STAGE) for name in tensors):
        prior, loss = key(label) + r"(transformer|cond_stage_model)\..*", key(f"{label}{_FIRST_STAGE}loss.") + ".*"
        others = Ignore(f"{prior}|{loss}", "a prior over tokens, or a loss")
        return CodecSource(tensors, label + _FIRST_STAGE, label + _FIRST_STAGE, (others,))
    return CodecSource(tensors, label, label, (Ignore(key(f"{label}loss.") + ".*", "networks of the training loss"),))


def read_reduction(
    path: str | Path, *, codebook_size: int | None = None, num_codes: int | None = None
) -> CodebookReduction:
    """The codes that a model keeps, from a file like taming_vqvae_2887.pt (one int64 tensor, full code -> reduced code) or .npy.

    Raises:
        CheckpointError: if the file cannot be read or is no such table.
        ValueError: if the table does not fit the sizes given.
    """
    tensor = _read_npy(path) if Path(path).suffix == ".npy" else open_checkpoint(path)
    if not isinstance(tensor, LazyTensor | np.ndarray):
        raise CheckpointError(
            f"{path} is not a codebook reduction; give a file of one integer tensor such as {REDUCTION_FILES[2887]}"
        )
    try:
        return reduction_from_full(np.asarray(tensor), codebook_size=codebook_size, num_codes=num_codes)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read_npy(path: str | Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def reduction_tensors(reduction: CodebookReduction) -> dict[str, np.ndarray]:
    """Both tables under keys that ``reduction_rules`` knows."""
    return {REDUCTION + name: table for name, table in reduction._asdict().items()}


def reduction_rules(ours: str = "") -> list[Rule]:
    return [Rule(key(REDUCTION + name), ours + name) for name in CodebookReduction._fields]


def load_codec(
    path: str | Path,
    *,
    config: str | Path | None = None,
    mapping: str | Path | None = None,
    image_size: int | None = None,
    compute: ComputeConfig = ComputeConfig(),
) -> tuple[VQGAN, Report]:
    """A VQGAN from its own file (or from a training checkpoint, without the rest).

    Args:
        path: the weights.
        config: its yaml file; without it everything is read from shapes.
        mapping: the codebook reduction, where the diffusion model sees only some codes.
        image_size: side of its pictures in pixels, where no yaml tells; 256 by default.
        compute: dtypes of the module.

    Returns:
        The module with numpy arrays, and what became of every key.

    Raises:
        CheckpointError, ConfigError, ConversionError: one error that says what does not fit.
    """
    source = read_codec(path)
    facts = source.sizes()
    if config is not None:
        facts = merge({"codec": facts}, {"codec": codec_facts(config)}, where=str(config))["codec"]
    if image_size is not None:
        if facts.get("image_size", image_size) != image_size:
            raise ConfigError(
                f"image_size={image_size} was asked for but {config} says {facts['image_size']}; leave one out"
            )
        facts["image_size"] = image_size
    tensors, rules = dict(source.tensors), source.rules()
    if mapping is not None:
        reduction = read_reduction(mapping, codebook_size=facts["codebook_size"])
        facts["reduced_codebook_size"] = len(reduction.reduced_to_full)
        tensors |= reduction_tensors(reduction)
        rules += reduction_rules()
    abstract = shapes_of(VQGAN, make_config(facts), compute)
    return apply(rules, source.ignores, tensors, abstract, what=str(path))
