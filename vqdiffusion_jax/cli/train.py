"""``--mode=train``: a configuration, a data set and a folder to work in."""

from __future__ import annotations

import json

from absl import flags
from ml_collections import config_flags

from .checkpoints import companions

_MODE = "mode train"

config_flags.DEFINE_config_file("config", None, "A file of configs/; change a field with --config.a.b=c.")
flags.DEFINE_string("workdir", None, "train: folder for checkpoints, metrics and pictures; a run there is continued.", module_name=_MODE)
flags.DEFINE_string("init_from", None, "train: start from a model folder, a diffusers folder or a .pth file.", module_name=_MODE)
flags.DEFINE_string("coordinator", None, "train: host:port of process 0, where no cluster says so.", module_name=_MODE)
flags.DEFINE_integer("num_processes", None, "train: how many there are, with --coordinator.", module_name=_MODE)
flags.DEFINE_integer("process_id", None, "train: which one this is, with --coordinator.", module_name=_MODE)

FLAGS = flags.FLAGS


def main() -> None:
    if FLAGS.config is None:
        raise ValueError("--config is needed, e.g. --config=configs/coco.py")
    if not FLAGS.workdir:
        raise ValueError("--workdir is needed: a folder for checkpoints, metrics and pictures")
    join_processes()

    import jax

    from ..data.loader import make_loader
    from ..data.token_cache import codec_fingerprint
    from ..sharding import make_mesh
    from ..training.config import train_config
    from ..training.initial import gather_parts
    from ..training.loop import train

    config = train_config(FLAGS.config)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    config.check_mesh(mesh)
    cached = bool(config.data.get("cache"))
    files = companions()
    parts = gather_parts(
        config, init_from=FLAGS.init_from, codec=files.pop("codec", None), clip=files.pop("clip", None), needs_codec=not cached, **files
    )
    count = jax.process_count()
    if config.batch_size % count:
        raise ValueError(f"batch_size {config.batch_size} is not divisible by the {count} processes")

    def loader(split: str):
        return make_loader(
            config.data, config.model, split=split, batch_size=config.batch_size // count, seed=config.seed, workers=config.workers,
            process_index=jax.process_index(), process_count=count, tokenizer=parts.tokenizer,
            codec_fingerprint=codec_fingerprint(parts.codec) if cached and parts.codec is not None else None,
        )  # fmt: skip

    validation = loader("validation") if config.watch.eval_every else None
    outcome = train(config, FLAGS.workdir, loader("train"), parts, validation=validation, mesh=mesh)
    if jax.process_index() == 0:
        print(json.dumps({"step": outcome.step, "stopped": outcome.stopped}))


def join_processes() -> None:
    """``jax.distributed``: as the flags say, or with --distributed as Slurm, GKE, Open MPI and TPU pods tell JAX."""
    import jax

    if FLAGS.coordinator:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    elif FLAGS.distributed:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"--distributed, but JAX finds no cluster: {str(error).splitlines()[0]}; give --coordinator") from error
