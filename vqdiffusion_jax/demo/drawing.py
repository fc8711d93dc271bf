"""A job drawn step by step: after every few network calls a ``Frame`` of its pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..pipeline import VQDiffusionPipeline
from .job import Job


@dataclass(frozen=True)
class Snapshot:
    """One picture on its way.

    picture: (height, width, 3) uint8, with the likeliest codes in place of [MASK]; grey before the first call.
    masked: (rows, columns) bool, which tokens are still [MASK].
    confidence: (rows, columns) float32, the largest p(x_0 | x_t) of each token, guided and not truncated: truncation
    would raise it, up to 1 where a single code is left; 0 before the first call.
    """

    picture: np.ndarray
    masked: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Frame:
    """All the pictures of a job; one that did not change since the frame before is the same object.

    calls: network calls made; of: those of the whole job, at most; timestep: of the last one.
    """

    snapshots: tuple[Snapshot, ...]
    calls: int
    of: int
    timestep: int

    @property
    def caption(self) -> str:
        """The frame in words; the confidence is the mean over all tokens."""
        masked = np.stack([snapshot.masked for snapshot in self.snapshots])
        confidence = np.mean([snapshot.confidence for snapshot in self.snapshots])
        return (
            f"call {self.calls} of {self.of}, timestep {self.timestep}: {masked.sum()} of {masked.size} tokens masked,"
            f" confidence {confidence:.2f}"
        )


def draw(
    pipeline: VQDiffusionPipeline,
    job: Job,
    show: Callable[[Frame], bool | None],
    cancelled: Callable[[], bool] = lambda: False,
) -> bool:
    """Draw a job, ``job.together`` pictures at a time, and return whether it came to the end.

    show: takes a frame after every ``job.every`` network calls and returns whether to stop.
    cancelled: asked after every network call; once it is True, the run ends without a further frame.
    """
    config = pipeline.config
    size, grid, mask_token = config.codec.image_size, config.codec.grid, config.denoiser.mask_token
    blank = Snapshot(np.full((size, size, 3), 128, np.uint8), np.ones(grid, bool), np.zeros(grid, np.float32))
    snapshots = [blank] * job.count
    of = -(-job.count // job.together) * job.calls
    batch, stopped = 0, False

    def watch(done: int, timestep: int, tokens, *seen) -> bool:
        nonlocal stopped
        np.asarray(tokens)  # waits for the device, so that no calls pile up behind one that is cancelled
        stopped = cancelled()
        if stopped or not seen:
            return stopped
        here = slice(batch * job.together, min((batch + 1) * job.together, job.count))
        tokens, codes, purity = (np.asarray(part)[: here.stop - here.start] for part in (tokens, *seen))
        masked = tokens == mask_token
        pictures = _pasted(job, pipeline.decode(np.where(masked, codes, tokens)))
        snapshots[here] = map(Snapshot, pictures, masked.reshape(-1, *grid), purity.reshape(-1, *grid))
        calls = batch * job.calls + done
        stopped = bool(show(Frame(tuple(snapshots), calls, of, timestep))) and calls < of
        return stopped

    for _ in pipeline.draw(job.call, callback=watch, callback_prediction=job.every):
        if stopped:
            return False
        batch += 1
    return True


def _pasted(job: Job, pictures: np.ndarray) -> np.ndarray:
    """Return the pictures with the given picture around a mask, if there is one."""
    images, mask = job.call.given.images, job.call.given.mask
    return pictures if images is None or mask is None else np.where(mask[..., None], pictures, images)
