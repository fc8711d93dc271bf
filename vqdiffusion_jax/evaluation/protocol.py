"""A protocol: everything besides the weights that changes a score."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from ..checks import one_of, whole
from ..config import from_dict
from ..errors import ConfigError, EvaluationError
from ..sampling import Ancestral
from ..sampling.choice import takers
from ..sampling.fields import settings_of
from ..sampling.settings import HOW, SamplingSettings, all_settings, renamed
from ..user_files import parse_json, read_json
from .resizing import RESIZES

_MOST_BYTES = 2**20  # of a protocol
CAPTIONS = ("first", "random")
ORDERS = ("shuffled", "sequential")
CROPS = ("centre", "none")
FORMATS = ("png", "jpeg")
WEIGHTS = ("ema", "model")
WHAT = ("samples", "likelihood", "reconstruction")
OF_THE_PAPERS = ("fid", "kid", "inception_score", "precision_recall", "quality_diversity", "clip_score")

# The roles of a field: what has to be computed anew when it changes.
DRAWING = "drawing"  # the samples
COMPARING = "comparing"  # the rows of the reference
MEASURING = "measuring"  # the choice of scores, or a network's rows, which are kept under the network's own name
ABOUT = "about"  # nothing: words for people
ROLES = (DRAWING, COMPARING, MEASURING, ABOUT)
_BOTH = (DRAWING, COMPARING)

# The settings of sampling that a protocol may hold; what each sample shows and its noise follow from its other fields.
SAMPLING_SETTINGS = (
    "strategy",
    *(name for name, about in settings_of(SamplingSettings).items() if about.group == HOW),
    "negative_prompt",
    "rounding",
)
# Names in ``strategy_options`` of older protocols, arguments of the strategies' classes of then.
_FORMER_OPTIONS = {
    "num_steps": "num_inference_steps",
    "weight": "purity_weight",
    "gamma": "entropy_bound",
    "rate": "remask_rate",
}
# Older protocols always hold these, whatever their strategy.
_FORMER_DEFAULTS = {"num_inference_steps": None, "tokens_per_call": None, "skip_step": 1, "purity_weight": 1.0}


def _field(*roles: str, default: Any = MISSING, default_factory: Any = MISSING) -> Any:
    """Return a dataclass field with its roles."""
    return dataclasses.field(default=default, default_factory=default_factory, metadata={"roles": roles})


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of an evaluation: drawing of samples, reference, and scores.

    Sample i of a text protocol shows a caption of record i of the reference split (in ``order``, again from the start
    when they run out); of a class protocol, class i mod the number of classes, so that every stretch of the samples
    holds all classes.

    source, source_options: a data set of ``vqdiffusion_jax.data``.
    reference_split, validation_fraction: its split; the fraction held out, of data sets without splits of their own.
    num_reference: reference pictures; None for every one once, more than there are for again from the start.
    caption: which of a record's captions is drawn.
    crop: of the reference: "centre" (short side resized to the model's size, central square) or "none".
    resize: to the 299 pixels of the Inception network, see ``resizing``.
    image_format, jpeg_quality: "jpeg" gives samples a file's losses, as the authors' code saves those of class models.
    sampling: how samples are drawn, any of SAMPLING_SETTINGS; None in it is the checkpoint's.
    weights: of a .pth file, "ema" or "model".
    what: the stages, of WHAT.
    metrics: the samples' metrics, of ``metrics.METRICS``.
    num_likelihood: reference pictures whose bits are counted; None for all.
    published: the papers' scores, for the report.
    notes: what is chosen here because the papers do not say.

    Raises ConfigError or SettingError for a value that is not allowed.
    """

    name: str = _field(ABOUT)
    source: str = _field(*_BOTH, default="folder")
    source_options: Mapping[str, Any] = _field(*_BOTH, default_factory=dict)
    reference_split: str = _field(*_BOTH, default="validation")
    validation_fraction: float = _field(*_BOTH, default=0.0)
    num_samples: int = _field(DRAWING, default=30000)
    num_reference: int | None = _field(COMPARING, default=None)
    order: str = _field(DRAWING, default="shuffled")
    caption: str = _field(DRAWING, default="random")
    crop: str = _field(COMPARING, default="centre")
    resize: str = _field(MEASURING, default="pytorch_fid")
    image_format: str = _field(DRAWING, default="png")
    jpeg_quality: int = _field(DRAWING, default=75)
    sampling: SamplingSettings = _field(DRAWING, default_factory=SamplingSettings)
    weights: str = _field(DRAWING, default="ema")
    seed: int = _field(*_BOTH, default=0)
    what: tuple[str, ...] = _field(MEASURING, default=("samples",))
    metrics: tuple[str, ...] = _field(MEASURING, default=OF_THE_PAPERS)
    num_likelihood: int | None = _field(MEASURING, default=None)
    published: Mapping[str, float] = _field(ABOUT, default_factory=dict)
    notes: str = _field(ABOUT, default="")

    def __post_init__(self):
        for name, allowed in (
            ("reference_split", ("train", "validation")),
            ("order", ORDERS),
            ("caption", CAPTIONS),
            ("crop", CROPS),
            ("resize", RESIZES),
            ("image_format", FORMATS),
            ("weights", WEIGHTS),
        ):
            one_of(self, name, allowed)
        if not self.what or not set(self.what) <= set(WHAT):
            raise ConfigError(f"Protocol.what is {self.what!r}; it must list some of {', '.join(WHAT)}")
        for name, least in (
            ("num_samples", 1),
            ("num_reference", 1),
            ("num_likelihood", 1),
            ("jpeg_quality", 1),
            ("seed", 0),
        ):
            if getattr(self, name) is not None:
                whole(self, least, name)
        if self.jpeg_quality > 100:
            raise ConfigError(f"Protocol.jpeg_quality is {self.jpeg_quality!r}; it must lie in 1..100")
        # What is compared between models is not left to them.
        object.__setattr__(self, "sampling", self.sampling.completed(Ancestral()))
        default = SamplingSettings()
        for name in set(settings_of(SamplingSettings)) - set(SAMPLING_SETTINGS):
            given, usual = getattr(self.sampling, name), getattr(default, name)
            if given is not None if usual is None else given != usual:
                raise ConfigError(
                    f"Protocol.sampling has {name}, which the protocol's other fields decide; it may have "
                    f"{', '.join(SAMPLING_SETTINGS)} and a strategy's own settings"
                )

    def changed(self, **fields: Any) -> Protocol:
        """Return the protocol with fields, or settings of its ``sampling`` by their flat names, changed.

        Another strategy begins with its own defaults.  Raises EvaluationError, ConfigError or SettingError.
        """
        own, flat = _split(fields)
        known = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "sampling"
        }
        if unknown := [name for name in own if name not in known]:
            names = ", ".join((*known, *SAMPLING_SETTINGS))
            raise EvaluationError(f"a protocol has no field {unknown[0]!r}; it has {names}, and a strategy's settings")
        changed = from_dict(Protocol, known | own, where="the protocol's settings")
        return dataclasses.replace(changed, sampling=self.sampling.changed(**flat) if flat else self.sampling)

    def identity(self, role: str) -> dict[str, Any]:
        """Return the fields of a role (DRAWING, ...), settings of sampling flat, in plain JSON types.

        Rows that were computed with another identity are not reused.
        """
        table = to_table(self)
        found = {field.name: table[field.name] for field in dataclasses.fields(self) if role in field.metadata["roles"]}
        return found | found.pop("sampling", {})

    def value(self, name: str) -> Any:
        """Return a field or a setting of ``sampling`` by its flat name, in plain JSON types; None if unset."""
        table = to_table(self)
        return table[name] if name in table else table["sampling"].get(name)


