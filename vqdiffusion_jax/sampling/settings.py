"""``SamplingSettings``: everything that decides which pictures a call draws, and how, in one frozen dataclass.

The call in Python, the command line, the JSON beside a picture, protocols of evaluation and the page all hold one of
these, under the same names: diffusers' name where diffusers has one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypedDict

import jax

from ..config import ROUNDINGS
from ..errors import SettingError, did_you_mean
from .ancestral import Ancestral
from .choice import PartialStrategy, changed_strategy, completed
from .fields import Setting, check_fields, setting, settings_of
from .noise import Noise
from .registry import STRATEGIES, name_of
from .seeds import Seed, checked_seeds
from .strategy import Strategy

NULLS = ("auto", "learnable", "text")
OUTPUT_TYPES = ("pil", "np", "uint8", "tokens")
PICTURES = ("image", "mask_image")  # settings that name files
WHAT, START, HOW, OUTPUT = "what", "start", "how", "output"
EXCLUSIVE = (  # pairs of fields that set the same thing
    ("truncation_rate", "top_k"),
    ("image", "latents"),
    ("mask_image", "outpaint"),
    ("noise", "seed"),
    ("negative_prompt", "negative_prompt_embeds"),
)


def any_subject(condition: str) -> dict[str, Any]:
    """Return fields of one picture of a model of a condition, for where it does not matter which."""
    return {"text": {"prompt": "a"}, "class": {"class_labels": 0}}.get(condition, {})


def _anything(value: Any) -> Any:
    """Return the value: a file, a picture or an array, which ``call.starts`` checks against the model."""
    return value


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings of one call; ``VQDiffusionPipeline.__call__`` describes each.

    None leaves a choice to the model, or to the default that the field's help names.
    Raises SettingError, one line, for a value that is not allowed and for settings that exclude each other.
    """

    prompt: str | Sequence[str] | None = setting(type=str, many=True, repeated=True, group=WHAT, help="Text to draw.")
    class_labels: int | Sequence[int] | None = setting(
        type=int, many=True, repeated=True, least=0, group=WHAT, formerly="class_label", help="Class to draw."
    )
    negative_prompt: str | Sequence[str] | None = setting(
        type=str, many=True, repeated=True, group=WHAT, help="Text to guide away from, in the null condition's place."
    )
    num_images_per_prompt: int = setting(
        1,
        type=int,
        least=1,
        most=1_000_000,
        group=WHAT,
        formerly="num_images",
        help="Pictures for each prompt or class.",
    )
    seed: Seed | Sequence[Seed] | None = setting(
        type=int, least=0, check=checked_seeds, group=WHAT, default_help="0", help="Same seed, same pictures."
    )
    first_image: int = setting(
        0, type=int, least=0, group=WHAT, help="Number of each prompt's first picture, to go on from before."
    )
    prompt_embeds: Any = setting(type=None, help="Text states (prompts, length, width) in place of a prompt.")
    negative_prompt_embeds: Any = setting(type=None, help="Text states in place of a negative prompt.")
    noise: Noise | None = setting(type=None, help="KeyNoise or RecordedNoise for all pictures, in place of a seed.")

    image: Any = setting(
        type=str,
        check=_anything,
        group=START,
        help="Picture to start from (with strength) or to keep parts of (with mask_image or outpaint).",
    )
    mask_image: Any = setting(
        type=str,
        check=_anything,
        group=START,
        formerly="mask",
        help="White where to paint; everything else of image comes back exactly.",
    )
    outpaint: Sequence[float] | None = setting(
        type=float,
        many=True,
        count=4,
        least=0.0,
        most=1.0,
        group=START,
        help="left,top,right,bottom: least margins to paint around image, as fractions of the new, square picture; "
        "the whole image is scaled to fit between them.",
    )
    strength: float | None = setting(
        type=float, above=0.0, most=1.0, group=START, help="Share of all noise that image is given first."
    )
    latents: Any = setting(type=None, help="Tokens (pictures, length) to start from in place of all [MASK].")

    # In flat fields by its name, with its settings beside the others; what it leaves open is the model's.
    strategy: Strategy | PartialStrategy | None = None
    guidance_scale: float | None = setting(
        type=float, group=HOW, default_help="the model's", help="Strength of guidance; 1 is none."
    )
    guidance_interval: Sequence[int] | None = setting(
        type=int,
        many=True,
        count=2,
        least=0,
        group=HOW,
        default_help="all",
        help="low,high: timesteps at which guidance acts, both included.",
    )
    guidance_plausibility: float | None = setting(
        type=float,
        above=0.0,
        most=1.0,
        group=HOW,
        help="Guide only among codes at least this share as likely as the likeliest one, by the condition alone.",
    )
    null: str = setting("auto", type=str, choices=NULLS, group=HOW, help="Null condition of guidance.")
    truncation_rate: float | None = setting(
        type=float,
        above=0.0,
        most=1.0,
        group=HOW,
        default_help="the model's",
        help="Keep the likeliest codes up to this probability; 1 keeps all.",
    )
    top_k: int | None = setting(type=int, least=1, group=HOW, help="Keep so many codes, in place of truncation_rate.")

    batch_size: int | None = setting(
        type=int,
        least=1,
        group=OUTPUT,
        default_help="1 a CPU device, up to 16 another",
        help="Pictures drawn together.",
    )
    rounding: str = setting(
        "truncate", type=str, choices=ROUNDINGS, group=OUTPUT, help="To 8 bits, as the reference or to the nearest."
    )
    return_trajectory: bool = setting(
        False, type=bool, group=OUTPUT, formerly="trajectory", help="Also give the tokens after every call, a GIF."
    )
    output_type: str = setting("pil", type=None, choices=OUTPUT_TYPES, help="Form of the pictures in Python.")

    def __post_init__(self):
        check_fields(self)
        if isinstance(self.strategy, type) or not isinstance(self.strategy, Strategy | PartialStrategy | None):
            allowed = "an instance of a class of vqdiffusion_jax.sampling, such as PurityPrior()"
            raise SettingError("{strategy} is {value!r}; it must be {allowed}", value=self.strategy, allowed=allowed)
        for one, other in EXCLUSIVE:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise SettingError(f"{{{one}}} and {{{other}}} are both given; give one")
        if self.guidance_interval is not None and self.guidance_interval[0] > self.guidance_interval[1]:
            allowed = "low,high with low no higher than high"
            told = "{guidance_interval} is {value}; it must be {allowed}"
            raise SettingError(told, value=self.guidance_interval, allowed=allowed)
        self._check_start()

    def _check_start(self) -> None:
        """Raise SettingError for an image without a way to start from it, and for such a way without an image."""
        if self.image is None:
            for name in ("mask_image", "outpaint", "strength"):
                if getattr(self, name) is not None and not (name == "strength" and self.latents is not None):
                    raise SettingError(f"{{{name}}} is given without {{image}}")
        elif self.strength is None and self.mask_image is None and self.outpaint is None:
            told = "{image} is given without {strength} (how far to noise it), {mask_image} (where to paint) or "
            raise SettingError(told + "{outpaint}; give one of them")

    @classmethod
    def of(cls, **fields: Any) -> SamplingSettings:
        """Return settings from flat fields, where a strategy's own settings stand beside the others.

        strategy: an instance, or a name of ``STRATEGIES`` with its settings among ``fields``; without it they are those
        of the model's strategy (``PartialStrategy``).  A strategy's setting of None is left out.
        Raises SettingError for an unknown name and for a setting of another strategy.
        """
        return cls().changed(**fields)

    def flat(self) -> dict[str, Any]:
        """Return every field that is not None, with the strategy's name and its settings beside the others."""
        own = {name: getattr(self, name) for name in settings_of(type(self))}
        if isinstance(self.strategy, PartialStrategy):
            own |= {"strategy": self.strategy.name, **self.strategy.fields}
        elif self.strategy is not None:
            own |= {"strategy": name_of(self.strategy)}
            own |= {name: getattr(self.strategy, name) for name in settings_of(self.strategy)}
        return {name: value for name, value in own.items() if value is not None}

    def changed(self, **fields: Any) -> SamplingSettings:
        """Return these settings with flat fields in place of their own; everything else stays.

        A field drops the one that it excludes.  Settings of a strategy are those of the strategy in force; another one
        that is named begins with its own defaults (``choice``).
        Raises SettingError for an unknown field, and for a value that is not allowed.
        """
        known = [*all_settings(), "strategy"]
        for name in fields:
            if name not in known:
                raise SettingError("there is no setting {value!r}{hint}", value=name, hint=did_you_mean(name, known))
        for pair in EXCLUSIVE:
            for one, other in (pair, pair[::-1]):
                if fields.get(one) is not None:
                    fields.setdefault(other, None)
        own = {name: value for name, value in fields.items() if name in settings_of(type(self))}
        of_strategy = {name: value for name, value in fields.items() if name not in own}
        chosen, late = of_strategy.pop("strategy", None), own.get("strength") is not None
        if chosen is None and not of_strategy and not late:
            return dataclasses.replace(self, **own)  # any strategy, one without settings too
        return dataclasses.replace(
            self, **own, strategy=changed_strategy(self.strategy, chosen, of_strategy, begins_late=late)
        )

    def completed(self, base: Strategy) -> SamplingSettings:
        """Return the settings with a whole strategy: ``base`` where they leave it open."""
        late = self.strength is not None
        return dataclasses.replace(self, strategy=completed(self.strategy, base, begins_late=late))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types, flat; ``from_dict`` reads them.  ``output_type`` is left out.

        Raises SettingError for an array or a key, which JSON cannot hold, and for a strategy that is not whole.
        """
        if isinstance(self.strategy, PartialStrategy):
            told = "{strategy} is left to the model in part; JSON holds a whole one, as completed() and a call give it"
            raise SettingError(told)
        known = settings_of(type(self)) | (settings_of(self.strategy) if self.strategy is not None else {})
        return {
            name: value if name == "strategy" else _plain(name, value, known[name])
            for name, value in self.flat().items()
            if name != "output_type"
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> SamplingSettings:
        """Return the settings that ``to_dict`` wrote, also under the names of older files.

        A strategy in it is whole: what the table leaves out is the strategy's default, and a table with settings of
        one and no name is of the posterior.  Raises SettingError.
        """
        made = cls.of(**renamed(table))
        return made.completed(Ancestral()) if isinstance(made.strategy, PartialStrategy) else made


class StrategyFields(TypedDict, total=False):
    """Settings of the strategies of this package, beside a strategy's name in a call."""

    first_timestep: int | None
    timesteps: Sequence[int] | None
    skip_step: int
    counts: Sequence[int] | None
    tokens_per_call: int | None
    purity_weight: float | jax.Array
    temperature: float | jax.Array
    mask_schedule: str
    entropy_bound: float | jax.Array
    remask_rate: float
    remask_schedule: str


