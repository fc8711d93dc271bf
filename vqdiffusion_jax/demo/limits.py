"""What a visitor of the page may ask for at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds, each included."""

    num_images: int = 8  # of a run
    prompt_length: int = 300  # characters; most text towers read about that many
    seed: int = 2**32 - 1  # browsers hold whole numbers exactly up to 2**53
    guidance_scale: float = 30.0
    upload_bytes: int = 10 * 2**20
    upload_pixels: int = 24_000_000  # width times height, known before a picture is unpacked
    runs_waiting: int = 8  # of all visitors
    frames: int = 25  # of a picture's denoising, shown and kept
    gallery: int = 48  # pictures of a visit; the oldest go
