"""Sizes and lengths of training on a folder of pictures, chosen by a few rules.

The rules: pictures are never enlarged much; a grid has 64 or 256 tokens; each code is used some thirty times in the
data; networks grow with the number of pictures, and stay as small as the machine is slow; a small data set is seen
hundreds of times, a large one a few times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...data.own_folder import OwnFolder

# Floating point operations a second that training reaches.  A core's is measured (docs/training.md); an accelerator's
# is a guess, as no training has run on one.
CORE_FLOPS, ACCELERATOR_FLOPS = 30e9, 10e12

_USES_OF_A_CODE = 32
_HELD_OUT = (8, 1000)  # pictures for validation, at least and at most, but no more than a fifth


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that trains: ``platform`` as JAX names it, its devices, and processor cores.

    bfloat16: whether products of bfloat16 are the faster ones.
    """

    platform: str = "cpu"
    devices: int = 1
    cores: int = 1
    bfloat16: bool = False

    @property
    def is_cpu(self) -> bool:
        return self.platform == "cpu"

    @property
    def flops(self) -> float:
        """Operations a second, an estimate."""
        return CORE_FLOPS * self.cores if self.is_cpu else ACCELERATOR_FLOPS * self.devices


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The models to train on a folder; widths and sizes are those of ``VQGANConfig`` and ``DenoiserConfig``."""

    image_size: int
    channels: int
    channel_multipliers: tuple[int, ...]
    codebook_size: int
    width: int
    num_layers: int
    validation_fraction: float  # 0 if the folder has a validation split, or no picture to spare
    validates: bool
    batch_size: int
    accumulation: int  # of the denoiser
    codec_steps: int
    steps: int  # of the denoiser
    eval_batches: int

    @property
    def grid(self) -> int:
        """Tokens along a side."""
        return self.image_size // 2 ** (len(self.channel_multipliers) - 1)


def choose(folder: OwnFolder, machine: Machine) -> Choice:
    """Return what to train on the pictures of ``folder`` on ``machine``; any number of pictures from 1 on will do."""
    count, small = folder.count, folder.count < 1000
    size = _image_size(folder, machine)
    multipliers = {32: (1, 2, 4), 256: (1, 1, 2, 2, 4)}.get(size, (1, 1, 2, 4))
    grid = size // 2 ** (len(multipliers) - 1)
    codes = 2 ** round(math.log2(count * grid * grid / _USES_OF_A_CODE))
    held_out = 0 if folder.has_splits or count < 2 else min(max(count // 20, _HELD_OUT[0]), _HELD_OUT[1], count // 5)
    fraction = round(max(held_out, 1) / count, 4) if count >= 2 and not folder.has_splits else 0.0
    batch = _batch_size(count - held_out, machine)
    if machine.is_cpu:
        width, layers = (128, 4) if small else (192, 6)
        codec_seen, seen = _between(200 * count, 12_000, 128_000), _between(300 * count, 18_000, 160_000)
    else:
        width, layers = (256, 8) if small else (384, 12) if count < 50_000 else (512, 20)
        codec_seen, seen = _between(400 * count, 100_000, 4_000_000), _between(800 * count, 200_000, 10_000_000)
    return Choice(
        image_size=size,
        channels=16 if machine.is_cpu else 64,
        channel_multipliers=multipliers,
        codebook_size=_between(codes, 128, 1024 if machine.is_cpu else 4096),
        width=width,
        num_layers=layers,
        validation_fraction=fraction,
        validates=folder.has_splits or count >= 2,
        batch_size=batch,
        # Activations of 8 pictures stay in a core's cache.
        accumulation=batch // 8 if machine.is_cpu and machine.devices == 1 and batch > 8 else 1,
        codec_steps=-(-codec_seen // batch),
        steps=-(-seen // batch),
        eval_batches=max(1, (32 if machine.is_cpu else 256) // batch),
    )


def _image_size(folder: OwnFolder, machine: Machine) -> int:
    """Return the largest size that the pictures have, of those that the machine can be taught in a day or so."""
    sizes = (32, 64) if machine.is_cpu else (32, 64, 128) if folder.count < 20_000 else (32, 64, 128, 256)
    return max((size for size in sizes if size <= folder.side * 1.25), default=sizes[0])


def _batch_size(pictures: int, machine: Machine) -> int:
    """Return a power of two from 4 on, at most half of the pictures, and a whole number on each device."""
    most = 32 if machine.is_cpu else 64 if pictures < 5000 else 128
    size = 4
    while 2 * size <= min(pictures // 2, most):
        size *= 2
    return max(size // machine.devices, 1) * machine.devices


def _between(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
