"""``--mode=reduce_codebook``: write a table of the codes that a data set uses, and a codec with these alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from absl import flags

from .checkpoints import codec_compute

SHARED = ("config", "codec", "codec_config", "out", "dtype", "seed", "batch_size", "progress")
_MODE = "mode reduce_codebook"

flags.DEFINE_integer(
    "least", 1, "reduce_codebook: how often a code must occur to be kept.", lower_bound=1, module_name=_MODE
)
flags.DEFINE_integer(
    "batches",
    0,
    "reduce_codebook: how many to look at; 0: as many as one pass takes.",
    lower_bound=0,
    module_name=_MODE,
)
flags.DEFINE_string(
    "reduced_codec", None, "reduce_codebook: also write a codec folder that keeps only these codes.", module_name=_MODE
)

FLAGS = flags.FLAGS


def main() -> None:
    import jax.numpy as jnp
    import numpy as np

    from ..data.loader import make_loader
    from ..files import check_empty, write_whole
    from ..hub import locate
    from ..loading import load_codec
    from ..progress import watched
    from ..training.config import plain
    from ..training.vqgan.codebook_usage import codebook_use
    from ..training.vqgan.reduce_codebook import count_codes, kept_codes

    if FLAGS.config is None:
        raise ValueError("--config is needed: it names the data set, e.g. --config=configs/vqgan_emoji.py")
    if not FLAGS.codec:
        raise ValueError("--codec is needed: a codec folder, or a file with --codec_config")
    out = Path(FLAGS.out)
    if not FLAGS["out"].present or out.suffix != ".npy":
        raise ValueError("--out is needed: the table to write, a file that ends in .npy")
    if FLAGS.reduced_codec:
        check_empty(FLAGS.reduced_codec)
    config, place = plain(FLAGS.config), locate(FLAGS.codec, "codec").path
    size = None if place.is_dir() else config.get("codec", config.get("model", {}).get("codec", {})).get("image_size")
    codec = load_codec(place, config=FLAGS.codec_config, image_size=size, compute=codec_compute())
    if codec.config.reduced_codebook_size is not None:
        raise ValueError(
            f"{place} keeps {codec.config.num_codes} of its {codec.config.codebook_size} codes already;"
            " give the whole codec"
        )

    data = config["data"] | {"cache": ""}
    loader = make_loader(
        data,
        codec.config,
        split="train",
        batch_size=FLAGS.batch_size or 32,
        seed=FLAGS.seed or 0,
        workers=config["workers"],
    )
    total = FLAGS.batches or -(-loader.num_examples // loader.batch_size)
    batches = iter(loader)
    try:
        shown = watched(islice(batches, total), wanted=FLAGS.progress, total=total, unit="batch")
        counts = count_codes(codec, shown, seed=FLAGS.seed or 0)
    finally:
        batches.close()
    table = kept_codes(counts, least=FLAGS.least)
    out.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(out) as file, open(file, "wb") as stream:
        np.save(stream, table)
    share, perplexity = codebook_use(jnp.asarray(counts, jnp.float32))
    print(
        f"{counts.sum()} tokens use {100 * float(share):.1f} % of {len(table)} codes,"
        f" perplexity {float(perplexity):.1f}"
    )
    print(f"written: {out}: {table.max() + 1} codes are kept, 0 standing for all others")
    if FLAGS.reduced_codec:
        _write_reduced(codec, table, Path(FLAGS.reduced_codec))
        print(f"written: {FLAGS.reduced_codec}")


def _write_reduced(codec, table, folder: Path) -> None:
    from ..loading import write_folder
    from ..training.vqgan.reduce_codebook import reduced_part

    write_folder(folder, reduced_part(codec, table), None, provenance=f"Keeps {table.max() + 1} of {len(table)} codes.")
