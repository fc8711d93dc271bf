"""The two configurations of a folder, and the lines that tell what was chosen and how long it may take."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from ...config import (
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    VQGANConfig,
    to_dict,
)
from ...data.own_folder import OwnFolder, look_at
from ...flops import denoiser_flops, text_encoder_flops
from ...presets import preset
from ...processor import multiplies_bfloat16
from ..config_dict import train_config_dict, vqgan_config_dict
from ..vqgan.config import DiscriminatorConfig
from ..vqgan.flops import training_flops
from .choice import Choice, Machine, choose

_SEVERAL = ("--distributed", "--coordinator")


def codec_config(root: str) -> ConfigDict:
    """Return the configuration of a codec's training on the pictures in ``root``; print what was chosen."""
    folder, machine = _looked_at(root, "vqgan_own_pictures")
    chosen = choose(folder, machine)
    print("\n".join(told(root, folder, machine, chosen)), file=sys.stderr, flush=True)
    return vqgan_config_dict(**codec_fields(root, folder, machine, chosen))


def denoiser_config(root: str) -> ConfigDict:
    """Return the configuration of a denoiser's training on the pictures in ``root``; print what was chosen."""
    folder, machine = _looked_at(root, "own_pictures")
    chosen = choose(folder, machine)
    print("\n".join(told(root, folder, machine, chosen)), file=sys.stderr, flush=True)
    return train_config_dict(**denoiser_fields(root, folder, machine, chosen))


def this_machine(arguments: Sequence[str]) -> Machine:
    """Return the machine of this process, whose command line is ``arguments``.

    Raises ValueError for several processes, which must find each other before JAX tells its devices.
    """
    if several := next((a for a in arguments if a.startswith(_SEVERAL)), None):
        raise ValueError(
            f"{several}: the sizes are chosen for the devices of one process; run it without, with --mode=inspect, and"
            " write a configuration of your own with the sizes that it tells"
        )
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    platform = jax.default_backend()
    bfloat16 = platform != "cpu" or multiplies_bfloat16()
    return Machine(platform=platform, devices=jax.device_count(), cores=cores, bfloat16=bfloat16)


def _looked_at(root: str, name: str) -> tuple[OwnFolder, Machine]:
    if not root:
        raise ValueError(f"name the folder of pictures behind a colon: --config=configs/{name}.py:FOLDER")
    return look_at(root), this_machine(sys.argv[1:])


def codec_of(chosen: Choice) -> VQGANConfig:
    """Return the codec that is trained, and that the denoiser needs."""
    return VQGANConfig(
        quantizer="ema",
        codebook_size=chosen.codebook_size,
        embed_dim=32,
        image_size=chosen.image_size,
        channels=chosen.channels,
        channel_multipliers=chosen.channel_multipliers,
        num_res_blocks=1 if chosen.channels < 64 else 2,
        attention_levels=(),
        z_channels=4 * chosen.channels,
        norm_groups=8,
    )


def model_of(folder: OwnFolder, chosen: Choice) -> ModelConfig:
    """Return the model that is trained; a text tower is trained with the denoiser."""
    codec, text = codec_of(chosen), folder.condition == "text"
    emoji = preset("emoji")  # its text tower is small and 128 wide
    denoiser = DenoiserConfig(
        condition=folder.condition,
        num_codes=codec.num_codes,
        grid=codec.grid,
        position_grid=codec.grid,
        width=chosen.width,
        num_layers=chosen.num_layers,
        num_heads=chosen.width // (32 if chosen.width < 256 else 64),
        condition_width=128,
        condition_length=32,
        num_classes=folder.num_classes + 1 if folder.condition == "class" else 0,
        learnable_null=folder.condition != "none",
    )
    return ModelConfig(
        denoiser=denoiser,
        codec=codec,
        schedule=ScheduleConfig(num_codes=denoiser.num_codes, num_timesteps=denoiser.num_timesteps),
        objective=ObjectiveConfig(auxiliary_weight=1.0),
        sampling=SamplingDefaults(guidance_scale=1.5 if folder.condition != "none" else 1.0, truncation_rate=1.0),
        text_encoder=emoji.text_encoder if text else None,
        text_embedding=emoji.text_embedding if text else None,
        tokenizer=emoji.tokenizer if text else None,
    )


def codec_fields(root: str, folder: OwnFolder, machine: Machine, chosen: Choice) -> dict[str, Any]:
    """Return the fields of a VQGANTrainConfig."""
    steps = chosen.codec_steps
    return dict(
        codec=codec_of(chosen),
        reconstruction=dict(l1=0.5, l2=2.0),
        codebook=dict(decay=0.99 if steps > 2000 else 0.95),  # a short run must restart unused codes soon
        learning_rate=_cosine(1.0e-4, 1.0e-3, steps),
        ema=dict(decay=0.995 if steps > 1000 else 0.98, interval=1),
        watch=_watch(steps, chosen) | dict(num_samples=min(8, chosen.batch_size)),
        **_shared(root, folder, machine, chosen, steps),
    )


