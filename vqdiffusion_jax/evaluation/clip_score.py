"""CLIP score: cosines of pictures and captions (Hessel et al. 2021, "CLIPScore", without its factor 2.5)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from ..batching import in_batches, replicate
from ..config import ComputeConfig, TokenizerConfig
from ..errors import EvaluationError, EvaluationSettingError
from ..models.clip import CLIPTextEncoder, CLIPVisionEncoder, normalize_images

FILE = "ViT-B-32.pt"
WHERE = "OpenAI's release, kept by its clip package in ~/.cache/clip, or a folder of openai/clip-vit-base-patch32"


def load_towers(path: str | Path) -> tuple[CLIPTextEncoder, CLIPVisionEncoder]:
    """Return both towers of CLIP in float32, from ViT-B-32.pt, a Hugging Face folder or a converted one.

    Raises EvaluationError, which names the right file, if nothing is there or a tower is missing; CheckpointError or
    ConversionError for another file.
    """
    from ..loading import load_clip

    path = Path(path)
    if not path.exists():
        raise EvaluationSettingError(
            "{clip}={value} does not exist; the file is {file}, {where}", value=path, file=FILE, where=WHERE
        )
    text, image = load_clip(path, compute=ComputeConfig())
    if text is None or image is None:
        raise EvaluationError(
            f"{path} has no {'text' if text is None else 'image'} tower; CLIP scores need both, as in {FILE}"
        )
    return text, image


def preprocess(pictures: np.ndarray, size: int) -> np.ndarray:
    """Return pictures (batch, height, width, 3) uint8 as OpenAI's clip prepares them: (batch, size, size, 3) float32.

    Values lie in [0, 1].  The short side is resized to ``size`` by Pillow's bicubic filter, rounded to 8 bits, and the
    centre cut out.
    """
    return np.stack([_centre(picture, size) for picture in pictures]).astype(np.float32) / np.float32(255.0)


def _centre(picture: np.ndarray, size: int) -> np.ndarray:
    height, width = picture.shape[:2]
    short = min(height, width)
    width, height = int(size * width / short), int(size * height / short)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@jax.jit
def image_embeddings(tower: CLIPVisionEncoder, pixels: jax.Array) -> jax.Array:
    """Return the embeddings of ``preprocess``ed pictures: (batch, width) float32 of length 1."""
    return _unit(tower(normalize_images(pixels)))


@jax.jit
def text_embeddings(tower: CLIPTextEncoder, ids: jax.Array) -> jax.Array:
    """Return the embeddings of token ids (batch, length) int32: (batch, width) float32 of length 1."""
    return _unit(tower.pool(tower(ids), ids))


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


class CaptionScorer:
    """Cosines of pictures and their captions by CLIP's own towers, spread over the devices of ``mesh``."""

    def __init__(self, text: CLIPTextEncoder, image: CLIPVisionEncoder, *, mesh: Mesh | None = None):
        self.text, self.image, self.mesh = replicate(text, mesh), replicate(image, mesh), mesh

    @functools.cached_property
    def _tokenizer(self):
        from ..text.tokenizer import Tokenizer

        return Tokenizer(TokenizerConfig(context_length=self.text.config.context_length))

    def __call__(self, pictures: np.ndarray, captions: Sequence[str], *, batch_size: int = 32) -> np.ndarray:
        """Return the cosine of each picture and its caption: (n,) float32 in [-1, 1].

        pictures: (n, height, width, 3) uint8.  batch_size: pictures together, on each device.
        """
        if len(pictures) != len(captions):
            raise EvaluationError(
                f"there are {len(pictures)} pictures and {len(captions)} captions; each picture needs its own"
            )
        size = self.image.config.image_size
        ids, _ = self._tokenizer(list(captions))
        return in_batches(
            self._cosines,
            (pictures, ids),
            batch_size,
            mesh=self.mesh,
            prepare=lambda rows: (preprocess(rows[0], size), rows[1]),
        )

    def _cosines(self, part: tuple[jax.Array, jax.Array]) -> jax.Array:
        pixels, ids = part
        return jnp.sum(image_embeddings(self.image, pixels) * text_embeddings(self.text, ids), axis=-1)
