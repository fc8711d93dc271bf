"""A codec as a file of any of the five layouts holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ..engine import Ignore, Part, key
from ..files.torch_zip import open_checkpoint, weights_of
from .rules import codec_fields, codec_rules

IN_CHECKPOINT = "content_codec."  # begins the codec's keys in a training checkpoint
_FIRST_STAGE = "first_stage_model."  # begins them in a prior over tokens


def read_codec(path: str | Path, *, tree: Any = None, label: str = "", ours: str = "") -> Part:
    """Read the codec of a file.

    Args:
        path: a codec file of taming transformers or ITHQ's, or a training checkpoint.
        tree: the content of the file, if it is open already.
        label: put before every key, so that keys name the file.
        ours: path of the codec in our module, with a dot at its end.

    Raises:
        CheckpointError: if the file cannot be read or holds no tensors.
        ConversionError: if it holds no codec.
    """
    tree = open_checkpoint(path) if tree is None else tree
    tensors = {label + name: tensor for name, tensor in weights_of(tree).items()}
    if not isinstance(tree, Mapping) or not tensors:
        raise CheckpointError(f"{path} holds no weights; give a codec file such as vqgan_imagenet_f16_16384.pth")
    if any(name.startswith(label + IN_CHECKPOINT) for name in tensors):
        denoiser = Ignore(key(f"{label}transformer.") + ".*", "the denoiser, not the codec")
        return in_checkpoint(tensors, label=label, ours=ours, ignores=(denoiser,))
    if any(name.startswith(label + _FIRST_STAGE) for name in tensors):
        prefix = label + _FIRST_STAGE
        prior = key(label) + r"(transformer|cond_stage_model)\..*"
        others = Ignore(f"{prior}|{key(prefix + 'loss.')}.*", "a prior over tokens, or a loss")
        return _part(tensors, prefix, prefix, ours, (others,))
    losses = Ignore(key(f"{label}loss.") + ".*", "networks of the training loss")
    return _part(tensors, label, label, ours, (losses,))


def in_checkpoint(
    tensors: Mapping[str, Any], *, label: str = "", ours: str = "", ignores: Sequence[Ignore] = ()
) -> Part:
    """Return the codec inside the tensors of a training checkpoint."""
    encoder, decoder = (f"{label}{IN_CHECKPOINT}{half}." for half in ("enc", "dec"))
    shared = Ignore(key(f"{decoder}quantize.") + ".*", f"the same tensors as {IN_CHECKPOINT}enc.quantize")
    return _part(tensors, encoder, decoder, ours, (shared, *ignores))


def _part(tensors: Mapping[str, Any], encoder: str, decoder: str, ours: str, ignores: Sequence[Ignore]) -> Part:
    fields = codec_fields(tensors, encoder, decoder)
    return Part(fields, tensors, codec_rules(encoder, decoder, ours, quantizer=fields["quantizer"]), ignores)
