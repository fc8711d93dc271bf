"""A codec file as a VQGAN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...config import ComputeConfig
from ...errors import CheckpointError, ConfigError
from ...models.shapes import shapes_of
from ...models.vqgan import VQGAN
from ..engine import Report, apply
from ..engine.fields import merge
from .part import read_codec
from .reduction import read_reduction, reduction_rules, reduction_tensors
from .rules import codec_config
from .yaml_file import codec_fields_of_yaml


def load_codec(
    path: str | Path,
    *,
    tree: Any = None,
    config: str | Path | None = None,
    mapping: str | Path | None = None,
    image_size: int | None = None,
    compute: ComputeConfig = ComputeConfig(),
) -> tuple[VQGAN, Report]:
    """Load a VQGAN from its own file, or from a training checkpoint without the rest.

    Args:
        path: the weights.
        tree: the content of the file, if it is open already.
        config: its yaml file; by default everything is read from shapes.
        mapping: the codebook reduction, if the diffusion model sees only some codes.
        image_size: side of its pictures in pixels, if no yaml tells; 256 by default.
        compute: dtypes of the module.

    Returns:
        The module with numpy arrays, and the report of every key.

    Raises:
        CheckpointError, ConfigError, ConversionError: one error that says what does not fit.
    """
    part = read_codec(path, tree=tree)
    fields = part.fields
    if config is not None:
        fields = merge({"codec": fields}, {"codec": codec_fields_of_yaml(config)}, where=str(config))["codec"]
    if image_size is not None:
        if fields.get("image_size", image_size) != image_size:
            raise ConfigError(
                f"image_size is {image_size}, but {config} says {fields['image_size']}; leave one of the two out"
            )
        fields = {**fields, "image_size": image_size}
    tensors, rules = dict(part.tensors), list(part.rules)
    if mapping is not None:
        reduction, codes = read_reduction(mapping), fields["codebook_size"]
        if (entries := len(reduction.full_to_reduced)) != codes:
            raise CheckpointError(
                f"{path} has {codes} codes, but {mapping} is for a codec of {entries}: the codebook reduction has"
                f" {entries} entries; give the codec and the table of one model"
            )
        fields = {**fields, "reduced_codebook_size": len(reduction.reduced_to_full)}
        tensors |= reduction_tensors(reduction)
        rules += reduction_rules()
    abstract = shapes_of(VQGAN, codec_config(fields), compute)
    return apply(rules, part.ignores, tensors, abstract, what=str(path))
