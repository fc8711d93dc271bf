"""Everything from drawings to a contact sheet on one GPU: all concepts at 128 x 128 pixels, about 20 minutes.

    python -m benchmarks.emoji_gpu --out=runs/emoji_gpu

Builds the drawings, trains the codec (configs/vqgan_emoji_gpu.py) and the denoiser (configs/emoji_gpu.py), and draws
pictures of prompts from data/compositions/prompts.jsonl.  Drawings that are there are not made again, and a stopped
training goes on.  ``--trial`` takes the smallest networks, to see on any machine that the steps fit together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vqdiffusion_jax.data.compositions.prompts import read_prompts

from ._emoji_commands import run, train

_TRIAL_CODEC = (
    "channels=8",
    "norm_groups=8",
    "num_res_blocks=1",
    "z_channels=8",
    "embed_dim=8",
)
_TRIAL_MODEL = ("denoiser.width=32", "denoiser.num_layers=2", "denoiser.num_heads=2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of drawings, runs and pictures")
    parser.add_argument(
        "--packages", type=Path, help="folder of the drawings' packages, where they are downloaded already"
    )
    parser.add_argument("--trial", action="store_true", help="two steps of tiny networks")
    parser.add_argument("--prompts", type=int, default=64, help="how many of the list to draw (default 64)")
    options = parser.parse_args()
    out, drawings = options.out, options.out / "drawings"
    out.mkdir(parents=True, exist_ok=True)
    codec, model = out / "codec", out / "denoiser"
    if not drawings.exists():
        packages = [f"--packages={options.packages}"] if options.packages else []
        run("drawings", ["-m", "vqdiffusion_jax.data.emoji", f"--out={drawings}", "--size=128", *packages])
    data = f"--config.data.root={drawings}"
    short = ["--config.steps=2", "--config.batch_size=4", "--config.workers=0", "--config.watch.eval_every=0"]
    short += ["--config.watch.sample_every=0", "--config.checkpoint.every=2"]
    tiny_codec = [f"--config.codec.{change}" for change in _TRIAL_CODEC] if options.trial else []
    tiny_model = [f"--config.model.codec.{change}" for change in _TRIAL_CODEC] if options.trial else []
    tiny_model += [f"--config.model.{change}" for change in _TRIAL_MODEL] if options.trial else []
    limits = short if options.trial else []
    train("train_vqgan", "configs/vqgan_emoji_gpu.py", codec, data, *tiny_codec, *limits)
    train("train", "configs/emoji_gpu.py", model, data, f"--codec={codec / 'model'}", *tiny_model, *limits)
    prompts = [prompt.prompt for prompt in read_prompts()[:: max(1, 200 // options.prompts)]][: options.prompts]
    listed = out / "prompts.txt"
    listed.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    few = ["--num_inference_steps=2"] if options.trial else []
    run(
        "pictures",
        [
            "main.py",
            "--mode=sample",
            f"--checkpoint={model / 'model'}",
            f"--prompts_file={listed}",
            f"--out={out / 'pictures'}",
            *few,
        ],
    )


if __name__ == "__main__":
    main()