def to_table(protocol: Protocol) -> dict[str, Any]:
    """Return the protocol in plain JSON types; ``from_table`` reads it back."""
    fields = {field.name: getattr(protocol, field.name) for field in dataclasses.fields(protocol)}
    return json.loads(json.dumps(fields | {"sampling": protocol.sampling.to_dict()}))


def from_table(table: Mapping[str, Any], *, where: str) -> Protocol:
    """Return the protocol of a table of fields.

    Settings of sampling stand in ``sampling`` or flat beside the other fields, and may have the names of older
    protocols, with a warning.  Raises ConfigError or SettingError.
    """
    table, nested = dict(table), table.get("sampling", {})
    if not isinstance(nested, Mapping):
        raise ConfigError(f"{where}.sampling is {nested!r}; it must be a table of settings")
    table.pop("sampling", None)
    table, flat = _split(table)
    strategy = flat.get("strategy", nested.get("strategy", "posterior"))
    for name, default in _FORMER_DEFAULTS.items():
        if name in flat and flat[name] == default and strategy not in takers(name):
            del flat[name]
    protocol = from_dict(Protocol, table, where=where)
    sampling = SamplingSettings.from_dict(dict(nested) | flat)
    return dataclasses.replace(protocol, sampling=sampling)


def read_protocol(path: str | Path) -> Protocol:
    """Return the protocol of a JSON file of its fields.  Raises EvaluationError, ConfigError or SettingError."""
    path = Path(path)
    try:
        table = read_json(path, most=_MOST_BYTES)
    except OSError as error:
        raise EvaluationError(f"the protocol {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise EvaluationError(f"the protocol {error}; give Protocol's fields") from None
    if not isinstance(table, dict):
        raise EvaluationError(f"the protocol {path} is no JSON table; give a table of Protocol's fields")
    return from_table({"name": path.stem, **table}, where=str(path))


def with_settings(protocol: Protocol, settings: Mapping[str, str]) -> Protocol:
    """Return ``protocol.changed`` with values as typed on a command line: JSON, "none", or text."""
    return protocol.changed(**{name: _parsed(text) for name, text in settings.items()})


def todays_name(name: str) -> str:
    """Return the name that a setting of sampling has today, with a warning if that is another."""
    former = {about.formerly: new for new, about in all_settings().items() if about.formerly}
    today = former.get(name, name)
    if today != name:
        warnings.warn(f"{name} is now {today}; the next release drops the former name", stacklevel=3)
    return today


def _split(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a table of today's names in two: fields of Protocol or of nothing, and settings of sampling."""
    table = dict(table)
    options = table.pop("strategy_options", None)
    flat: dict[str, Any] = {todays_name(name): value for name, value in table.items()}
    if options is not None:
        if not isinstance(options, Mapping):
            raise ConfigError(f"strategy_options is {options!r}; it must be a table of the strategy's settings")
        if options:
            warnings.warn("a strategy's settings now stand beside it, without strategy_options", stacklevel=3)
        flat |= {_FORMER_OPTIONS.get(str(name), str(name)): value for name, value in options.items()}
    known = {field.name for field in dataclasses.fields(Protocol)}
    settings = {"strategy", *all_settings()} - known  # ``seed`` is the protocol's own
    own = {name: value for name, value in flat.items() if name not in settings}
    return own, renamed({name: value for name, value in flat.items() if name in settings})


def _parsed(text: str) -> Any:
    """Return the JSON value of ``text`` if it is one, None for "none", else the text itself."""
    if text.lower() == "none":
        return None
    try:
        return parse_json(text, "it")
    except ValueError:
        return text
