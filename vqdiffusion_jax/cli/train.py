"""``--mode=train``: a denoiser from a configuration, a data set and a folder to work in."""

from __future__ import annotations

from dataclasses import replace

from absl import flags

from .checkpoints import COMPANIONS, companions
from .processes import PROCESSES, join_processes
from .profile import PROFILE
from .training import check_flags, mesh_of, run

SHARED = (*COMPANIONS, *PROCESSES, *PROFILE)

flags.DEFINE_string(
    "init_from",
    None,
    "train: start from a model folder, a diffusers folder or a .pth file; train_vqgan: from a codec.",
    module_name="mode train",
)

FLAGS = flags.FLAGS


def main() -> None:
    check_flags("configs/coco.py")
    join_processes()

    import jax

    from ..data.loader import make_loader
    from ..data.records import known_words_of
    from ..data.token_cache import codec_fingerprint, read_manifest
    from ..storage.copies import here
    from ..training.denoiser.config import train_config
    from ..training.denoiser.init_from import load_pretrained
    from ..training.denoiser.task import DenoiserTask

    config = train_config(FLAGS.config)
    mesh = mesh_of(config)
    cached = bool(config.data.get("cache"))
    files = companions()
    pretrained = load_pretrained(
        config,
        init_from=FLAGS.init_from,
        codec=files.pop("codec", None),
        clip=files.pop("clip", None),
        needs_codec=not cached,
        **files,
    )
    fingerprint = codec_fingerprint(pretrained.codec) if cached and pretrained.codec is not None else None
    if cached and pretrained.codec is None:
        made_by = read_manifest(here(config.data["cache"]) / "train").get("codec_fingerprint")
        pretrained = replace(pretrained, codec_fingerprint=made_by)

    task = DenoiserTask(config, pretrained, mesh)

    def loader(split: str):
        made = make_loader(
            config.data,
            config.model,
            split=split,
            batch_size=config.batch_size // jax.process_count(),
            seed=config.seed,
            workers=config.workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            tokenizer=pretrained.tokenizer,
            codec_fingerprint=fingerprint,
            short_batches=True,
        )
        if split == "train":
            task.known_words = known_words_of(made.source)
        return made

    run(task, loader)
