"""Recorded checkpoints as our modules, and recorded conditions as our inputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from tests.golden.cases import Case
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.interop.codecs import load_codec
from vqdiffusion_jax.interop.denoiser_rules import denoiser_rules
from vqdiffusion_jax.interop.openai_clip import load_openai_clip
from vqdiffusion_jax.interop.table import unapply
from vqdiffusion_jax.models.clip import CLIPTextEncoder
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.pipeline import VQDiffusionPipeline
from vqdiffusion_jax.text.tokenizer import Tokenizer

CONVERT = Path(__file__).resolve().parents[2] / "convert" / "torch_to_flax.py"


def load_case(case: Case, folder: Path):
    """The VQDiffusionModel of a case, converted to ``folder`` by the command line; for a codec alone, something with ``.codec``."""
    companions = {
        name: case.path / name for name in ("config.yaml", "codec.yaml", "mapping.pt") if (case.path / name).exists()
    }
    if case.kind == "codec":
        config, mapping = companions.get("codec.yaml"), companions.get("mapping.pt")
        return SimpleNamespace(codec=load_codec(case.path / "codec.pth", config=config, mapping=mapping)[0])
    source = case.path / ("pipeline" if case.kind == "diffusers" else "checkpoint.pth")
    flags = {"config.yaml": "--config", "codec.yaml": "--codec_config", "mapping.pt": "--mapping"}
    command = [sys.executable, str(CONVERT), f"--checkpoint={source}", f"--out={folder}"]
    command += [f"{flags[name]}={path}" for name, path in companions.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return VQDiffusionPipeline.from_pretrained(folder, compute=ComputeConfig()).model


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
    """What conditioned the recorded loss: rows of an empty caption (start and end only) take the null embedding.

    The states themselves are the recorded ones, found by their ids: float16 arithmetic rounds differently here.
    """
    if case.kind == "none":
        return None
    if case.kind == "class":
        return jnp.asarray(case["loss/labels"])
    rows = [int(np.flatnonzero((case["text/tokens"] == ids).all(1))[0]) for ids in case["loss/tokens"]]
    return with_null(case, model, jnp.asarray(case["text/emb_fp16"][rows].astype(np.float32)))


def with_null(case: Case, model, condition):
    empty = jnp.asarray(~case["loss/text_mask"][:, 2])
    return jnp.where(empty[:, None, None], model.denoiser.null(len(empty)), condition)


def clip_in(encoder: CLIPTextEncoder, dtype: str) -> CLIPTextEncoder:
    """The same weights, run in another dtype."""
    abstract = shapes_of(CLIPTextEncoder, encoder.config, ComputeConfig(dtype=dtype))
    return jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(encoder))


def text_tower(case: Case, source: str) -> CLIPTextEncoder:
    """The CLIP case's text tower from its state dict or its TorchScript archive."""
    name = {"state": "clip_text_state.pt", "archive": next(case.path.glob("*.jit.pt")).name}[source]
    return load_openai_clip(case.path / name)[0]


def gradient_names(gradients) -> dict[str, np.ndarray]:
    """Gradients of our denoiser under the reference's names and in its layout."""
    rules = denoiser_rules(condition=gradients.config.condition, mlp=gradients.config.mlp)
    return {name.removeprefix("transformer."): array for name, array in unapply(rules, gradients).items()}
