"""The codec of a diffusers pipeline alone: a VQModel's folder as a VQGAN."""

from __future__ import annotations

from pathlib import Path

from ...config import ComputeConfig
from ...errors import ConfigError
from ...models.components import CodecComponent
from ...models.shapes import shapes_of
from ...models.vqgan import VQGAN
from ..engine import Report, apply
from ..files.json_options import JsonOptions, read_json
from ..files.safetensors import open_weights
from .config import read_codec_config
from .rules import codec_rules

_SIDE = 32  # of the token grid of the released pipeline, whose pictures have 256 pixels


def read_codec_part(
    folder: str | Path,
    compute: ComputeConfig = ComputeConfig(),
    *,
    image_size: int | None = None,
    variant: str | None = None,
) -> tuple[VQGAN, Report]:
    """Load the codec in the ``vqvae`` folder of a diffusers pipeline, with every code of its codebook.

    Args:
        folder: holds config.json of a VQModel, and weights.
        compute: dtypes of the module.
        image_size: side of its pictures in pixels; by default as the transformer beside the folder has it, else that of
            a grid of 32 x 32 tokens, as released.
        variant: the one of the weights to prefer, as "fp16".

    Returns:
        The module with numpy arrays for parameters, and the report of every key.

    Raises:
        CheckpointError, ConfigError, ConversionError: one error that says what does not fit.
    """
    folder = Path(folder)
    config = read_codec_config(folder, _grid_side(folder))
    if image_size is not None:
        if image_size % config.downsampling:
            raise ConfigError(f"image_size is {image_size}; {folder} needs a multiple of {config.downsampling}")
        config = read_codec_config(folder, image_size // config.downsampling)
    tensors = {
        f"vqvae.{name}": tensor
        for name, tensor in open_weights(folder, "diffusion_pytorch_model", variant=variant).items()
    }
    rules = codec_rules("vqvae", "codec", len(config.channel_multipliers))
    filled, report = apply(rules, [], tensors, shapes_of(CodecComponent, config, compute), what=str(folder))
    return filled.codec, report


def _grid_side(folder: Path) -> int:
    """Return the side of the token grid that the transformer beside a codec's folder draws."""
    transformer = folder.parent / "transformer" / "config.json"
    if not transformer.is_file():
        return _SIDE
    return JsonOptions(read_json(transformer), str(transformer)).whole("sample_size")