def denoiser_fields(root: str, folder: OwnFolder, machine: Machine, chosen: Choice) -> dict[str, Any]:
    """Return the fields of a TrainConfig."""
    steps = chosen.steps
    shared = _shared(root, folder, machine, chosen, steps)
    if folder.condition != "none":
        shared["data"] |= dict(drop_rate=0.1)
    watch = _watch(steps, chosen) | dict(
        prompts=folder.prompts if folder.condition == "text" else (),
        labels=tuple(range(min(folder.num_classes, 4))) if folder.condition == "class" else (),
        num_samples=2 if folder.condition != "none" else 8,
    )
    return dict(
        model=to_dict(model_of(folder, chosen)),
        train_text_encoder=folder.condition == "text",
        accumulation=chosen.accumulation,
        # Muon learns the text several times as fast as AdamW, whose steps drown the small gradients of rare words.
        optimizer=dict(name="muon", b2=0.99, clip_norm=1.0, decayed="matrices"),
        learning_rate=_cosine(1.0e-5, 1.5e-3, steps),
        # Over a twentieth of the run: a longer average of a short run still has the first, random weights in it.
        ema=dict(decay=min(max(1 - 100 / steps, 0.5), 0.99), interval=5),
        # In bfloat16 a CPU is so fast that copying the activations of layers in a loop would show.
        compute=dict(
            dtype="bfloat16" if machine.bfloat16 else "float32",
            remat=False,
            scan_layers=not (machine.is_cpu and machine.bfloat16),
        ),
        watch=watch,
        **shared,
    )


def _shared(root: str, folder: OwnFolder, machine: Machine, chosen: Choice, steps: int) -> dict[str, Any]:
    options = dict(captions=folder.captions) if folder.captions else {}
    if folder.condition == "class":
        options = dict(labels="folders")
    return dict(
        data=dict(
            source="folder",
            root=root,
            options=options,
            cache="",
            validation_fraction=chosen.validation_fraction,
        ),
        batch_size=chosen.batch_size,
        steps=steps,
        checkpoint=dict(every=max(steps // 8, 1)),
        workers=0 if machine.cores < 4 else min(machine.cores // 2, 8),
    )


def _cosine(start: float, peak: float, steps: int) -> dict[str, Any]:
    warmup = min(max(steps // 20, 1), 500)
    return dict(
        schedule="cosine", start=start, peak=peak, floor=1.0e-5, warmup_steps=warmup, total_steps=max(steps, warmup + 1)
    )


def _watch(steps: int, chosen: Choice) -> dict[str, Any]:
    every = max(steps // 4, 1)
    return dict(
        log_every=max(steps // 40, 1),
        eval_every=every if chosen.validates else 0,
        eval_batches=chosen.eval_batches,
        sample_every=every,
    )


def told(root: str, folder: OwnFolder, machine: Machine, chosen: Choice) -> list[str]:
    """Return two lines: what was found and chosen, and the time that training may take."""
    described = {"text": "with captions", "class": f"in {folder.num_classes} class folders", "none": "undescribed"}
    side, grid = chosen.image_size, chosen.grid
    held_out = "a validation split" if folder.has_splits else f"validation_fraction {chosen.validation_fraction:.4g}"
    there = f"{machine.cores} cores" if machine.is_cpu else f"{machine.devices} x {machine.platform}"
    codec, denoiser = costs(folder, chosen)
    guess = "a rate that was measured" if machine.is_cpu else "a rate that nobody has measured"
    return [
        f"own pictures: {root}: {folder.count:,} pictures {described[folder.condition]}, about {folder.side} pixels a"
        f" side, on {there}: {side} x {side} pixels as {grid} x {grid} tokens of {chosen.codebook_size} codes, a"
        f" denoiser of {chosen.num_layers} layers, {chosen.width} wide; batch {chosen.batch_size}, {held_out}",
        f"own pictures: {chosen.codec_steps:,} steps of the codec take about {duration(codec / machine.flops)} and"
        f" {chosen.steps:,} of the denoiser about {duration(denoiser / machine.flops)}: an estimate,"
        f" {(codec + denoiser) / 1e12:,.0f} TFLOP at {machine.flops / 1e9:,.0f} GFLOP/s, {guess}, without validation,"
        " pictures and compiling",
    ]


def costs(folder: OwnFolder, chosen: Choice) -> tuple[int, int]:
    """Return the operations of training the codec and the denoiser."""
    model = model_of(folder, chosen)
    codec = chosen.codec_steps * training_flops(model.codec, DiscriminatorConfig())
    text = 0 if model.text_encoder is None else text_encoder_flops(model.text_encoder)
    denoiser = chosen.steps * 3 * (denoiser_flops(model.denoiser) + text)
    return chosen.batch_size * codec, chosen.batch_size * denoiser


def duration(seconds: float) -> str:
    """Return a time in words, two digits of it."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{max(seconds, 1):.0f} seconds"
