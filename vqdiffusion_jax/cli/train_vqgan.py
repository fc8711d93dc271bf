"""``--mode=train_vqgan``: an image codec from a configuration, a data set and a folder to work in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from .processes import PROCESSES, join_processes
from .profile import PROFILE
from .training import check_flags, mesh_of, run

if TYPE_CHECKING:
    from ..models.vqgan import VQGAN
    from ..training.vqgan.config import VQGANTrainConfig

SHARED = ("config", "workdir", "init_from", *PROCESSES, *PROFILE)

FLAGS = flags.FLAGS


def main() -> None:
    check_flags("configs/vqgan_emoji.py")
    join_processes()

    import jax

    from ..data.loader import make_loader
    from ..training.config import run_config
    from ..training.vqgan.config import VQGANTrainConfig
    from ..training.vqgan.perceptual import load_lpips
    from ..training.vqgan.task import VQGANTask

    config = run_config(VQGANTrainConfig, FLAGS.config)
    mesh = mesh_of(config)
    weights = config.reconstruction
    lpips = load_lpips(weights.vgg, weights.lins) if weights.perceptual else None

    def loader(split: str):
        return make_loader(
            config.data,
            config.codec,
            split=split,
            batch_size=config.batch_size // jax.process_count(),
            seed=config.seed,
            workers=config.workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            short_batches=True,
        )

    shown = None
    if config.watch.sample_every:  # the same pictures in every process
        split = "validation" if config.watch.eval_every else "train"
        few = make_loader(
            config.data,
            config.codec,
            split=split,
            batch_size=config.watch.num_samples,
            seed=config.seed,
            short_batches=True,
        )
        batches = iter(few)
        shown = next(batches)["images"][: few.num_examples]  # training's go round: each once
        batches.close()
    codec, report = _start(config)
    run(
        VQGANTask(config, mesh, codec=codec, lpips=lpips, shown=shown, report=report),
        loader,
        shown=None if shown is None else len(shown),
    )


def _start(config: VQGANTrainConfig) -> tuple[VQGAN | None, tuple[str, ...]]:
    """Return the codec of --init_from, which must have the config's sizes, and a line that says so; else (None, ())."""
    from ..errors import ConfigError
    from ..hub import locate
    from ..loading import load_codec

    if not FLAGS.init_from:
        if config.decoder_only:
            raise ConfigError(
                "decoder_only is True, but there is no codec whose decoder to train; name one with --init_from"
            )
        return None, ()

    place = locate(FLAGS.init_from, "codec").path
    codec = load_codec(place, image_size=None if place.is_dir() else config.codec.image_size, compute=config.compute)
    if codec.config != config.codec:
        raise ConfigError(f"{place} holds a codec of other sizes than the config; it has {codec.config}")
    return codec, (f"starting from {FLAGS.init_from}",)
