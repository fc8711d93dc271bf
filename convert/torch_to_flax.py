"""Convert a PyTorch checkpoint of VQ-Diffusion, or a part of one, to a model folder.

    python convert/torch_to_flax.py --checkpoint=FILE_OR_DIR --out=DIR

FILE_OR_DIR is a training checkpoint of the reference (.pth), a diffusers VQDiffusionPipeline folder, a codec alone
(taming's f8 and f16, ITHQ's, a diffusers vqvae folder), ViT-B-32.pt or a Hugging Face CLIP folder; its content tells
which.  It may lie on the Hugging Face hub: owner/name, or hf://owner/name[@revision][/subfolder].  PyTorch need not be
installed.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vqdiffusion_jax.exit_status import exit_with_status  # noqa: E402
from vqdiffusion_jax.loading import convert  # noqa: E402


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="file or folder to convert")
    parser.add_argument("--out", required=True, type=Path, help="folder to write; absent or empty")
    parser.add_argument("--config", help="the model's yaml, where it is not a released one")
    parser.add_argument("--codec_config", help="the codec's yaml, likewise")
    parser.add_argument("--mapping", help="taming_vqvae_2887.pt or taming_vqvae_974.pt, where only some codes are kept")
    parser.add_argument(
        "--codec", help="a codec file or converted codec folder to use instead of the checkpoint's copy"
    )
    parser.add_argument("--clip", help="ViT-B-32.pt or a folder of CLIP, to use instead of the checkpoint's copy")
    parser.add_argument("--weights", choices=("ema", "model"), help="averaged (default) or raw weights")
    parser.add_argument("--clip_weights", choices=("ema", "model"), help="the same for the text tower alone")
    parser.add_argument(
        "--clip_dtype",
        choices=("float32", "float16"),
        help="float16 keeps CLIP's matrices as they are in OpenAI's file",
    )
    parser.add_argument("--variant", help='of a diffusers folder: the one of its weights to read, as "fp16"')
    parser.add_argument(
        "--safetensors", action="store_true", help="write weights.safetensors instead of orbax's folder"
    )
    parser.add_argument("--quiet", action="store_true", help="print no table of keys")
    return parser.parse_args(argv)


def main() -> None:
    options = vars(parse())
    checkpoint, out, quiet = options.pop("checkpoint"), options.pop("out"), options.pop("quiet")
    report = convert(checkpoint, out, **{name: value for name, value in options.items() if value is not None})
    if not quiet:
        print(report.table())
    print(f"written: {out}")


if __name__ == "__main__":
    exit_with_status(main)
