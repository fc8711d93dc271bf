"""The model of a run that has not ended, as one model folder, and how well its codec shows drawings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqdiffusion_jax.checkpoint import TrainingCheckpoints
from vqdiffusion_jax.data.compositions.composition import Composition, Thing
from vqdiffusion_jax.data.compositions.layouts import FULL, PLACES
from vqdiffusion_jax.data.compositions.library import Library
from vqdiffusion_jax.data.compositions.render import render
from vqdiffusion_jax.models.vqgan import VQGAN, images_to_float, to_uint8
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
    """Write ``out``/codec/model and ``out``/model from the newest checkpoints of two training folders.

    codec: folder of the codec that both started from.  decoder: where its decoder is trained.  configs: the tables that
    decoder and denoiser are trained by.  Returns the steps of decoder and denoiser; what has no checkpoint yet has 0,
    and without a denoiser there is no model.
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
    if found is not None:
        task.export(found[1], out)
    return codec_step, 0 if found is None else found[0]


def box_psnr(codec: VQGAN, library: Library, *, batch: int = 32) -> dict[str, float]:
    """Return PSNR (dB) inside drawings' squares, of all drawings on white, large and small: means and worst tenths."""
    found = {}
    for name, cells in (("large", FULL), ("small", PLACES["centre"])):
        x, y, side = cells[0]
        pictures = [
            render(Composition(things=(thing,), cells=cells, background="white"), library)
            for concept in library.concepts
            for style, row in library.styles_of(concept).items()
            for thing in [Thing(drawing=row, concept=concept, style=style)]
        ]
        errors = _errors(codec, np.stack(pictures), batch)
        found |= _psnr(name, errors[:, y : y + side, x : x + side])
    return found


def photograph_psnr(codec: VQGAN, photographs: np.ndarray, *, batch: int = 32) -> dict[str, float]:
    """Return PSNR (dB) of photographs (n, height, width, 3) uint8 of the codec's size: mean and worst tenth."""
    return _psnr("photographs", _errors(codec, photographs, batch))


def _errors(codec: VQGAN, shown: np.ndarray, batch: int) -> np.ndarray:
    """Return squared errors (n, height, width, 3) of reconstructions rounded to pixels, as they are saved."""
    encode_decode = jax.jit(lambda images: to_uint8(codec.decode(codec.encode(images)), rounding="round"))
    filled = np.concatenate([shown, np.repeat(shown[-1:], -len(shown) % batch, axis=0)])
    made = [np.asarray(encode_decode(images_to_float(part))) for part in np.split(filled, len(filled) // batch)]
    return np.square(np.concatenate(made)[: len(shown)].astype(np.float32) - shown)


def _psnr(name: str, errors: np.ndarray) -> dict[str, float]:
    each = 10 * np.log10(255**2 / np.maximum(errors.mean((1, 2, 3)), 1e-3))
    return {name: float(each.mean()), f"{name}, worst tenth": float(np.quantile(each, 0.1))}


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
