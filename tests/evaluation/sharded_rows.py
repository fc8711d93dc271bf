"""The process with 4 devices in which test_likelihood.py computes rows on several meshes and on one device.

Writes them to an .npz.  Prints JSON: for each mesh the rows of a batch, and the number that each device computed.
"""

import json
import sys

import numpy as np

from tests.evaluation.toy import CODES, TOKENS, toy_model
from tests.evaluation.watching import watch
from tests.networks import random_network
from vqdiffusion_jax.batching import in_batches
from vqdiffusion_jax.evaluation import likelihood
from vqdiffusion_jax.evaluation.judge import Judge, JudgeConfig, verdict
from vqdiffusion_jax.evaluation.judge.extractors import JudgeFeatures
from vqdiffusion_jax.sharding import make_mesh, shard

MESHES = {"one": None, "data": (4, 1, 1), "mixed": (2, 2, 1)}
BATCH, COUNT = 2, 11  # a device, and rows in all, so that the last batch is filled up


def rows_on(mesh) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    terms = likelihood.make_terms(toy_model() if mesh is None else shard(toy_model(), mesh), seed=3)
    tokens = rng.integers(0, CODES, (COUNT, TOKENS), dtype=np.int32)
    nats = in_batches(lambda part: terms(*part), ({"tokens": tokens}, np.arange(COUNT)), BATCH, mesh=mesh)
    judge = random_network(
        Judge, JudgeConfig(concepts=("apple", "cat", "dog"), channels=(8, 8, 8, 8), groups=2, heads=4)
    )
    pictures = rng.integers(0, 256, (COUNT, 64, 64, 3), np.uint8)
    said = verdict.judge_pictures(judge, pictures, batch_size=BATCH, mesh=mesh)
    return {
        "nats": nats,
        "concept": said.concept,
        "features": JudgeFeatures(judge, mesh=mesh)(pictures)["judge_features"],
    }


def main(out: str) -> None:
    seen, rows, shares = {}, {}, {}
    for module, function in ((likelihood, "_terms"), (verdict, "_answers"), (verdict, "_features")):
        watch(module, function, seen)
    for name, sizes in MESHES.items():
        rows |= {f"{name} {what}": found for what, found in rows_on(sizes and make_mesh(*sizes)).items()}
        shares[name] = dict(seen)
    np.savez(out, **rows)
    print(json.dumps(shares))


if __name__ == "__main__":
    main(sys.argv[1])
