"""Convert a PyTorch checkpoint of VQ-Diffusion to a native folder.

    python convert/torch_to_flax.py --checkpoint=FILE_OR_DIR --out=DIR

FILE_OR_DIR is a training checkpoint of the reference (.pth) or a diffusers
VQDiffusionPipeline folder.  Neither needs torch to be installed.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vqdiffusion_jax.cli.tools import report_mistakes  # noqa: E402
from vqdiffusion_jax.loading import convert  # noqa: E402


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="a .pth file of the reference, or a diffusers folder")
    parser.add_argument("--out", required=True, type=Path, help="folder to write; absent or empty")
    parser.add_argument("--config", type=Path, help="the model's yaml, where it is not a released one")
    parser.add_argument("--codec_config", type=Path, help="the codec's yaml, likewise")
    parser.add_argument("--mapping", type=Path, help="taming_vqvae_2887.pt or taming_vqvae_974.pt, for models that keep only some codes")
    parser.add_argument("--codec", type=Path, help="a codec file to use instead of the checkpoint's copy")
    parser.add_argument("--clip", type=Path, help="ViT-B-32.pt, to use instead of the checkpoint's copy")
    parser.add_argument("--weights", choices=("ema", "model"), help="averaged (default) or raw weights")
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
    report_mistakes(main)
