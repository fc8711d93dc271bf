"""``SamplingSettings``: everything that says which pictures are drawn, and how, in one frozen dataclass.

The call in Python, the flags of the command line, the JSON beside a picture, protocols of evaluation and the page all
hold one of these, under the same names: diffusers' name where diffusers has one.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypedDict

from ..errors import SettingError
from .ancestral import Ancestral
from .fields import Setting, check_fields, setting, settings_of
from .noise import Noise
from .registry import STRATEGIES, name_of
from .seeds import Seed, checked_seeds
from .strategy import Strategy

NULLS = ("auto", "learnable", "text")
OUTPUT_TYPES = ("pil", "np", "uint8", "tokens")
ROUNDINGS = ("truncate", "round")
WHAT, START, HOW, OUTPUT = "what", "start", "how", "output"
# Two ways to say the same thing.
EXCLUSIVE = (
    ("truncation_rate", "top_k"),
    ("image", "latents"),
    ("mask_image", "outpaint"),
    ("noise", "seed"),
    ("negative_prompt", "negative_prompt_embeds"),
)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings of one call.  None leaves a choice to the model or to the docstring's default.

    Raises SettingError, one line, for a value that is not allowed or for settings that do not go together.
    """

    prompt: str | Sequence[str] | None = setting(type=str, many=True, repeated=True, group=WHAT, help="Text to draw.")
    class_labels: int | Sequence[int] | None = setting(
        type=int, many=True, repeated=True, least=0, group=WHAT, formerly="class_label", help="Class to draw."
    )
    negative_prompt: str | Sequence[str] | None = setting(
        type=str, many=True, repeated=True, group=WHAT, help="Text to guide away from, in the null condition's place."
    )
    num_images_per_prompt: int = setting(
        1, type=int, least=1, group=WHAT, formerly="num_images", help="Pictures for each prompt or class."
    )
    seed: Seed | Sequence[Seed] | None = setting(
        type=int, check=checked_seeds, group=WHAT, default_help="0", help="Same seed, same pictures."
    )
    first_image: int = setting(
        0, type=int, least=0, group=WHAT, help="Number of each prompt's first picture, to go on from before."
    )
    prompt_embeds: Any = setting(type=None, help="Text states (prompts, length, width) in place of a prompt.")
    negative_prompt_embeds: Any = setting(type=None, help="Text states in place of a negative prompt.")
    noise: Noise | None = setting(type=None, help="KeyNoise or RecordedNoise for all pictures, in place of a seed.")

    image: Any = setting(
        type=str,
        check=lambda value: value,
        group=START,
        help="Picture to start from (with strength) or to keep parts of (with mask_image or outpaint).",
    )
    mask_image: Any = setting(
        type=str,
        check=lambda value: value,
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
        help="left,top,right,bottom: margins to paint around image, as fractions of the new picture.",
    )
    strength: float | None = setting(
        type=float, above=0.0, most=1.0, group=START, help="Share of all noise that image is given first."
    )
    latents: Any = setting(type=None, help="Tokens (pictures, length) to start from in place of all [MASK].")

    strategy: Strategy = dataclasses.field(default_factory=Ancestral)
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
        if isinstance(self.strategy, type) or not isinstance(self.strategy, Strategy):
            told = "{strategy} is {value!r}; give an instance of a class of vqdiffusion_jax.sampling, such as PurityPrior()"
            raise SettingError(told, value=self.strategy)
        if self.output_type not in OUTPUT_TYPES:
            allowed = f"one of {', '.join(OUTPUT_TYPES)}"
            raise SettingError(
                "{output_type} is {value!r}; it must be {allowed}", value=self.output_type, allowed=allowed
            )
        for one, other in EXCLUSIVE:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise SettingError(f"{{{one}}} and {{{other}}} are both given; give one")
        if self.guidance_interval is not None and self.guidance_interval[0] > self.guidance_interval[1]:
            told = "{guidance_interval} is {value}; it must be low,high with low no higher than high"
            raise SettingError(told, value=self.guidance_interval)
        self._check_start()

    def _check_start(self) -> None:
        if self.image is None:
            for name in ("mask_image", "outpaint", "strength"):
                if getattr(self, name) is not None and not (name == "strength" and self.latents is not None):
                    raise SettingError(f"{{{name}}} is given without {{image}}")
        elif self.strength is None and self.mask_image is None and self.outpaint is None:
            told = (
                "{image} is given without {strength} (how far to noise it), {mask_image} (where to paint) or {outpaint};"
                " give one of them"
            )
            raise SettingError(told)

    @classmethod
    def of(cls, **fields: Any) -> SamplingSettings:
        """Return settings from flat fields: a strategy's own settings stand beside the others.

        strategy: an instance, or a name of ``STRATEGIES``, whose settings are then those among ``fields``; without it
        they are the posterior's.  None leaves out a strategy's setting.
        Raises SettingError for a name that is unknown, and for a setting of another strategy.
        """
        known = all_settings()
        for name in fields:
            if name not in known and name not in (own := [field.name for field in dataclasses.fields(cls)]):
                near = difflib.get_close_matches(name, [*known, *own], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise SettingError(f"there is no setting {name}{hint}".replace("{", "{{").replace("}", "}}"))
        own = {name: value for name, value in fields.items() if name in settings_of(cls)}
        of_strategy = {name: value for name, value in fields.items() if name not in own and value is not None}
        of_strategy.pop("strategy", None)
        return cls(**own, strategy=strategy_of(fields.get("strategy"), of_strategy))

    def flat(self) -> dict[str, Any]:
        """Return every field that is not None, the strategy by name and its settings beside the others."""
        own = {name: getattr(self, name) for name in settings_of(type(self))}
        own |= {"strategy": name_of(self.strategy)}
        own |= {name: getattr(self.strategy, name) for name in settings_of(self.strategy)}
        return {name: value for name, value in own.items() if value is not None}

    def changed(self, **fields: Any) -> SamplingSettings:
        """Return these settings with flat fields in place of their own.

        Another strategy drops the settings of the one before, and a field drops the one that says the same otherwise.
        """
        kept = self.flat()
        if isinstance(fields.get("strategy", ""), str):
            if fields.get("strategy", kept["strategy"]) != kept["strategy"]:
                kept = {name: value for name, value in kept.items() if name not in settings_of(self.strategy)}
        else:
            kept = {name: value for name, value in kept.items() if name not in settings_of(self.strategy)}
        for pair in (*EXCLUSIVE, ("num_inference_steps", "timesteps")):
            for one, other in (pair, pair[::-1]):
                if fields.get(one) is not None and fields.get(other) is None:
                    kept.pop(other, None)
        return type(self).of(**(kept | fields))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types, flat; ``from_dict`` reads them back.

        Raises SettingError for an array or a key, which JSON cannot hold.
        """
        known = all_settings()
        return {
            name: value if name == "strategy" else _plain(name, value, known[name])
            for name, value in self.flat().items()
            if name != "output_type"
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> SamplingSettings:
        """Return the settings that ``to_dict`` wrote; also reads the names of older files.  Raises SettingError."""
        return cls.of(**renamed(table))


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingSettings as keyword arguments of a call; a test holds the two together."""

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


def takers(name: str) -> list[str]:
    """Return the names of the strategies that have a setting."""
    return [strategy for strategy, cls in STRATEGIES.items() if name in settings_of(cls)]


def strategy_of(chosen: Strategy | str | None, fields: Mapping[str, Any]) -> Strategy:
    """Return a strategy given, or the one of that name (None: the posterior) with ``fields`` as its settings.

    Raises SettingError for an unknown name, for a setting of another strategy, and for settings beside a strategy given.
    """
    if not isinstance(chosen, str | None):
        if fields:
            told = f"{{{next(iter(fields))}}} and {{strategy}} are both given; a strategy holds its own settings"
            raise SettingError(told)
        return chosen
    chosen = chosen or "posterior"
    if chosen not in STRATEGIES:
        near = difflib.get_close_matches(chosen, STRATEGIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        told = "{strategy} is {value!r}; it must be {allowed}{hint}"
        raise SettingError(told, value=chosen, allowed=f"one of {', '.join(STRATEGIES)}", hint=hint)
    cls = STRATEGIES[chosen]
    for name in fields:
        if name not in settings_of(cls):
            told = f"{{{name}}} goes with {{strategy}}={{takers}}, not {{chosen}}"
            raise SettingError(told, takers=" or ".join(takers(name)), chosen=chosen)
    return cls(**fields)


def renamed(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of settings with the names, and the lists of texts, of older files replaced by today's."""
    known = all_settings()
    today = {about.formerly: name for name, about in known.items() if about.formerly}
    found = {today.get(name, name): value for name, value in table.items()}
    return {name: _numbers(known[name], value) if name in known else value for name, value in found.items()}


def _numbers(about: Setting, value: Any) -> Any:
    """Return a list of numbers that an older file holds as texts; anything else as it is."""
    if about.type not in (int, float) or not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return value
    try:
        return [about.type(one) for one in value]
    except ValueError:
        return value


def _plain(name: str, value: Any, about: Setting) -> Any:
    """Return a value as plain JSON types; a repeated setting of one value as that value."""
    if isinstance(value, tuple | list):
        plain = [_plain(name, one, about) for one in value]
        return plain[0] if about.repeated and len(plain) == 1 else plain
    if isinstance(value, PathLike):
        return fspath(value)
    if not isinstance(value, bool | int | float | str):
        raise SettingError(f"{{{name}}} is a {{value}}, which JSON cannot hold", value=type(value).__name__)
    return value
