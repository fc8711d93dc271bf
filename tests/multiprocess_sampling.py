"""Run by test_sharding.py, once a process: draws its share of the pictures and prints JSON."""

import json
import sys

import jax

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.sharding import make_mesh

SETTINGS = {"num_images_per_prompt": 6, "seed": 5, "output_type": "uint8", "batch_size": 4, "guidance_scale": 2.0}


def main(folder: str, address: str, count: str, index: str) -> None:
    jax.distributed.initialize(address, int(count), int(index))
    pipeline = VQDiffusionPipeline.from_pretrained(folder, mesh=make_mesh(data=2, fsdp=2))
    out = pipeline("a red apple", **SETTINGS)
    assert len(out.images) == len(out.tokens) == len(out.indices)
    print(json.dumps({"devices": jax.device_count(), "indices": out.indices.tolist(), "tokens": out.tokens.tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
