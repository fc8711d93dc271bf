"""The model of a run that has not ended: the newest decoder and denoiser that were saved, as one model folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from vqdiffusion_jax.checkpoint import TrainingCheckpoints
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.text.known_words import KnownWords
from vqdiffusion_jax.training.config import run_config
from vqdiffusion_jax.training.denoiser.config import TrainConfig
from vqdiffusion_jax.training.denoiser.init_from import load_pretrained
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.vqgan.config import VQGANTrainConfig
from vqdiffusion_jax.training.vqgan.task import VQGANTask


def write_snapshot(
    out: Path, codec: Path, decoder: Path, denoiser: Path, configs: tuple[Any, Any], words: KnownWords
) -> tuple[int, int]:
    """Write ``out``/model from the newest checkpoints of two training folders; return their steps.

    codec: folder of the codec that both started from.  decoder: where its decoder is trained; 0 steps if there is no
    checkpoint yet.  configs: the tables that decoder and denoiser are trained by.
    """
    mesh = make_mesh()
    codec_task = VQGANTask(run_config(VQGANTrainConfig, configs[0]), mesh, fresh=False)
    codec_step, codec_state = newest(decoder, codec_task) or (0, None)
    if codec_state is not None:
        codec_task.export(codec_state, out / "codec")
        codec = out / "codec" / "model"
    config = run_config(TrainConfig, configs[1])
    task = DenoiserTask(config, load_pretrained(config, codec=codec), mesh)
    task.known_words = words
    found = newest(denoiser, task)
    if found is None:
        raise SystemExit(f"{denoiser} has no checkpoint yet")
    task.export(found[1], out)
    return codec_step, found[0]


def newest(folder: Path, task: Any) -> tuple[int, Any] | None:
    """Return step and state of the newest whole checkpoint of a training folder, which may be in use; or None."""
    steps = [int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    if not steps:
        return None
    with tempfile.TemporaryDirectory() as copied:  # whoever opens checkpoints tidies up there
        name = str(max(steps))
        shutil.copytree(folder / "checkpoints" / name, Path(copied) / name)
        checkpoints = TrainingCheckpoints(copied)
        try:
            found = checkpoints.restore(task.abstract_state())
        finally:
            checkpoints.close()
    return None if found is None else (found[0], found[1])
