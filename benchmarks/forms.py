"""The CPU's own forms of attention, convolution and group norm beside the plain ones, at the shapes of the released
models.

    python -m benchmarks.forms

Each is applied several times in one program, as in a network, so that memory is found where it was left.  "ours" is
what a model takes at that shape.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks._measure import WITHOUT_FLOAT8, alternate, arguments, finish, rows_of
from vqdiffusion_jax.models.attention import attention
from vqdiffusion_jax.models.convolution import convolve, winograd
from vqdiffusion_jax.models.layers import GroupNorm
from vqdiffusion_jax.models.shapes import Keys

TURNS = 8
HEADS = 16
ATTENTION = ((1024, 1024, 64), (1024, 1024, 88), (1024, 77, 64), (256, 256, 32))  # queries, keys, head width
CONVOLUTION = ((32, 512), (64, 256), (128, 256), (128, 128), (256, 128), (256, 64))  # side, channels
NORM = ((256, 128), (256, 64), (128, 128), (32, 512))
AROUND = ((1, 1), (1, 1))


def main() -> None:
    options = arguments(__doc__, "forms", WITHOUT_FLOAT8[:1]).parse_args()
    rows = []
    for length, context, width in ATTENTION:
        query, key = _normal(1, length, HEADS, width), _normal(1, context, HEADS, width)
        forms = {"ours": "auto", "head after head": "blocked", "XLA's": "xla"}
        runs = {name: functools.partial(attention, implementation=form) for name, form in forms.items()}
        flops = 4 * length * context * HEADS * width
        rows += _rows(
            f"attention {length} x {context} x {HEADS} x {width}",
            runs,
            query,
            key,
            key,
            flops=flops,
            repeats=options.repeats,
        )
    for side, channels in CONVOLUTION:
        x, kernel = _normal(1, side, side, channels), _normal(3, 3, channels, channels) / (3 * channels**0.5)
        forms = {"ours": convolve, "winograd": winograd, "direct": _direct}
        runs = {name: lambda x, kernel, form=form: form(x, kernel, AROUND) for name, form in forms.items()}
        flops = 18 * side**2 * channels**2
        rows += _rows(
            f"convolution {side} x {side} x {channels}", runs, x, kernel, flops=flops, repeats=options.repeats
        )
    for side, channels in NORM:
        x = _normal(1, side, side, channels)
        norms = {
            "ours": GroupNorm(channels, 32, rngs=Keys(0)),
            "flax": nnx.GroupNorm(channels, 32, use_fast_variance=False, rngs=Keys(0)),
        }
        runs = {name: lambda x, norm=norm: jax.nn.silu(norm(x)) for name, norm in norms.items()}
        rows += _rows(f"group norm and swish {side} x {side} x {channels}", runs, x, repeats=options.repeats)
    finish("forms", rows, options.out)


def _rows(name, runs, x, *others, repeats, flops=None):
    timings = alternate({form: _several(run, x, *others) for form, run in runs.items()}, repeats)
    timings = {
        form: {**timing, "median": timing["median"] / TURNS, "cpu": timing["cpu"] / TURNS}
        for form, timing in timings.items()
    }
    return rows_of(name, timings, flops=flops)


def _several(run, x, *others):
    def turn(_, x):
        # What does not depend on the turn would be moved out of the loop, the transform of a kernel for instance.
        first = 0 * x[(0,) * x.ndim]
        return 0.5 * run(x, *(other + first for other in others))

    turns = jax.jit(lambda x, *others: jax.lax.fori_loop(0, TURNS, turn, x))
    return lambda: turns(x, *others).block_until_ready()


def _direct(x, kernel, padding):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _normal(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape, np.float32))


if __name__ == "__main__":
    main()
