"""LPIPS, a perceptual distance of pictures (Zhang et al. 2018), with the user's own VGG16 weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...errors import CheckpointError, ConfigError
from ...models.layers import Buffer, over_batch
from ...user_arrays import read_npz

# VGG16's convolutions by their place in torchvision's ``features``, and their widths; LPIPS compares the end of each
# row.
STAGES = (
    ((0, 64), (2, 64)),
    ((5, 128), (7, 128)),
    ((10, 256), (12, 256), (14, 256)),
    ((17, 512), (19, 512), (21, 512)),
    ((24, 512), (26, 512), (28, 512)),
)
# ImageNet's means and deviations, for pixels in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10

# torchvision's names, and those inside lpips.
_CONVOLUTION = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_LIN = re.compile(r"(?:^|\.)lins?\.?(\d)\.model\.1\.weight$")


class LPIPS(nnx.Module):
    """Two batches of images (batch, height, width, 3) in [-1, 1] -> distances (batch,) float32.

    ``convs`` and ``lins`` (one weight a channel and stage) are buffers: nothing here is trained.
    """

    def __init__(self):
        self.convs, self.lins, width = nnx.List([]), nnx.List([]), 3
        for stage in STAGES:
            for _, channels in stage:
                self.convs.append(
                    nnx.Dict(kernel=Buffer(jnp.zeros((3, 3, width, channels))), bias=Buffer(jnp.zeros((channels,))))
                )
                width = channels
            self.lins.append(Buffer(jnp.zeros((width,))))

    def __call__(self, one: Array, other: Array) -> Array:
        total = jnp.zeros(one.shape[:1], jnp.float32)
        for a, b, lin in zip(self.features(one), self.features(other), self.lins, strict=True):
            total += jnp.mean(jnp.square(unit(a) - unit(b)) @ lin[...], axis=(1, 2))
        return total

    def features(self, images: Array) -> list[Array]:
        """Return the activations at the end of every stage, each (batch, h, w, channels)."""
        x = (images.astype(jnp.float32) - jnp.asarray(SHIFT)) / jnp.asarray(SCALE)
        found, convs = [], iter(self.convs)
        for number, stage in enumerate(STAGES):
            x = _halve(x) if number else x
            for _ in stage:
                x = jax.nn.relu(over_batch(_convolve(x, next(convs))))
            found.append(x)
        return found


def unit(x: Array) -> Array:
    """Return each position's channels divided by their L2 norm; 0, with a finite gradient, where all are 0."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    length = jnp.sqrt(jnp.where(squares > 0.0, squares, 1.0))
    return x / (length + EPSILON)


def _convolve(x: Array, layer: Any) -> Array:
    return (
        jax.lax.conv_general_dilated(
            x, layer["kernel"][...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        + layer["bias"][...]
    )


def _halve(x: Array) -> Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def load_lpips(vgg: str | Path, lins: str | Path) -> LPIPS:
    """Read LPIPS from two files, which may be one: .pth (without PyTorch) or .npz, with torchvision's and lpips' names.

    Raises CheckpointError or ConfigError, one line, if a file cannot be read or lacks a weight.
    """
    model = LPIPS()
    convolutions = {
        match.groups(): tensor for name, tensor in _tensors(vgg).items() if (match := _CONVOLUTION.search(name))
    }
    for (place, _), layer in zip([conv for stage in STAGES for conv in stage], model.convs, strict=True):
        kernel = _take(convolutions, (str(place), "weight"), f"features.{place}.weight", vgg)
        layer["kernel"][...] = _fit(kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel, layer["kernel"], vgg)
        layer["bias"][...] = _fit(
            _take(convolutions, (str(place), "bias"), f"features.{place}.bias", vgg), layer["bias"], vgg
        )
    weights = {match.group(1): tensor for name, tensor in _tensors(lins).items() if (match := _LIN.search(name))}
    for stage, lin in enumerate(model.lins):
        lin[...] = _fit(_take(weights, str(stage), f"lin{stage}.model.1.weight", lins).reshape(-1), lin, lins)
    return model


def _tensors(path: str | Path) -> Mapping[str, Any]:
    path = Path(path)
    if path.suffix == ".npz":
        try:
            return read_npz(path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    from ...interop.files.torch_zip import open_checkpoint, state_dict

    return state_dict(open_checkpoint(path))


def _take(tensors: Mapping, key: Any, name: str, path: str | Path) -> np.ndarray:
    if key not in tensors:
        raise ConfigError(f"{path} has no {name}; vgg must be torchvision's VGG16 and lins the vgg weights of lpips")
    return np.asarray(tensors[key], np.float32)


def _fit(array: np.ndarray, like: Any, path: str | Path) -> Array:
    if array.shape != like.shape:
        raise ConfigError(
            f"{path} has a weight of shape {array.shape} where LPIPS has {like.shape}; it is of another network"
        )
    return jnp.asarray(array)
