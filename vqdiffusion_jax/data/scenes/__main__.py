"""List the combinations that training never shows, or look at some scenes.

python -m vqdiffusion_jax.data.scenes --data=DIR --list=FILE
python -m vqdiffusion_jax.data.scenes --data=DIR --sheet=FILE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ...exit_status import exit_with_status
from ...files import write_whole
from ..sources.scenes import Scenes
from .held_out import list_held_out

_COLUMNS, _ROWS = 8, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, type=Path, help="folder that python -m vqdiffusion_jax.data.emoji wrote"
    )
    parser.add_argument("--concepts", type=int, default=0, help="only the first so many concepts (default 0: all)")
    parser.add_argument(
        "--list", type=Path, help="file to write: a line a held-out combination, its words separated by tabs"
    )
    parser.add_argument("--sheet", type=Path, help="PNG to write 64 scenes to; their captions are printed row by row")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes")
    options = parser.parse_args()
    if not (options.list or options.sheet):
        parser.error("nothing to do; name a file with --list or --sheet")
    source = Scenes(options.data, "train", concepts=options.concepts, seed=options.seed)
    if options.list:
        lines = ["\t".join(combination) for combination in list_held_out(source.drawings)]
        with write_whole(options.list) as place:
            place.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"written: {options.list}, {len(lines)} combinations")
    if options.sheet:
        records = [source[i] for i in range(_COLUMNS * _ROWS)]
        _sheet([np.asarray(record["image"]) for record in records]).save(options.sheet)
        captions = [record.get("captions", [""])[0] for record in records]
        for row in range(_ROWS):
            print("\n".join(captions[row * _COLUMNS : (row + 1) * _COLUMNS]), end="\n\n")


def _sheet(pictures: list[np.ndarray]) -> Image.Image:
    framed = np.stack([np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=200) for picture in pictures])
    side = framed.shape[1]
    rows = framed.reshape(_ROWS, _COLUMNS, side, side, 3).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(_ROWS * side, _COLUMNS * side, 3))


if __name__ == "__main__":
    exit_with_status(main)
