"""Recorded checkpoints as our modules, and recorded conditions as our inputs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from tests.in_process import left_as_it_was
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.interop.clip.openai import load_openai_clip
from vqdiffusion_jax.interop.codecs import load_codec
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.interop.reference.denoiser import denoiser_rules
from vqdiffusion_jax.models.clip import CLIPTextEncoder
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.pipeline import VQDiffusionPipeline
from vqdiffusion_jax.text.tokenizer import Tokenizer

CONVERT = Path(__file__).resolve().parents[2] / "convert" / "torch_to_flax.py"


def load_case(case: Case, folder: Path):
    """Return the model of a case, converted to ``folder`` by the command line."""
    companions = case.companions
    if case.kind == "codec":
        config, mapping = companions.get("codec_config"), companions.get("mapping")
        return SimpleNamespace(codec=load_codec(case.weights, config=config, mapping=mapping)[0])
    source = case.path / "pipeline" if case.kind == "diffusers" else case.weights
    command = [str(CONVERT), f"--checkpoint={source}", f"--out={folder}"]
    command += [f"--{role}={path}" for role, path in companions.items()]
    with left_as_it_was(), mock.patch.object(sys, "argv", command), pytest.raises(SystemExit) as ended:
        runpy.run_path(command[0], run_name="__main__")
    assert not ended.value.code
    return VQDiffusionPipeline.from_pretrained(folder, compute=ComputeConfig()).model


def recorded_condition(case: Case, batch: int):
    """Return the condition of the recorded network calls: float16 text states, labels or None."""
    if case.kind == "text":
        return jnp.asarray(case["text/emb_fp16"][:batch].astype(np.float32))
    if case.kind == "class":
        return jnp.asarray(case["net/labels"][:batch])
    return None


def diffusers_tokenizer(case: Case) -> Tokenizer:
    """Return the tokenizer of the recorded pipeline."""
    return Tokenizer.from_huggingface(case.path / "pipeline" / "tokenizer")


def training_condition(case: Case, model):
    """Return the condition of the recorded loss; rows of an empty caption take the null embedding.

    The states themselves are the recorded ones, found by their ids: float16 arithmetic rounds differently here.
    """
    if case.kind == "none":
        return None
    if case.kind == "class":
        return jnp.asarray(case["loss/labels"])
    return with_null(case, model, training_states(case))


def training_states(case: Case):
    """Return the recorded text states (batch, length, width) of the training captions; skip if some have none."""
    same = (case["loss/tokens"][:, None] == case["text/tokens"]).all(-1)  # (batch, recorded texts)
    if not same.any(-1).all():
        pytest.skip(f"{case.name} records no text states of some captions of its training batch")
    return jnp.asarray(case["text/emb_fp16"][same.argmax(-1)].astype(np.float32))


def empty_captions(case: Case):
    """Return which captions of the training batch are empty (batch,) bool: start and end only."""
    return jnp.asarray(~case["loss/text_mask"][:, 2])


def with_null(case: Case, model, condition):
    """Return ``condition`` (batch, length, width) with the null embedding in the rows of empty captions."""
    empty = empty_captions(case)
    return jnp.where(empty[:, None, None], model.denoiser.null(len(empty)), condition)


def clip_in(encoder: CLIPTextEncoder, dtype: str) -> CLIPTextEncoder:
    """Return the same weights, run in ``dtype``."""
    abstract = shapes_of(CLIPTextEncoder, encoder.config, ComputeConfig(dtype=dtype))
    return jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(encoder))


def text_tower(case: Case, source: str) -> CLIPTextEncoder:
    """Return the CLIP case's text tower from its "state" dict or its TorchScript "archive"; skip if there is none."""
    if source not in case.towers:
        pytest.skip(f"{case.name} has no {source} of CLIP's weights")
    return load_openai_clip(case.towers[source])[0]


def gradient_names(gradients) -> dict[str, np.ndarray]:
    """Return the gradients of our denoiser under the reference's names and in its layout."""
    rules = denoiser_rules(condition=gradients.config.condition, mlp=gradients.config.mlp)
    return {name.removeprefix("transformer."): array for name, array in unapply(rules, gradients).items()}
