"""Random models of the released shapes, and the same weights in diffusers."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import ModelConfig, TextEmbeddingConfig, compute_in
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


def config_of(name: str, layers: int | None = None) -> ModelConfig:
    """Return a preset; of a text model codebook, encoder and text states are changed to what diffusers can hold too."""
    config = preset(name)
    denoiser, codec = config.denoiser, config.codec
    if layers is not None:
        denoiser = replace(denoiser, num_layers=layers)
    if denoiser.condition == "text":
        codec = replace(
            codec, quantizer="vq", codebook_size=codec.num_codes, reduced_codebook_size=None, encoder_window=None
        )
        config = replace(config, text_embedding=TextEmbeddingConfig())
    return replace(config, denoiser=denoiser, codec=codec)


def random_model(config: ModelConfig, dtype: str = "float32") -> VQDiffusionModel:
    """Return a model of normal weights of standard deviation 0.02.

    The last norm is larger, so that predictions are peaked like those of a trained model.
    """
    compute = compute_in(dtype)
    draw = np.random.default_rng(0)

    def random(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        array = draw.standard_normal(leaf.shape, np.float32)
        array *= 0.02
        return jnp.asarray(array).astype(leaf.dtype)

    model = jax.tree.map(random, shapes_of(VQDiffusionModel, config, compute))
    model.denoiser.final_norm.scale = jax.tree.map(
        lambda leaf: jnp.full_like(leaf, 4.0), model.denoiser.final_norm.scale
    )
    return model


def random_tokens(config: ModelConfig, batch: int) -> np.ndarray:
    """Return (batch, tokens) int32 as in the middle of a run: half of them masked, the others any code."""
    draw, shape = np.random.default_rng(1), (batch, config.denoiser.num_tokens)
    codes = draw.integers(0, config.denoiser.num_codes, shape)
    return np.where(draw.random(shape) < 0.5, config.denoiser.mask_token, codes).astype(np.int32)


def random_ids(config: ModelConfig, batch: int) -> np.ndarray:
    """Return random token ids, (batch, context) int32."""
    text = config.text_encoder
    return (
        np.random.default_rng(2).integers(0, text.vocab_size, (batch, config.tokenizer.context_length)).astype(np.int32)
    )


@dataclass
class Peer:
    """The parts of a diffusers pipeline that hold a model's weights."""

    torch: Any
    device: str
    transformer: Any
    codec: Any
    text_encoder: Any
    scheduler: Any
    truncate: Any

    def variants(self, dtype: str, compiled: bool) -> dict[str, Peer]:
        """Return the network in every setting that may be its fastest beside ours in ``dtype``, by name.

        ``compiled`` adds each of them through torch.compile.

        That is float32 beside float32; otherwise bfloat16, and float16 on a GPU, float32 on a CPU.
        """
        torch = self.torch
        own = self.transformer.dtype
        found = {}
        for kind in (own,) if dtype == "float32" else (own, torch.bfloat16):
            network = self.transformer if kind == own else copy.deepcopy(self.transformer).to(kind)
            variant = replace(self, transformer=network)
            found[variant.name] = variant
            if compiled:
                found[f"{variant.name} compiled"] = replace(self, transformer=torch.compile(network, dynamic=False))
        return found

    @property
    def name(self) -> str:
        """The name in tables, such as "diffusers float16"."""
        return f"diffusers {str(self.transformer.dtype).removeprefix('torch.')}"

    def synchronise(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def tensor(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(np.array(array)).to(self.device)

    def step(self, tokens: Any, timestep: int, condition: Any, scale: float, rate: float) -> Any:
        """One turn of the pipeline's loop: network on condition and null, guidance, truncation, posterior, draw."""
        torch = self.torch
        with torch.inference_mode():
            both = self.network(torch.cat([tokens] * 2), timestep, condition).float()
            null, text = both.chunk(2)
            guided = null + scale * (text - null)
            guided -= torch.logsumexp(guided, dim=1, keepdim=True)
            log_x0 = self.truncate(None, guided, rate).clamp(-70)
            drawn = self.scheduler.step(
                log_x0, timestep=torch.tensor(timestep, device=self.device), sample=tokens
            ).prev_sample
            self.synchronise()
            return drawn

    def network(self, tokens: Any, timestep: int, condition: Any) -> Any:
        with self.torch.inference_mode():
            out = self.transformer(
                tokens, encoder_hidden_states=condition, timestep=self.torch.tensor(timestep, device=self.device)
            ).sample
            self.synchronise()
            return out


def peer_of(model: VQDiffusionModel, dtype: str = "float32") -> Peer | str:
    """Return the model's weights in diffusers, or a line that says what is missing.

    They lie on the GPU, if torch sees one, in float16 unless ``dtype`` is float32; else on the CPU in float32.
    """
    try:
        import diffusers
        import torch
        import transformers
        from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as module
    except ImportError as error:
        return f"no peer: {error}"

    from vqdiffusion_jax.interop.diffusers import write_diffusers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.float16 if device == "cuda" and dtype != "float32" else torch.float32
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "diffusers"
        write_diffusers(model, folder)
        classes = {
            "transformer": diffusers.Transformer2DModel,
            "vqvae": diffusers.VQModel,
            "text_encoder": transformers.CLIPTextModel,
        }
        parts = {
            name: cls.from_pretrained(folder / name, torch_dtype=kind).to(device).eval()
            for name, cls in classes.items()
        }
        scheduler = diffusers.VQDiffusionScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(model.config.denoiser.num_timesteps, device=device)
    return Peer(
        torch=torch,
        device=device,
        transformer=parts["transformer"],
        codec=parts["vqvae"],
        text_encoder=parts["text_encoder"],
        scheduler=scheduler,
        truncate=module.VQDiffusionPipeline.truncate,
    )
