"""An order drawn step by step: after every few network calls a ``Frame`` of where its pictures are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..pipeline import VQDiffusionPipeline
from .requests import Order


@dataclass(frozen=True)
class Moment:
    """Where one picture is.

    picture: (height, width, 3) uint8, with the likeliest codes where tokens are still [MASK]; grey before the first call.
    masked: (rows, columns) bool, which tokens are still [MASK].
    confidence: (rows, columns) float32, the largest p(x_0 | x_t) of each token, guided and truncated: its purity, before that
    is divided by the picture's largest (improved VQ-Diffusion, Algorithm 2); 0 before the first call.
    """

    picture: np.ndarray
    masked: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Frame:
    """Where all the pictures of an order are; those that did not move since the last frame are the same objects.

    calls, of: network calls made, and all that are to be made at most; timestep: of the last one.
    """

    moments: tuple[Moment, ...]
    calls: int
    of: int
    timestep: int

    @property
    def caption(self) -> str:
        """The frame in words; the confidence is the mean over all tokens."""
        masked, confidence = (
            np.stack([getattr(moment, name) for moment in self.moments]) for name in ("masked", "confidence")
        )
        return (
            f"call {self.calls} of {self.of}, timestep {self.timestep}: {masked.sum()} of {masked.size} tokens masked,"
            f" confidence {confidence.mean():.2f}"
        )


def draw(pipeline: VQDiffusionPipeline, order: Order, show: Callable[[Frame], bool]) -> bool:
    """Draw an order, ``order.together`` pictures at a time; returns whether it came to the end.

    show: takes a frame after every ``order.every`` network calls and returns whether to stop.

    """
    config = pipeline.config
    size, grid, mask_token = config.codec.image_size, config.codec.grid, config.denoiser.mask_token
    blank = Moment(np.full((size, size, 3), 128, np.uint8), np.ones(grid, bool), np.zeros(grid, np.float32))
    moments = [blank] * order.count
    of = -(-order.count // order.together) * order.calls
    batch, stopped = 0, False

    def watch(done: int, timestep: int, tokens, codes, purity) -> bool:
        nonlocal stopped
        here = slice(batch * order.together, min((batch + 1) * order.together, order.count))
        tokens, codes, purity = (np.asarray(part)[: here.stop - here.start] for part in (tokens, codes, purity))
        masked = tokens == mask_token
        pictures = _kept(order, pipeline.decode(np.where(masked, codes, tokens)))
        moments[here] = map(Moment, pictures, masked.reshape(-1, *grid), purity.reshape(-1, *grid))
        calls = batch * order.calls + done
        stopped = show(Frame(tuple(moments), calls, of, timestep)) and calls < of
        return stopped

    for _ in pipeline.draw(order.call, callback=watch, callback_steps=order.every, callback_prediction=True):
        if stopped:
            return False
        batch += 1
    return True


def _kept(order: Order, pictures: np.ndarray) -> np.ndarray:
    """The pictures, but where a mask is given with what it keeps."""
    mask = order.call.given.mask
    return pictures if mask is None else np.where(mask[..., None], pictures, order.call.given.images)
