"""The next embedded model, from drawings to a model folder, on two CPU cores; repeated, it goes on where it stopped.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

Drawings, codebook and tokens take minutes and are made once; decoder and denoiser take hours
(configs/vqgan_emoji300.py, configs/emoji300.py).  The model folder is OUT/denoiser/model, written at the end.
``--parts=denoiser`` and so on do a part alone: decoder and denoiser may learn at once.  Ctrl-C and SIGTERM save.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from configs import emoji300, vqgan_emoji300
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.compositions.vocabulary import choose_concepts
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.loading import load_codec

from ._emoji_codebook import write_codec
from ._emoji_tokens import write_cache
from .emoji_gpu import run, train

PARTS = ("drawings", "codebook", "tokens", "decoder", "denoiser")
VALIDATION = 512  # examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default all, in this order")
    parser.add_argument(
        "--packages", type=Path, help="folder of the drawings' packages, where they are downloaded already"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        _MAKE[part](options.out, options.packages)


def drawings(out: Path, packages: Path | None) -> None:
    if not (out / "drawings").exists():
        told = [f"--packages={packages}"] if packages else []
        run("drawings", ["-m", "vqdiffusion_jax.data.emoji", f"--out={out / 'drawings'}", "--size=128", *told])


def codebook(out: Path, packages: Path | None) -> None:
    if not (out / "codebook").exists():
        settings: dict[str, Any] = dict(vqgan_emoji300.OPTIONS)
        library = Library(out / "drawings", choose_concepts(settings.pop("concepts")), **settings)
        print("codebook:", json.dumps(write_codec(out / "codebook", vqgan_emoji300.CODEC, library)), flush=True)


def tokens(out: Path, packages: Path | None) -> None:
    codec = load_codec(out / "codebook")
    configuration: Any = emoji300.get_config()
    settings = configuration.data.options.to_dict()
    for split, length in (("train", emoji300.EXAMPLES), ("validation", VALIDATION)):
        told = settings | {"length": length}
        source = Compositions(out / "drawings", split, **told)
        write_cache(out / "tokens", source, emoji300.model(), codec, split=split, options=told)


def decoder(out: Path, packages: Path | None) -> None:
    given = [f"--config.data.root={out / 'drawings'}", f"--init_from={out / 'codebook'}"]
    train("decoder", "train_vqgan", "configs/vqgan_emoji300.py", out / "decoder", *given)


def denoiser(out: Path, packages: Path | None) -> None:
    better = out / "decoder" / "model"
    codec = better if better.exists() else out / "codebook"
    given = [f"--config.data.root={out / 'drawings'}", f"--config.data.cache={out / 'tokens'}", f"--codec={codec}"]
    train("denoiser", "train", "configs/emoji300.py", out / "denoiser", *given)


_MAKE = {"drawings": drawings, "codebook": codebook, "tokens": tokens, "decoder": decoder, "denoiser": denoiser}


if __name__ == "__main__":
    main()
