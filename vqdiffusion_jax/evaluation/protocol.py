"""A protocol: everything that changes a score besides the weights, in one place, so that two people measure the same thing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import one_of, whole
from ..config import from_dict
from ..errors import ConfigError, EvaluationError
from ..sampling import STRATEGIES
from .resizing import RESIZES
from .strategies import strategy_of

CAPTIONS = ("first", "random")
ORDERS = ("shuffled", "sequential")
CROPS = ("centre", "none")
FORMATS = ("png", "jpeg")
WEIGHTS = ("ema", "model")
WHAT = ("samples", "likelihood", "reconstruction")
OF_THE_PAPERS = ("fid", "kid", "inception_score", "precision_recall", "quality_diversity", "clip_score")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How samples are drawn, what they are compared with, and how.  Raises ConfigError, one line, for a value that cannot be.

    Sample i of a text protocol shows a caption of record i of the reference split (in ``order``, again from the start when they
    run out); of a class protocol class i mod the number of classes, so that every part of the samples holds all classes.
    """

    name: str
    # What is drawn, and compared with.
    source: str = "folder"  # a data set of vqdiffusion_jax.data
    source_options: Mapping[str, Any] = field(default_factory=dict)
    reference_split: str = "validation"
    validation_fraction: float = 0.0  # held out by data sets without splits of their own
    num_samples: int = 30000
    num_reference: int | None = None  # None: every picture once; more than there are: again from the start
    order: str = "shuffled"
    caption: str = "random"  # which of a record's captions
    # How pictures are treated.
    crop: str = (
        "centre"  # of the reference: the short side resized (Pillow, bicubic) to the model's size, the centre cut out
    )
    resize: str = "pytorch_fid"  # to the 299 pixels of the Inception network; see ``resizing``
    image_format: str = "png"  # "jpeg": samples lose what a file loses, as the reference's class models saved them
    jpeg_quality: int = 75
    # How samples are drawn.
    strategy: str = "posterior"
    steps: int | None = None  # posterior, maskgit, remask
    skip_step: int = 1  # fast
    tokens_per_step: int | None = None  # fewer_tokens, purity
    purity_weight: float = 1.0  # purity
    strategy_options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of the strategy's class
    guidance_scale: float | None = None  # None: the checkpoint's
    guidance_interval: tuple[int, int] | None = None  # lowest and highest timestep guided; None: all
    null: str = "auto"
    truncation_rate: float | None = None  # None: the checkpoint's
    weights: str = "ema"
    seed: int = 0
    # What is measured.
    what: tuple[str, ...] = ("samples",)
    metrics: tuple[str, ...] = OF_THE_PAPERS  # of the samples; see ``metrics.METRICS``
    num_likelihood: int | None = None  # pictures of the reference whose bits are counted; None: all
    # Numbers the papers print, for the report, and what is chosen here because they do not say.
    published: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self):
        for name, allowed in (
            ("reference_split", ("train", "validation")),
            ("order", ORDERS),
            ("caption", CAPTIONS),
            ("crop", CROPS),
            ("resize", RESIZES),
            ("image_format", FORMATS),
            ("strategy", STRATEGIES),
            ("weights", WEIGHTS),
            ("null", ("auto", "learnable", "text")),
        ):
            one_of(self, name, allowed)
        if not self.what or not set(self.what) <= set(WHAT):
            raise ConfigError(f"Protocol.what is {self.what!r}; it must list some of {', '.join(WHAT)}")
        for name, least in (
            ("num_samples", 1),
            ("num_reference", 1),
            ("num_likelihood", 1),
            ("steps", 1),
            ("tokens_per_step", 1),
            ("skip_step", 0),
            ("jpeg_quality", 1),
            ("seed", 0),
        ):
            if getattr(self, name) is not None:
                whole(self, least, name)
        if self.jpeg_quality > 100:
            raise ConfigError(f"Protocol.jpeg_quality is {self.jpeg_quality!r}; it must lie in 1..100")

    def sampling(self) -> dict[str, Any]:
        """The pipeline's arguments that draw by this protocol."""
        return {
            "strategy": strategy_of(self),
            "guidance_scale": self.guidance_scale,
            "guidance_interval": self.guidance_interval,
            "null": self.null,
            "truncation_rate": self.truncation_rate,
        }

    def drawing(self) -> dict[str, Any]:
        """The fields that change the samples, in plain JSON types."""
        names = (
            "source",
            "source_options",
            "reference_split",
            "validation_fraction",
            "num_samples",
            "order",
            "caption",
            "image_format",
            "jpeg_quality",
            "strategy",
            "steps",
            "skip_step",
            "tokens_per_step",
            "purity_weight",
            "strategy_options",
            "guidance_scale",
            "guidance_interval",
            "null",
            "truncation_rate",
            "weights",
            "seed",
        )
        return {name: value for name, value in to_table(self).items() if name in names}

    def comparing(self) -> dict[str, Any]:
        """The fields that change the reference, in plain JSON types."""
        names = ("source", "source_options", "reference_split", "validation_fraction", "num_reference", "crop", "seed")
        return {name: value for name, value in to_table(self).items() if name in names}


def to_table(protocol: Protocol) -> dict[str, Any]:
    """The protocol in plain JSON types."""
    return json.loads(json.dumps(dataclasses.asdict(protocol)))


def read_protocol(path: str | Path) -> Protocol:
    """A protocol from a JSON file of its fields.  Raises EvaluationError or ConfigError, one line."""
    path = Path(path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"the protocol {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise EvaluationError(
            f"the protocol {path} is not JSON ({' '.join(str(error).split())}); give Protocol's fields"
        ) from None
    if not isinstance(table, dict):
        raise EvaluationError(f"the protocol {path} is no JSON table; give a table of Protocol's fields")
    return from_dict(Protocol, {"name": path.stem, **table}, where=str(path))


def with_settings(protocol: Protocol, settings: Mapping[str, str]) -> Protocol:
    """The protocol with fields changed, as typed on a command line.  Raises ConfigError or EvaluationError, one line."""
    known = {f.name: f for f in dataclasses.fields(Protocol)}
    changes = {}
    for name, text in settings.items():
        if name not in known:
            raise EvaluationError(f"a protocol has no field {name!r}; it has {', '.join(known)}")
        changes[name] = _parsed(text)
    return from_dict(Protocol, to_table(protocol) | changes, where="the protocol's settings")


def _parsed(text: str) -> Any:
    """A JSON value if ``text`` is one, else the text itself; "none" is None."""
    if text.lower() == "none":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