class SamplingFields(StrategyFields, total=False):
    """The fields of SamplingSettings as keyword arguments of a call; a test compares the two."""

    class_labels: int | Sequence[int] | None
    negative_prompt: str | Sequence[str] | None
    num_images_per_prompt: int
    seed: Seed | Sequence[Seed] | None
    first_image: int
    prompt_embeds: Any
    negative_prompt_embeds: Any
    noise: Noise | None
    image: Any
    mask_image: Any
    outpaint: Sequence[float] | None
    strength: float | None
    latents: Any
    strategy: Strategy | str | None
    guidance_scale: float | None
    guidance_interval: Sequence[int] | None
    guidance_plausibility: float | None
    null: str
    truncation_rate: float | None
    top_k: int | None
    batch_size: int | None
    rounding: str
    return_trajectory: bool
    output_type: str


def all_settings() -> dict[str, Setting]:
    """Return every setting by name: those of SamplingSettings, then those of the strategies."""
    found = settings_of(SamplingSettings)
    for cls in STRATEGIES.values():
        found |= {name: about for name, about in settings_of(cls).items() if name not in found}
    return found


def renamed(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of settings in today's form: of an older file, former names and numbers written as texts."""
    known = all_settings()
    today = {about.formerly: name for name, about in known.items() if about.formerly}
    found = {today.get(name, name): value for name, value in table.items()}
    return {name: _numbers(known[name], value) if name in known else value for name, value in found.items()}


def _numbers(about: Setting, value: Any) -> Any:
    """Return a list of texts as the numbers that they are; any other value as it is."""
    if about.type not in (int, float) or not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return value
    try:
        return [about.type(one) for one in value]
    except ValueError:
        return value


def _plain(name: str, value: Any, about: Setting) -> Any:
    """Return a value as plain JSON types; of a repeated setting that holds one value, that value."""
    if isinstance(value, tuple | list):
        plain = [_plain(name, one, about) for one in value]
        return plain[0] if about.repeated and len(plain) == 1 else plain
    if isinstance(value, PathLike):
        return fspath(value)
    if not isinstance(value, bool | int | float | str):
        raise SettingError(f"{{{name}}} is of type {{value}}, which JSON cannot hold", value=type(value).__name__)
    return value
