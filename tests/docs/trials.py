"""The trial of a documented command: stand-ins for files and presets, and just enough work to show that it runs.

A document's training runs for hours on downloads, and to compile a single step takes longer than all the rest of its
command; its trial reads flags, configuration, data and models, with networks of a few thousand numbers under the
presets' names, checks a batch of each split against the model, and stops where the first step would be compiled (that
steps are taken is tested in tests/training/test_command.py).  It leaves a stand-in where it would write, for the
commands that read it.  What has no stand-in (the networks of FID, the CLIP score and the judge; several devices or
processes) is not run.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import grain  # noqa: F401  defines a flag of its own, which must not be forgotten with those of a command
import jax
from absl import flags

from tests.docs.stand_ins import EMBEDDED as EMBEDDED_FOLDER
from tests.docs.stand_ins import small_codecs, small_presets
from vqdiffusion_jax import presets
from vqdiffusion_jax.embedded import DEFAULT as EMBEDDED
from vqdiffusion_jax.embedded import NAMES
from vqdiffusion_jax.lora_files import FILE, write_lora
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.lora import init
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.random_keys import key_of
from vqdiffusion_jax.training.loop import Outcome

BEGUN = ("configs/vqgan_emoji.py", "my_model.py")
_STEPS = (
    "--config.steps=1",
    "--config.batch_size=2",
    "--config.accumulation=1",
    "--config.workers=0",
    "--config.watch.sample_every=0",
)
_PICTURES = (
    "--set=num_samples=2",
    "--set=num_inference_steps=2",
    "--set=num_reference=2",
    "--set=num_likelihood=2",
    "--noprogress",
)
_FEWER = {
    "train": _STEPS,
    "train_vqgan": _STEPS,
    "tokenize": ("--config.workers=0", "--noprogress"),
    "reduce_codebook": ("--config.workers=0", "--batches=2", "--batch_size=8", "--noprogress"),
    "eval": _PICTURES,
    "step_schedule": (),
    "convert": (),
}
_ABSENT = ("inception", "score_clip", "judge")  # flags of networks that have no stand-in
_SCENES = 8  # examples in place of thousands


def changes_for_trial() -> list[str] | None:
    """Return flags to add to those that are set, so that the command can be run; None if it cannot."""
    given = flags.FLAGS
    if given.mode == "sample":
        return _changes_for_sample(given)
    if given.mode not in _FEWER or given.distributed or given.coordinator or any(given[name].value for name in _ABSENT):
        return None
    config = given.config
    if config is not None and config.mesh.data * config.mesh.fsdp * config.mesh.tensor > 1:
        return None
    if given.mode in ("train", "train_vqgan"):
        _put_stand_in(Path(given.workdir) / "model", EMBEDDED_FOLDER if given.mode == "train" else "codec")
        if getattr(config, "lora", None) and config.lora.rank:
            _put_lora(Path(given.workdir) / FILE)
        if given["config"].config_filename not in BEGUN:
            return None
    if config is not None and "own_pictures" in given["config"].config_filename:
        return None  # it chooses sizes that no stand-in has
    scenes = given.mode == "tokenize" and config.data.source == "scenes"
    return [*_FEWER[given.mode], *[f"--config.data.options.length={_SCENES}"] * scenes]


def _changes_for_sample(given) -> list[str] | None:
    """The embedded model's stand-in draws; what would take long goes as far as --dry_run."""
    if given.distributed or given.coordinator or given.compiled:
        return None
    if given.again or given.dry_run:
        return []
    checkpoint = given.checkpoint or EMBEDDED
    embedded = checkpoint in NAMES
    short = embedded and given.image is None and given.mesh is None
    return [f"--checkpoint={checkpoint}"] * embedded + ["--dry_run"] * (not short)


@contextmanager
def trial(arguments: list[str]):
    """Small presets, and a table that is left out as it takes longer than all the rest."""
    with ExitStack() as patches:
        patches.enter_context(mock.patch.dict(presets.PRESETS, small_presets()))
        patches.enter_context(mock.patch.dict(presets.CODECS, small_codecs()))
        dry = "--dry_run" in arguments
        patches.enter_context(
            mock.patch("vqdiffusion_jax.cli.dry_run.describe", return_value="") if dry else nullcontext()
        )
        patches.enter_context(mock.patch("vqdiffusion_jax.training.loop.train", _begin))
        yield


def _put_stand_in(place: Path, name: str) -> None:
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(name).resolve())


def _put_lora(file: Path) -> None:
    """Write a LoRA of the stand-ins of text."""
    shapes = shapes_of(Denoiser, small_presets()["ithq"].denoiser)
    write_lora(file, init(shapes, rank=1, alpha=1.0, key=key_of(0)))


def _begin(task, workdir, loader, *, validation=None, profile=None) -> Outcome:
    """``training.loop.train`` up to its first step."""
    jax.tree.leaves(task.abstract_state())
    for split in (loader,) if validation is None else (loader, validation):
        batches = iter(split)
        task.check_batch(next(batches))
        if hasattr(batches, "close"):
            batches.close()
    return Outcome(0, stopped=True, state=None)
