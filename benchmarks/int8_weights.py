"""The effect of int8 weights on the denoiser: bytes, agreement of tokens, and time of a product on this machine.

    python -m benchmarks.int8_weights

A kernel in int8 has one scale a column (the largest number of the column becomes 127), and is multiplied back before
the product, in the dtype of the products.  Of the embedded model the kernels are rounded and multiplied back
beforehand, which gives the same numbers.
"""

from __future__ import annotations

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqdiffusion_jax import VQDiffusionPipeline, preset, safetensors_weights
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.fp8 import Fp8Linear
from vqdiffusion_jax.models.shapes import shapes_of

PROMPTS = ("a red apple", "a rocket to the left of a star", "a dog face", "a pizza on a blue background")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=16, help="of each of four prompts")
    parser.add_argument("--turns", type=int, default=20, help="times that a product is timed")
    given = parser.parse_args()
    memory()
    agreement(given.pictures)
    products(given.turns)


def to_int8(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a kernel (..., in, out) in int8, and its scales (..., 1, out) float32."""
    q, scale = safetensors_weights.to_int8(np.asarray(kernel), axis=-2)
    return jnp.asarray(q), jnp.asarray(scale)


def linear_layers(network: nnx.Module) -> list[nnx.Linear]:
    """Return all linear layers of ``network``, float8's left out."""
    linear = [module for _, module in nnx.iter_modules(network) if isinstance(module, nnx.Linear)]
    return [module for module in linear if not isinstance(module, Fp8Linear)]


def memory() -> None:
    print("| denoiser, MiB | float32 | bfloat16 | float8 and bfloat16 | int8 and bfloat16 |\n|---|---:|---:|---:|---:|")
    for name in ("ithq", "coco", "emoji"):
        network = shapes_of(Denoiser, preset(name).denoiser, ComputeConfig())
        whole = sum(leaf.size for leaf in jax.tree.leaves(network))
        kernels = [layer.kernel.shape for layer in linear_layers(network)]
        rounded = sum(int(np.prod(shape)) for shape in kernels)
        scales = sum(int(np.prod(shape)) // shape[-2] for shape in kernels)
        eight = shapes_of(Denoiser, preset(name).denoiser, ComputeConfig(fp8=True))
        layers = [module.kernel.shape for _, module in nnx.iter_modules(eight) if isinstance(module, Fp8Linear)]
        float8 = sum(int(np.prod(shape)) for shape in layers)
        sizes = (4 * whole, 2 * whole, 2 * whole + float8, 2 * (whole - rounded) + rounded + 4 * scales)
        print(f"| {name} | " + " | ".join(f"{size / 2**20:,.1f}" for size in sizes) + " |", flush=True)


def agreement(count: int) -> None:
    drawn, states = {}, {}
    for name, dtype, change in (
        ("float32", "float32", lambda kernel: kernel),
        ("int8", "float32", lambda kernel: (lambda q, scale: q * scale)(*to_int8(kernel))),
        ("bfloat16 weights and arithmetic", "bfloat16", lambda kernel: kernel),
    ):
        pipeline = VQDiffusionPipeline.from_pretrained("emoji", dtype=dtype)
        for layer in linear_layers(pipeline.model.denoiser):
            layer.kernel[...] = change(layer.kernel[...])
        options = dict(num_images_per_prompt=count, seed=0, output_type="tokens", progress=False)
        drawn[name] = np.asarray(pipeline(list(PROMPTS), **options).tokens)
        states[name] = probabilities(pipeline, drawn["float32"])
    print("\n| embedded model | equal tokens | mean KL of p(x_0) from float32's, bits a token |\n|---|---:|---:|")
    for name in list(drawn)[1:]:
        equal = (drawn[name] == drawn["float32"]).mean()
        kl = np.sum(states["float32"] * (np.log2(states["float32"]) - np.log2(states[name])), -1).mean()
        print(f"| {name} | {equal:.4f} | {kl:.2e} |", flush=True)


def probabilities(pipeline: VQDiffusionPipeline, tokens: np.ndarray) -> np.ndarray:
    """Return p(x_0) (pictures, tokens, codes) of half-masked pictures, without a text."""
    denoiser = pipeline.model.denoiser
    hidden = np.random.default_rng(0).random(tokens.shape) < 0.5
    noised = jnp.asarray(np.where(hidden, denoiser.config.num_codes, tokens), "int32")
    steps = jnp.full(len(tokens), denoiser.config.num_timesteps // 2)
    logits = jax.jit(lambda network, x: network(x, steps, network.null(len(x))))(denoiser, noised)
    return np.asarray(jax.nn.softmax(logits.astype("float32")), np.float64) + 1e-30


def products(turns: int) -> None:
    """Time x W of ITHQ's MLP for the 1,024 tokens of one picture: medians of turns that alternate."""
    config = preset("ithq").denoiser
    x = jax.random.normal(jax.random.key(0), (config.num_tokens, config.width))
    kernel = jax.random.normal(jax.random.key(1), (config.width, config.mlp_width)) * 0.02
    q, scale = to_int8(kernel)

    def whole_numbers(x, q, scale):
        rows = jnp.abs(x).max(-1, keepdims=True) / 127
        sums = jax.lax.dot(jnp.round(x / rows).astype("int8"), q, preferred_element_type="int32")
        return sums * rows * scale

    forms = {
        "float32": (lambda x, w: x @ w, (x, kernel)),
        "int8 weights, multiplied back": (lambda x, q, scale: x @ (q * scale), (x, q, scale)),
        "int8 weights and rows, whole-number sums": (whole_numbers, (x, q, scale)),
    }
    programs = {name: (jax.jit(form), arguments) for name, (form, arguments) in forms.items()}
    times: dict[str, list[float]] = {name: [] for name in forms}
    for program, arguments in programs.values():
        program(*arguments).block_until_ready()
    for _ in range(turns):
        for name, (program, arguments) in programs.items():
            start = time.process_time()
            program(*arguments).block_until_ready()
            times[name].append(time.process_time() - start)
    print(f"\n| {config.num_tokens} x {config.width} by {config.mlp_width} | time beside float32 |\n|---|---:|")
    base = statistics.median(times["float32"])
    for name, measured in times.items():
        print(f"| {name} | {statistics.median(measured) / base:.2f} |")


if __name__ == "__main__":
    main()
