"""A decoder's largest map with squares of 2 x 2 places side by side in its channels, as a TPU has it.

A TPU lays channels along 128 lanes and multiplies 128 or 256 of them at once.  A map of 256 x 256 places and 64
channels fills half of the one and a sixteenth of the other; as 128 x 128 squares of 256 channels it fills both.  The
kernels hold zeros for what a place does not see, so results are the same.  Three of four multiplications are by these
zeros, and the level still takes about half of the cycles or less (docs/results/accelerators.md).

Channels of a square are those of its upper left place, then upper right, lower left and lower right.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import AnyFloat, FeatureMap
from .convolution import ROWS_SEEN, bias_of, convolve

PLACES = 4  # of a square
MOST_CHANNELS = 256  # of a square of the level's own width; wider levels fill a TPU as they are
_NOTHING = 9  # the place of zeros after the nine taps of a 3 x 3 kernel


def _taps() -> np.ndarray:
    """Return which tap of a 3 x 3 kernel leads from each place to each place of the squares around it.

    Axes: row and column of the square before (3, 3), row and column in it (2, 2), and those in the result's square.
    """
    taps = np.full((3, 3, 2, 2, 2, 2), _NOTHING)
    for tap in range(9):
        for row, column in np.ndindex(2, 2):
            (square_row, in_row), (square_column, in_column) = (
                divmod(place + step - 1, 2) for place, step in zip((row, column), divmod(tap, 3), strict=True)
            )
            taps[square_row + 1, square_column + 1, in_row, in_column, row, column] = tap
    return taps


_TAPS = _taps()
# Of the square that upsampling makes of a place, the upper places see rows -1 and 0 of the small map, the lower ones
# rows 0 and 1: (row in the square, row of the small map, kernel row).
_UPSAMPLED_ROWS = np.stack([np.pad(ROWS_SEEN[row], ((row, 1 - row), (0, 0))) for row in range(2)])
_UPSAMPLED = np.einsum("ark,csl->rsackl", _UPSAMPLED_ROWS, _UPSAMPLED_ROWS).reshape(36, 9)


def in_squares(layers: Any) -> Any:
    """Return ``layers``, a pytree of them, for maps in squares: the same layers with wider arrays.

    Kernels (3, 3, in, out) and (in, out) become (3, 3, 4 in, 4 out) and (4 in, 4 out); biases and scales stand there
    four times.
    """

    def widened(array: jax.Array) -> jax.Array:
        if array.ndim == 1:
            return jnp.tile(array, PLACES)
        if array.ndim == 2:
            return jnp.kron(jnp.eye(PLACES, dtype=array.dtype), array)
        rows, columns, inputs, outputs = array.shape
        assert rows == columns == 3
        taps = jnp.pad(array.reshape(9, inputs, outputs), ((0, 1), (0, 0), (0, 0)))
        wide = taps[_TAPS.reshape(9, PLACES, PLACES)].transpose(0, 1, 3, 2, 4)
        return wide.reshape(3, 3, PLACES * inputs, PLACES * outputs)

    return jax.tree.map(widened, layers)


def conv_of_upsampled_in_squares(layer: nnx.Conv, x: FeatureMap) -> AnyFloat:
    """Return ``convolution.conv_of_upsampled`` in squares: (batch, h, w, in) -> (batch, h, w, 4 out)."""
    inputs, outputs = layer.kernel[...].shape[2:]
    taps = layer.kernel[...].astype(layer.dtype).reshape(9, inputs, outputs)
    wide = jnp.tensordot(
        jnp.asarray(_UPSAMPLED, layer.dtype), taps, 1, preferred_element_type=jnp.float32
    )  # sums of up to four taps
    kernel = wide.reshape(3, 3, PLACES, inputs, outputs).transpose(0, 1, 3, 2, 4).reshape(3, 3, inputs, -1)
    x = convolve(x.astype(layer.dtype), kernel.astype(layer.dtype), ((1, 1), (1, 1)))
    return x + jnp.tile(bias_of(layer), PLACES)


def to_places(x: FeatureMap) -> FeatureMap:
    """Return a map in squares (batch, h, w, 4 channels) as it is otherwise: (batch, 2h, 2w, channels)."""
    batch, height, width, channels = x.shape
    squares = x.reshape(batch, height, width, 2, 2, channels // PLACES).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, 2 * height, 2 * width, channels // PLACES)
