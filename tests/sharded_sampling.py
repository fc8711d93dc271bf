"""Run by test_sharding.py in a process of its own, which sees 8 devices: draws on several meshes and prints JSON."""

import json
import sys

import jax
import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.sharding import make_mesh

MESHES = {"data": (8, 1, 1), "fsdp": (1, 8, 1), "tensor": (1, 1, 8), "mixed": (2, 2, 2)}


def main(folder: str) -> None:
    prompts = ["a red apple", "a dog", "a cat", "a house", "the sea", "a dog", "night", "a pear"]
    settings = {"guidance_scale": 3.0, "truncation_rate": 0.9, "seed": 5, "output_type": "uint8", "batch_size": 8}
    single = VQDiffusionPipeline.from_pretrained(folder)(prompts, **settings)
    report = {"devices": jax.device_count(), "meshes": {}}
    for name, sizes in MESHES.items():
        pipeline = VQDiffusionPipeline.from_pretrained(folder, mesh=make_mesh(*sizes))
        leaves = leaves_by_path(pipeline.model)
        out = pipeline(prompts, **settings)
        report["meshes"][name] = {
            "same tokens": bool(np.array_equal(out.tokens, single.tokens)),
            "pixels apart": int(np.abs(out.images.astype(int) - single.images).max()),
            "mlp": str(leaves["denoiser.blocks.mlp.up.kernel"].sharding.spec),
            "query share": leaves["denoiser.blocks.self_attention.query.kernel"].addressable_shards[0].data.size
            / leaves["denoiser.blocks.self_attention.query.kernel"].size,
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
