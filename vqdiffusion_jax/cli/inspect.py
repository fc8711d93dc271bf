"""``--mode=inspect``: what a data set holds, what is left out and why, and a sheet of training examples."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from .checkpoints import COMPANIONS, checkpoint, companions

if TYPE_CHECKING:
    from ..config import ModelConfig, VQGANConfig
    from ..data.config import DataConfig
    from ..data.records import Source
    from ..data.token_cache import TokenCache
    from ..models.vqgan import VQGAN

SHARED = ("config", "out", "split", "checkpoint", *COMPANIONS, "seed")

_WHERE = "mode inspect"
SHEET, LEFT_OUT = "contact-sheet.png", "left-out.txt"

flags.DEFINE_integer(
    "examples",
    2000,
    "inspect: examples of each split that are read to find those that cannot be used.",
    lower_bound=1,
    module_name=_WHERE,
)

FLAGS = flags.FLAGS


def main() -> None:
    import numpy as np

    from ..config import ModelConfig, VQGANConfig, from_dict
    from ..data.cache_inspection import inspect_cache
    from ..data.config import DataConfig
    from ..data.inspection import all_left_out, contact_sheet, first_batch, inspect, table
    from ..data.token_cache import TokenCache
    from ..errors import DataError
    from ..files import write_whole
    from ..training.config import plain
    from ..training.denoiser.config import train_config

    if FLAGS.config is None:
        raise ValueError("--config is needed: it names the data set and the model, e.g. --config=configs/coco.py")
    config: dict[str, Any] = plain(FLAGS.config)
    model: ModelConfig | VQGANConfig
    if "model" in config:
        model = train_config(FLAGS.config).model
    elif "codec" in config and "data" in config:
        model = from_dict(VQGANConfig, config["codec"], where="codec")
    else:
        raise ValueError("--config has not the fields model or codec, and data; see configs/ for whole ones")
    data = from_dict(DataConfig, config["data"], where="data")
    if data.cache and not isinstance(model, ModelConfig):
        raise ValueError(
            f"data.cache is {data.cache}, which holds tokens; a codec is trained on pictures: give source and root"
        )
    codec = _codec(model.codec if isinstance(model, ModelConfig) else model)
    found, sheet, hint = [], None, ""
    for split in FLAGS.split:
        try:
            source = _opened(data, split, model, codec)
        except (DataError, FileNotFoundError) as error:
            if split == "train" or FLAGS["split"].present:
                raise
            print(f"{split}: {error}")
            continue
        if isinstance(source, TokenCache):
            assert isinstance(model, ModelConfig)
            found.append(inspect_cache(source, data, model, split, most=FLAGS.examples))
        else:
            found.append(inspect(source, data, model, split, most=FLAGS.examples))
        if split != "train":
            continue
        if isinstance(source, TokenCache) and codec is None:
            hint = "pictures: a cache holds tokens alone; --codec or --checkpoint shows them"
            continue
        seed = config.get("seed", 0) if FLAGS.seed is None else FLAGS.seed
        try:
            examples = first_batch(source, replace(data, max_broken=len(source)), model, seed=seed)
        except DataError as error:
            print(f"no example can be shown: {error}"[:300])
            continue
        if isinstance(source, TokenCache):
            assert codec is not None
            pictures = decoder(codec)(np.stack([tokens for tokens, _ in examples]))
            sheet = contact_sheet([(shown, text) for shown, (_, text) in zip(pictures, examples, strict=True)])
        else:
            sheet = contact_sheet(examples, None if codec is None else rebuilder(codec))
    out = Path(FLAGS.out)
    folder, picture = (out.parent, out) if out.suffix.lower() == ".png" else (out, out / SHEET)
    folder.mkdir(parents=True, exist_ok=True)
    written = [hint] if hint else []
    if sheet is not None:
        with write_whole(picture) as place:
            sheet.save(place, format="PNG")
        written.append(f"written: {picture}, training examples as the model sees them")
    if listed := all_left_out(found):
        with write_whole(folder / LEFT_OUT) as place:
            place.write_text(listed, encoding="utf-8")
        written.append(f"written: {folder / LEFT_OUT}, every file that is left out")
    print(table(found, written, *_screen()))


def _opened(data: DataConfig, split: str, model: ModelConfig | VQGANConfig, codec: VQGAN | None) -> Source | TokenCache:
    """Return a split of the data set, or of the cache where there is one, as training reads it."""
    from ..config import ModelConfig
    from ..data.loader import check_classes, with_captions
    from ..data.sources import open_source
    from ..data.token_cache import TokenCache, codec_fingerprint
    from ..storage.copies import here

    if data.cache and isinstance(model, ModelConfig):
        fingerprint = None if codec is None else codec_fingerprint(codec)
        return TokenCache(here(data.cache), split, model, fingerprint)
    source = with_captions(open_source(data, split), data, model)
    check_classes(source, data, model)
    return source


def _screen() -> tuple[int, int]:
    """Return columns and lines of a table that fits the terminal, if that is of a usual size."""
    from ..data.inspection import HEIGHT, WIDTH

    size = shutil.get_terminal_size((WIDTH, HEIGHT + 1))
    return min(max(size.columns, WIDTH), 120), min(max(size.lines - 1, 24), 50)  # a line is for the prompt


def _codec(config: Any) -> VQGAN | None:
    """Return the codec of --codec or --checkpoint, or None if neither is given."""
    from ..config import ComputeConfig
    from ..hub import locate
    from ..loading import load_codec, load_model

    if FLAGS.codec:
        place = locate(FLAGS.codec, "codec").path
        size = None if place.is_dir() else config.image_size
        return load_codec(
            place,
            config=FLAGS.codec_config,
            mapping=FLAGS.mapping,
            image_size=size,
            compute=ComputeConfig(),
        )
    if FLAGS.checkpoint:
        return load_model(checkpoint(), compute=ComputeConfig(), **companions())[0].codec
    return None


def rebuilder(codec: VQGAN):
    """Return a function from pictures (n, size, size, 3) uint8 to the same, decoded from their tokens."""
    import jax
    import numpy as np

    from ..models.vqgan import encode_exactly, images_to_float, to_uint8

    @jax.jit
    def rebuilt(codec, pictures):
        return to_uint8(codec.decode(encode_exactly(codec, images_to_float(pictures))), rounding="round")

    return lambda pictures: np.asarray(rebuilt(codec, pictures))


def decoder(codec: VQGAN):
    """Return a function from tokens (n, length) int32 to pictures (n, size, size, 3) uint8."""
    import jax
    import numpy as np

    from ..models.vqgan import to_uint8

    @jax.jit
    def decoded(codec, tokens):
        return to_uint8(codec.decode(tokens), rounding="round")

    return lambda tokens: np.asarray(decoded(codec, tokens))
