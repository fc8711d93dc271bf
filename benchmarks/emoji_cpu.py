"""The next embedded model, from drawings to a model folder, on two CPU cores; repeated, it goes on where it stopped.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

Drawings, codebook and tokens take minutes and are made once; decoder and denoiser take hours
(configs/vqgan_emoji300.py, configs/emoji300.py).  The model folder is OUT/denoiser/model, written at the end.
``--parts denoiser`` and so on do a part alone: decoder and denoiser may learn at once.  Ctrl-C and SIGTERM save.
``--parts snapshot`` writes OUT/snapshot/model from what was saved last, while they learn.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from configs import emoji300, vqgan_emoji300
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.loading import load_codec
from vqdiffusion_jax.text.known_words import read_words

from ._emoji_codebook import write_codec
from ._emoji_snapshot import box_psnr, write_snapshot
from ._emoji_tokens import write_cache
from .emoji_gpu import run

PARTS = ("drawings", "codebook", "tokens", "decoder", "denoiser")
SNAPSHOT = "snapshot"
VALIDATION = 512  # examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument(
        "--parts", nargs="+", choices=(*PARTS, SNAPSHOT), default=PARTS, help="default all but snapshot"
    )
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
        told = write_codec(out / "codebook", vqgan_emoji300.CODEC, library_of(out))
        print("codebook:", json.dumps(told), flush=True)


def library_of(out: Path) -> Library:
    settings: dict[str, Any] = dict(vqgan_emoji300.OPTIONS)
    return Compositions(out / "drawings", "train", **settings).library


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
    train("train_vqgan", "configs/vqgan_emoji300.py", out / "decoder", *given)


def denoiser(out: Path, packages: Path | None) -> None:
    better = out / "decoder" / "model"
    codec = better if better.exists() else out / "codebook"
    given = [f"--config.data.root={out / 'drawings'}", f"--config.data.cache={out / 'tokens'}", f"--codec={codec}"]
    train("train", "configs/emoji300.py", out / "denoiser", *given)


def snapshot(out: Path, packages: Path | None) -> None:
    words = read_words(out / "tokens" / "train")
    assert words is not None  # as the cache was written
    tables = vqgan_emoji300.get_config(), emoji300.get_config()
    steps = write_snapshot(out / SNAPSHOT, out / "codebook", out / "decoder", out / "denoiser", tables, words)
    made = out / SNAPSHOT / "codec" / "model" if steps[0] else out / "codebook"
    told = {name: round(value, 2) for name, value in box_psnr(load_codec(made), library_of(out)).items()}
    print(f"PSNR inside drawings, dB, after {steps[0]} steps: {json.dumps(told)}")
    print(f"written: {out / SNAPSHOT}, decoder of {steps[0]} and denoiser of {steps[1]} steps")


def train(mode: str, config: str, workdir: Path, *flags: str) -> None:
    """Train until the end.  Exits if training fails or is stopped; SIGTERM is handed on to it, so that it saves."""
    arguments = ["main.py", f"--mode={mode}", f"--config={config}", f"--workdir={workdir}", *flags]
    process = subprocess.Popen([sys.executable, *arguments])
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:  # the terminal has told it too
            continue
    if status:
        raise SystemExit(f"training in {workdir} failed")
    if not (workdir / "model").exists():
        raise SystemExit(f"training in {workdir} was stopped; repeat the command to go on")


_MAKE = {
    "drawings": drawings,
    "codebook": codebook,
    "tokens": tokens,
    "decoder": decoder,
    "denoiser": denoiser,
    SNAPSHOT: snapshot,
}


if __name__ == "__main__":
    main()
