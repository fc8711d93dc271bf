"""The configuration of a data set: a frozen dataclass that checks itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checks import MOST_AT_ONCE, fraction, one_of, whole
from ..errors import ConfigError
from ..extensions import check_name
from ..pictures import colour_of
from ..storage.addresses import check_address

SPLITS = ("train", "validation")
MISSING_CAPTIONS = ("drop", "unconditional", "error")
# Name of a data set -> module and class below ``vqdiffusion_jax.data.sources``; imported only when asked for.
SOURCES = {
    "coco": "coco:Coco",
    "compositions": "compositions:Compositions",
    "cub200": "cub200:Cub200",
    "ffhq": "ffhq:Ffhq",
    "folder": "folder:Folder",
    "imagenet": "imagenet:ImageNet",
    "npz": "npz:Npz",
    "oxford102": "oxford102:Oxford102",
    "parquet": "parquet:Parquet",
    "scene_questions": "scene_questions:SceneQuestions",
    "scenes": "scenes:Scenes",
    "tar_shards": "tar_shards:TarShards",
    "tfds": "tfds:Tfds",
}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and the way it is read.  ``from_dict(DataConfig, table)`` makes one of a plain dict of fields."""

    # One of SOURCES, or package.module:Class of your own data set; not needed to train from a cache.
    source: str = ""
    root: str = ""  # folder (or, for npz, file) of the data set; of an address a copy on this machine is read
    options: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the source's class
    cache: str = ""  # folder that --mode=tokenize wrote, or its address; if given, tokens are read in place of pictures
    # The share held out for validation of a data set without splits of its own; 0: none.
    validation_fraction: float = 0.0
    # Shown through transparent pictures: a colour's name, "#rrggbb", or three whole numbers from 0 to 255.
    background: Any = "white"
    drop_rate: float = 0.0  # training: the share of captions replaced by '', and of labels by the null label
    # Records without a caption, where a model reads text: "drop" leaves them out, counted but not as broken;
    # "unconditional" shows them without a condition; "error" ends the run.
    missing_captions: str = "drop"
    max_broken: int = 100  # broken examples that are replaced; more of them end the run, and the error names some
    read_threads: int = 4  # batches read at once, in each worker process
    prefetch_batches: int = 4  # batches held ready, in each worker process

    def __post_init__(self):
        if self.source:
            check_name(self, "source", SOURCES)
        if not self.cache and not (self.source and self.root):
            raise ConfigError(
                "DataConfig needs source and root (a data set), or cache (a folder of tokens, see --mode=tokenize)"
            )
        for place in (self.root, self.cache):
            check_address(place)
        if not isinstance(self.options, Mapping):
            raise ConfigError(f"DataConfig.options is {self.options!r}; it must be a dict of the source's options")
        fraction(self, "validation_fraction", "drop_rate")
        one_of(self, "missing_captions", MISSING_CAPTIONS)
        whole(self, 0, "max_broken")
        whole(self, 0, "read_threads", most=MOST_AT_ONCE)
        whole(self, 1, "prefetch_batches", most=MOST_AT_ONCE)
        try:
            colour_of(self.background)
        except ValueError as error:
            raise ConfigError(f"DataConfig.background is {self.background!r}; {error}") from error
