"""``--mode=flax_to_diffusers``: a model as the folder of a diffusers VQDiffusionPipeline."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from .checkpoints import COMPANIONS, checkpoint, companions

SHARED = ("checkpoint", *COMPANIONS, "out")

FLAGS = flags.FLAGS


def main() -> None:
    from ..config import ComputeConfig
    from ..interop.diffusers import write_diffusers
    from ..pipeline import VQDiffusionPipeline

    if not FLAGS["out"].present:  # its default is where pictures go
        raise ValueError("--out is needed: the folder to write, absent or empty")
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint(), compute=ComputeConfig(), **companions())
    write_diffusers(pipeline.model, Path(FLAGS.out), pipeline.tokenizer)
    print(f"written: {FLAGS.out}")
