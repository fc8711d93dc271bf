"""Build the emoji set from its packages.

    python -m vqdiffusion_jax.data.emoji --out=DIR

Downloads 60 MB of npm packages (npm must be installed, or their tarballs be in
--packages), renders about 6,000 drawings of 1,002 things in up to seven styles
and of shapes, letters and digits with resvg-py, and writes emoji.npz and captions.jsonl: two minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...exit_status import exit_with_status
from .build import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="folder to write; absent or empty")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default 64)")
    parser.add_argument(
        "--packages", type=Path, help="folder of the packages' tarballs; what is missing is downloaded there"
    )
    options = parser.parse_args()
    count = build(options.out, size=options.size, tarballs=options.packages)
    print(f"written: {options.out}, {count} drawings")


if __name__ == "__main__":
    exit_with_status(main)
