"""Recorded checkpoints as our modules, and recorded conditions as our inputs."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.golden.cases import Case
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.interop.codecs import load_codec
from vqdiffusion_jax.interop.denoiser_rules import denoiser_rules
from vqdiffusion_jax.interop.diffusers_folder import read_diffusers
from vqdiffusion_jax.interop.load import load_reference
from vqdiffusion_jax.interop.openai_clip import load_openai_clip
from vqdiffusion_jax.interop.table import unapply
from vqdiffusion_jax.models.clip import CLIPTextEncoder, text_embedding
from vqdiffusion_jax.text.tokenizer import Tokenizer


def load_case(case: Case):
    """The VQDiffusionModel of a case; for a codec alone, something with ``.codec``."""
    companions = {name: case.path / name for name in ("config.yaml", "codec.yaml", "mapping.pt") if (case.path / name).exists()}
    mapping, codec_yaml = companions.get("mapping.pt"), companions.get("codec.yaml")
    if case.kind == "diffusers":
        return read_diffusers(case.path / "pipeline")[0]
    if case.kind == "codec":
        return SimpleNamespace(codec=load_codec(case.path / "codec.pth", config=codec_yaml, mapping=mapping)[0])
    return load_reference(case.path / "checkpoint.pth", config=companions["config.yaml"], codec_config=codec_yaml, mapping=mapping)[0]


def recorded_condition(case: Case, batch: int):
    """What conditioned the recorded network calls: float16 text states, labels or nothing."""
    if case.kind == "text":
        return jnp.asarray(case["text/emb_fp16"][:batch].astype(np.float32))
    if case.kind == "class":
        return jnp.asarray(case["net/labels"][:batch])
    return None


def diffusers_tokenizer(case: Case) -> Tokenizer:
    return Tokenizer.from_huggingface(case.path / "pipeline" / "tokenizer")


def training_condition(case: Case, model):
    """What conditioned the recorded loss: rows of an empty caption (start and end only) take the null embedding."""
    if case.kind == "none":
        return None
    if case.kind == "class":
        return jnp.asarray(case["loss/labels"])
    condition = text_embedding(clip_in(model.text_encoder, "float16"), jnp.asarray(case["loss/tokens"]), model.config.text_embedding)
    empty = ~case["loss/text_mask"][:, 2]
    null = model.denoiser.null(len(empty))
    return jnp.where(jnp.asarray(empty)[:, None, None], null, condition.astype(jnp.float32))


def clip_in(encoder: CLIPTextEncoder, dtype: str) -> CLIPTextEncoder:
    """The same weights, run in another dtype."""
    abstract = jax.eval_shape(lambda: CLIPTextEncoder(encoder.config, ComputeConfig(dtype=dtype), rngs=nnx.Rngs(0)))
    return jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(encoder))


def text_tower(case: Case, source: str) -> CLIPTextEncoder:
    """The CLIP case's text tower from its state dict or its TorchScript archive."""
    name = {"state": "clip_text_state.pt", "archive": next(case.path.glob("*.jit.pt")).name}[source]
    return load_openai_clip(case.path / name)[0]


def gradient_names(gradients) -> dict[str, np.ndarray]:
    """Gradients of our denoiser under the reference's names and in its layout."""
    return {name.removeprefix("transformer."): array for name, array in unapply(denoiser_rules(), gradients).items()}
