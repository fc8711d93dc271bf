"""The embedded model, from drawings to a model folder, on two CPU cores; repeated, it goes on where it stopped.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

Drawings, codebook and tokens take minutes and are made once; decoder and denoiser take hours
(configs/vqgan_emoji300.py; configs/emoji300.py, then emoji300_pairs.py and emoji300_last.py).  The model folder is
OUT/last/model.
``--parts denoiser`` and so on do a part alone: decoder and denoiser may learn at once.  Ctrl-C and SIGTERM save.
``--parts snapshot`` writes OUT/snapshot/model from what was saved last, while they learn.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from configs import emoji300, emoji300_last, emoji300_pairs, vqgan_emoji300
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.loading import load_codec
from vqdiffusion_jax.text.known_words import read_words

from ._emoji_codebook import write_codec
from ._emoji_commands import run, train
from ._emoji_snapshot import box_psnr, write_snapshot
from ._emoji_tokens import write_cache

PARTS = ("drawings", "codebook", "tokens", "decoder", "denoiser", "pairs", "last")
_STAGES: dict[str, Any] = {"denoiser": emoji300, "pairs": emoji300_pairs, "last": emoji300_last}
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
    write_tokens(out, "tokens", emoji300.get_config())


def write_tokens(out: Path, name: str, configuration: Any) -> None:
    """Write the cache OUT/name of a training configuration's pictures."""
    codec, settings = load_codec(out / "codebook"), configuration.data.options.to_dict()
    for split, length in (("train", settings["length"]), ("validation", VALIDATION)):
        told = settings | {"length": length}
        source = Compositions(out / "drawings", split, **told)
        write_cache(out / name, source, emoji300.model(), codec, split=split, options=told)


def decoder(out: Path, packages: Path | None) -> None:
    given = [f"--config.data.root={out / 'drawings'}", f"--init_from={out / 'codebook'}"]
    train("train_vqgan", "configs/vqgan_emoji300.py", out / "decoder", *given)


def denoiser(out: Path, packages: Path | None) -> None:
    train("train", "configs/emoji300.py", out / "denoiser", *_given(out, "tokens"))


def pairs(out: Path, packages: Path | None) -> None:
    _later_part(out, "pairs", after="denoiser", tokens="pair_tokens")


def last(out: Path, packages: Path | None) -> None:
    _later_part(out, "last", after="pairs", tokens="last_tokens")


def _later_part(out: Path, part: str, *, after: str, tokens: str) -> None:
    write_tokens(out, tokens, _STAGES[part].get_config())
    first = f"--init_from={out / after / 'model'}"
    train("train", f"configs/emoji300_{part}.py", out / part, first, *_given(out, tokens))


def _given(out: Path, cache: str) -> list[str]:
    better = out / "decoder" / "model"
    codec = better if better.exists() else out / "codebook"
    return [f"--config.data.root={out / 'drawings'}", f"--config.data.cache={out / cache}", f"--codec={codec}"]


def snapshot(out: Path, packages: Path | None) -> None:
    words = read_words(out / "tokens" / "train")
    assert words is not None  # as the cache was written
    learning = next((one for one in ("last", "pairs") if (out / one / "checkpoints").exists()), "denoiser")
    tables = vqgan_emoji300.get_config(), _STAGES[learning].get_config()
    steps = write_snapshot(out / SNAPSHOT, out / "codebook", out / "decoder", out / learning, tables, words)
    made = out / SNAPSHOT / "codec" / "model" if steps[0] else out / "codebook"
    told = {name: round(value, 2) for name, value in box_psnr(load_codec(made), library_of(out)).items()}
    print(f"PSNR inside drawings, dB, after {steps[0]} steps: {json.dumps(told)}")
    print(f"written: {out / SNAPSHOT}, decoder of {steps[0]} and denoiser of {steps[1]} steps")


_MAKE = {
    "drawings": drawings,
    "codebook": codebook,
    "tokens": tokens,
    "decoder": decoder,
    "denoiser": denoiser,
    "pairs": pairs,
    "last": last,
    SNAPSHOT: snapshot,
}


if __name__ == "__main__":
    main()
