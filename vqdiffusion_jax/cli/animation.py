"""The denoising of a picture as a file: a GIF, an animated WebP or an MP4."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, features

from ..errors import UsageError

FORMATS = ("gif", "webp", "mp4")
FRAME_MS = 80
LAST_MS = 1500


def check_format(form: str) -> None:
    """Raise UsageError, one line that says what to install, for a format that cannot be written here."""
    if form == "mp4" and importlib.util.find_spec("av") is None:
        raise UsageError('--trajectory_format=mp4 needs PyAV; install it with pip install -e ".[video]", or take webp')
    if form == "webp" and not features.check("webp"):
        raise UsageError("--trajectory_format=webp: this Pillow was built without WebP; take gif")


def write_animation(path: Path, form: str, pictures: Sequence[np.ndarray]) -> None:
    """Write pictures (height, width, 3) uint8 one after the other; the last one stays longer."""
    if form == "mp4":
        _write_mp4(path, pictures)
        return
    shown = [Image.fromarray(picture) for picture in pictures]
    shown[0].save(
        path,
        format=form.upper(),
        save_all=True,
        append_images=shown[1:],
        duration=[FRAME_MS] * (len(shown) - 1) + [LAST_MS],
        loop=0,
        **({"lossless": True} if form == "webp" else {}),
    )


def _write_mp4(path: Path, pictures: Sequence[np.ndarray]) -> None:
    import av  # pyright: ignore[reportMissingImports]  (optional; ``check_format`` has seen that it is there)

    height, width = (side + side % 2 for side in pictures[0].shape[:2])  # H.264 has even sides
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("h264", rate=Fraction(1000, FRAME_MS), options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in [*pictures, *[pictures[-1]] * (LAST_MS // FRAME_MS)]:
            even = [(0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)]
            frame = av.VideoFrame.from_ndarray(np.pad(picture, even, mode="edge"), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
