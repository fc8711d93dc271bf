"""The cost of reading in one version of the package: answers questions, one a line, until there are no more.

    PYTHONPATH=CHECKOUT python benchmarks/_reading.py DATA

``open``, a tab and a layout's name ask for the seconds of processor time in which a loader is made; ``read``, the name
and a number, with tabs between, for those of so many training examples.  It imports what earlier versions have too.
"""

import sys
import time
from pathlib import Path

import numpy as np

from vqdiffusion_jax.data import make_loader
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.examples import CachedExamples, PictureExamples
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.token_cache import TokenCache
from vqdiffusion_jax.presets import preset

MODEL = preset("ithq")
LAYOUTS = {
    "folder, texts": dict(source="folder"),
    "folder, .jsonl": dict(source="folder", options=dict(captions="captions.jsonl")),
    "COCO": dict(source="coco"),
    "tar shards": dict(source="tar_shards"),
    "parquet": dict(source="parquet"),
    "token cache": {},
}


def main() -> None:
    root, examples = Path(sys.argv[1]), {}
    for line in sys.stdin:
        question, name, *count = line.strip().split("\t")
        config = _config(root, name)
        if name not in examples:
            examples[name] = _examples(config)
            examples[name](0, np.random.default_rng(0))
        started = time.process_time()
        if question == "open":
            make_loader(config, MODEL, split="train", batch_size=1)
        else:
            for number in range(int(count[0])):
                chosen = number * 7919 % len(examples[name])
                examples[name](chosen, np.random.default_rng((0, number)))
        print(time.process_time() - started, flush=True)


def _config(root: Path, name: str) -> DataConfig:
    folder = str(root / name)
    return DataConfig(root=folder, **LAYOUTS[name]) if LAYOUTS[name] else DataConfig(cache=folder)


def _examples(config: DataConfig):
    if config.cache:
        return CachedExamples(TokenCache(Path(config.cache), "train", MODEL), MODEL, drop_rate=0.1)
    return PictureExamples(open_source(config, "train"), MODEL, drop_rate=0.1)


if __name__ == "__main__":
    main()
