"""The identity of the arithmetic, weights and networks behind rows, in plain JSON types."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..config import dtype_of
from ..models.vqdiffusion import VQDiffusionModel
from ..models.vqgan import VQGAN
from ..paths import leaves_by_path


class Named(Protocol):
    """Anything whose ``name`` tells it from others."""

    @property
    def name(self) -> str: ...


def fingerprint(module: Any) -> str:
    """Return twelve hexadecimal digits of a hash over a module's parameters and their paths."""
    digest = hashlib.sha256()
    for path, leaf in sorted(leaves_by_path(module).items()):
        digest.update(path.encode() + np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def arithmetic_of(model: VQDiffusionModel | VQGAN) -> dict[str, str]:
    """Return how a model computes, which its weights do not tell.

    ``dtype`` and, of a text tower, ``clip_dtype``, both as on the command line, and ``platform``.  Nothing but the
    platform is known of a codec of another class.
    """
    arithmetic = {}
    if isinstance(model, VQDiffusionModel):
        arithmetic["dtype"] = dtype_of(model.denoiser.compute)
        if model.text_encoder is not None:
            arithmetic["clip_dtype"] = model.text_encoder.compute.dtype
    elif isinstance(model, VQGAN):
        arithmetic["dtype"] = jnp.dtype(model.post_quant_conv.dtype).name
    return arithmetic | platform()


def platform() -> dict[str, str]:
    """Return the kind of device as ``platform``: "cpu", "gpu" or "tpu"."""
    return {"platform": jax.default_backend()}


def identity_of(model: VQDiffusionModel | VQGAN, extractors: Iterable[Named]) -> dict[str, Any]:
    """Return the arithmetic and weights of a model, and the names of the networks that look at its pictures."""
    return arithmetic_of(model) | {"weights": fingerprint(model), **networks_of(extractors)}


def networks_of(extractors: Iterable[Named]) -> dict[str, list[str]]:
    """Return the extractors' names as ``networks``."""
    return {"networks": [extractor.name for extractor in extractors]}
