"""``--mode=tokenize``: write a token cache, the data set of a --config as codec tokens and text ids."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ..storage.addresses import address_of
from .checkpoints import COMPANIONS, checkpoint, codec_compute, companions
from .data_account import tell
from .processes import PROCESSES
from .tools import chosen_seed, part_of

SHARED = ("config", "out", "checkpoint", *COMPANIONS, "dtype", "seed", "batch_size", "progress", *PROCESSES)

_WHERE = "mode tokenize"

flags.DEFINE_list("split", ["train", "validation"], "tokenize: which parts of the data set.", module_name=_WHERE)
flags.DEFINE_integer("crops", 1, "tokenize: random crops of each training picture.", lower_bound=1, module_name=_WHERE)
flags.DEFINE_integer(
    "shard_size",
    4096,
    "tokenize: examples a file; a stopped run repeats at most one.",
    lower_bound=1,
    module_name=_WHERE,
)
flags.DEFINE_string(
    "part",
    None,
    "tokenize: i/n, write part i (from 0) of n; by default, with --distributed or --coordinator, the processes share.",
    module_name=_WHERE,
)

FLAGS = flags.FLAGS


def main() -> None:
    import jax

    from ..config import from_dict
    from ..data.cache_writer import done_before, write_cache
    from ..data.config import DataConfig
    from ..multihost import barrier
    from ..progress import watched
    from ..training.denoiser.config import train_config
    from .processes import join_processes

    seed = chosen_seed()
    join_processes()
    if FLAGS.config is None:
        raise ValueError("--config is needed: it names the data set and the model, e.g. --config=configs/coco.py")
    config = train_config(FLAGS.config)
    data = from_dict(DataConfig, config.data, where="data")
    if not (FLAGS["out"].present or data.cache):
        raise ValueError("--out is needed: the folder to write to (or set data.cache in the config)")
    if not FLAGS["out"].present and address_of(data.cache) is not None:
        raise ValueError(f"data.cache is {data.cache}; to write a cache there, say so with --out={data.cache}")
    out = Path(FLAGS.out if FLAGS["out"].present else data.cache)
    if FLAGS.part is not None and jax.process_count() > 1:
        raise ValueError(
            f"--part={FLAGS.part}, but the {jax.process_count()} processes of this run divide the shards themselves;"
            " leave it out"
        )
    process_index, process_count = jax.process_index(), jax.process_count()
    if FLAGS.part is not None:
        process_index, process_count = part_of(FLAGS.part)
    codec, tokenizer = _codec_and_tokenizer(config.model)
    for split in FLAGS.split:
        done = write_cache(
            data,
            config.model,
            codec,
            out,
            split=split,
            crops=FLAGS.crops if split == "train" else 1,
            seed=seed,
            batch_size=FLAGS.batch_size or 32,
            shard_size=FLAGS.shard_size,
            process_index=process_index,
            process_count=process_count,
            workers=config.workers,
            tokenizer=tokenizer,
            opened=lambda source, split=split: tell(source, f"{data.source} at {data.root}", split),
            progress=lambda items, total, split=split: watched(
                items, wanted=FLAGS.progress, total=total, desc=split, unit="image"
            ),
        )
        if not done["shards"]:
            print(f"complete already: {out / split}: {done_before(out / split, process_index, process_count)}")
            continue
        print(
            f"written: {out / split}: {done['shards']} shards, {done['examples']} examples,"
            f" {done['broken']} broken ones left out{_without_caption(done)}"
        )
    barrier("shards are written")  # JAX ends all processes soon after the first has ended


def _without_caption(done: dict[str, int]) -> str:
    return f", and {done['without_caption']} without a caption" if "without_caption" in done else ""


def _codec_and_tokenizer(model):
    """Return the codec and tokenizer of --checkpoint, or the codec of --codec and no tokenizer."""
    from ..hub import locate
    from ..loading import load_codec, load_model

    compute = codec_compute()
    if FLAGS.checkpoint:
        source, tokenizer = load_model(checkpoint(), compute=compute, **companions())
        return source.codec, tokenizer
    if not FLAGS.codec:
        raise ValueError(
            "a codec is needed: --checkpoint=MODEL, or --codec=FILE_OR_FOLDER,"
            " with --codec_config and --mapping for a file"
        )
    place = locate(FLAGS.codec, "codec").path
    size = None if place.is_dir() else model.codec.image_size  # files do not tell it, converted folders do
    codec = load_codec(place, config=FLAGS.codec_config, mapping=FLAGS.mapping, image_size=size, compute=compute)
    return codec, None
