"""A minute's test of an accelerator, before anything is timed on it.

    python -m benchmarks.smoke

Every kernel of attention at the released shapes, forward and backward, against float32; one linear layer in bfloat16
and float8; a small model's pictures in float32, whose tokens are to be those of the CPU.  Ends with status 1 if
something is off.
"""

from __future__ import annotations

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks._models import random_model
from benchmarks._step import request_of
from vqdiffusion_jax import preset
from vqdiffusion_jax.generation import generate
from vqdiffusion_jax.models.attention import attention
from vqdiffusion_jax.models.fp8 import Fp8Linear
from vqdiffusion_jax.models.shapes import Keys

SHAPES = {
    "ITHQ": (1024, 16, 88),
    "COCO": (1024, 16, 64),
    "class": (256, 16, 32),
    "CLIP": (77, 8, 64),
}  # tokens, heads, width
HALF = 0.03  # of outputs of about 1, in bfloat16


def main() -> None:
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {len(jax.devices())} x {device.device_kind} ({device.platform})")
    off = 0
    for name, error, allowed in itertools.chain(_attention(), _products(), _pictures()):
        off += not error <= allowed
        print(f"{'ok ' if error <= allowed else 'OFF'} {name}: {error:.2g} (at most {allowed:g})", flush=True)
    raise SystemExit(off > 0)


def _attention():
    for name, shape in SHAPES.items():
        query, key, value = (_normal(seed, 2, *shape) for seed in range(3))
        exact = _with_gradient(query, key, value, "xla")
        for implementation in ("cudnn", "auto", "xla") if jax.default_backend() == "gpu" else ("auto", "xla"):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = _with_gradient(*(x.astype(jnp.bfloat16) for x in (query, key, value)), implementation)
            if said:
                yield f"attention {implementation}, {name} {shape}: {said[0].message}", float("inf"), 0.0
            error = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(found, exact, strict=True))
            yield f"attention {implementation}, {name} {shape}", error, HALF


def _with_gradient(query, key, value, implementation):
    def run(query, key, value):
        out = attention(query, key, value, implementation=implementation).astype(jnp.float32)
        return (out * jnp.cos(jnp.arange(out.shape[-1]))).sum(), out

    with jax.default_matmul_precision("highest"):
        gradients, out = jax.jit(jax.grad(run, argnums=(0, 1, 2), has_aux=True))(query, key, value)
    return [out, *(gradient.astype(jnp.float32) for gradient in gradients)]


def _products():
    x, kernel = _normal(0, 2048, 1536), _normal(1, 1536, 6144) / 1536**0.5
    exact = jax.jit(lambda x, kernel: jnp.dot(x, kernel, precision="highest"))(x, kernel)
    half = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    for name, product, allowed in (("bfloat16", jnp.dot, 0.01), ("float8", _float8_product, 0.06)):
        compiled = jax.jit(product).lower(*half).compile()
        found = compiled(*half).astype(jnp.float32)
        if name == "float8" and jax.default_backend() == "gpu":
            yield "float8 is not multiplied as such", float("f8e4m3fn" not in _calls(compiled.as_text())), 0.0
        yield (
            f"product in {name}",
            float(jnp.sqrt(jnp.square(found - exact).mean() / jnp.square(exact).mean())),
            allowed,
        )


def _float8_product(x, kernel):
    layer = Fp8Linear(*kernel.shape, use_bias=False, dtype=kernel.dtype, rngs=Keys(0))
    layer.kernel = nnx.Param(kernel)
    return layer(x)


def _calls(text: str) -> str:
    """Return the lines of a compiled program that call a library or a kernel generator."""
    return "\n".join(line for line in text.splitlines() if "custom-call" in line or "__triton" in line)


def _pictures():
    """Give the share of tokens that differ from the CPU's, in full float32."""
    model = random_model(preset("tiny_text"))
    request = request_of(model, 4, model.config.denoiser.num_timesteps)
    drawn = []
    with jax.default_matmul_precision("highest"):
        for device in (jax.devices()[0], jax.devices("cpu")[0]):
            held = jax.device_put((model, request), device)
            drawn.append(np.asarray(generate(*held)[0]))
    yield f"tokens of {len(drawn[0])} small pictures that are not the CPU's", float((drawn[0] != drawn[1]).mean()), 0.0


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


if __name__ == "__main__":
    main()
