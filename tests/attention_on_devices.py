"""Attention's kernels for a TPU on meshes of four simulated devices, in interpret mode, against the plain form.

Prints, by mesh, the largest differences of the values and of the gradients by query, key and value, each divided by
the largest number of the plain form.
"""

import json

import jax
import jax.numpy as jnp

from vqdiffusion_jax.models import attention as module
from vqdiffusion_jax.sharding import make_mesh

MESHES = ((4, 1, 1), (1, 4, 1), (2, 2, 1), (2, 1, 2), (1, 1, 4))


def loss(*qkv_and_weights, form):
    *qkv, weights = qkv_and_weights
    mixed = form(*qkv).astype(jnp.float32)
    return (mixed * weights).sum(), mixed


def values_and_gradients(form, arrays):
    step = jax.value_and_grad(lambda *given: loss(*given, form=form), argnums=(0, 1, 2), has_aux=True)
    (_, mixed), gradients = jax.jit(step)(*arrays)
    return [array.astype(jnp.float32) for array in (mixed, *gradients)]


def main():
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((4, 128, 8, 64), (4, 77, 8, 64), (4, 77, 8, 64), (4, 128, 8, 64))
    arrays = [jax.random.normal(key, shape, "bfloat16") for key, shape in zip(keys, shapes)]
    wants = values_and_gradients(lambda *qkv: module.attention(*qkv, implementation="xla"), arrays)
    # Interpreted kernels run on any platform: the choice by platform is replaced by the TPU's branch.
    module.jax.lax.platform_dependent = lambda *given, tpu, default: tpu(*given, interpret=True)
    report = {}
    for sizes in MESHES:
        with jax.set_mesh(make_mesh(*sizes)):
            program = jax.make_jaxpr(lambda *qkv: module._xla_or_fused(*qkv, causal=False))(*arrays[:3])
            gots = values_and_gradients(lambda *qkv: module._xla_or_fused(*qkv, causal=False), arrays)
        report[str(sizes)] = {
            "is sharded": "shard_map" in str(program) and "pallas_call" in str(program),
            "apart": [float(abs(got - want).max() / abs(want).max()) for got, want in zip(gots, wants)],
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
