"""Write a model as the folder of a diffusers VQDiffusionPipeline.

python convert/flax_to_diffusers.py --checkpoint=DIR --out=DIR
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vqdiffusion_jax import VQDiffusionPipeline  # noqa: E402
from vqdiffusion_jax.config import ComputeConfig  # noqa: E402
from vqdiffusion_jax.exit_status import exit_with_status  # noqa: E402
from vqdiffusion_jax.interop.diffusers import write_diffusers  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a model folder written by this project")
    parser.add_argument("--out", required=True, type=Path, help="folder to write; absent or empty")
    options = parser.parse_args()
    pipeline = VQDiffusionPipeline.from_pretrained(options.checkpoint, compute=ComputeConfig())
    write_diffusers(pipeline.model, options.out, pipeline.tokenizer)
    print(f"written: {options.out}")


if __name__ == "__main__":
    exit_with_status(main)
