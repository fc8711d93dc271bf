"""``settle``: a ``Call`` from settings and the model's configuration alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ..config import ModelConfig
from ..diffusion.schedule import Schedule
from ..errors import ConfigError, SettingError, tell
from ..generation import Condition
from ..sampling import Guidance, Noise, Plan, Strategy, TopK, TopR, first_timestep_of
from ..sampling.choice import PartialStrategy, completed, strategy_of
from ..sampling.registry import name_of
from ..sampling.seeds import noise_of
from ..sampling.settings import SamplingSettings
from ..sampling.strategy import StartsAnywhere
from ..text.tokenizer import Tokenizer
from .conditions import condition_of, null_condition_of, subjects_of
from .noise import check_noise
from .starts import Given, given_start


@dataclass(frozen=True)
class Call:
    """A call whose settings are checked against the model.

    settings: with the model's guidance and truncation in place of None.
    condition, null: of every picture, in order; null is None if guidance is not active.
    subjects: the prompt or label of each picture; equal ones are pictures of the same subject.
    guidance, truncation, strategy, plan: as ``sampling`` takes them.
    first_timestep: the timestep to which a given picture is noised first, or None.
    given: the start of the pictures.  noise: of all pictures.
    """

    settings: SamplingSettings
    condition: Condition
    null: Condition | None
    subjects: list[Hashable]
    guidance: Guidance
    truncation: TopR | TopK
    strategy: Strategy
    plan: Plan
    first_timestep: int | None
    given: Given
    noise: Noise

    @property
    def first_call(self) -> int:
        """Number of the noise draw that the first network call uses; noising a given picture takes one before."""
        return 0 if self.first_timestep is None else 1

    def unused(self, spell: Callable[[str], str] = str, *, painted: str = "lighter than half and visible") -> list[str]:
        """Return lines about settings that change nothing: those of guidance where there is none, and empty masks.

        A mask that paints everything is told as well, since nothing of the picture is kept.
        spell: how fields are written, flags for instance.  painted: what of a mask is painted, in words.
        """
        return [*self._unused_guidance(spell), *self._odd_masks(spell, painted)]

    def _unused_guidance(self, spell: Callable[[str], str]) -> list[str]:
        given = [name for name in _OF_GUIDANCE if getattr(self.settings, name) is not None]
        given += ["null"] if self.settings.null != "auto" else []
        if self.guidance.active or not given:
            return []
        names = " and ".join(f"{{{name}}}" for name in given)
        does = "change" if len(given) > 1 else "changes"
        told = f"{names} {does} nothing, as {{guidance_scale}} is {{value:g}}, which is no guidance; give more than 1"
        return [tell(told, spell, value=self.settings.guidance_scale)]

    def _odd_masks(self, spell: Callable[[str], str], painted: str) -> list[str]:
        mask = self.given.mask
        if mask is None or self.settings.mask_image is None:
            return []
        lines = []
        for what, odd, so in (
            ("nothing", ~mask.any(axis=(1, 2)), "{image} comes back as it is"),
            ("everything", mask.all(axis=(1, 2)), "nothing of {image} is kept"),
        ):
            if odd.any():
                where = f" in {{count}} of {len(mask)} masks" if len(mask) > 1 else ""
                told = f"{{mask_image}} paints {what}{where}, so that {so}; painted is what is {{painted}}"
                lines.append(tell(told, spell, count=int(odd.sum()), painted=painted))
        return lines


_OF_GUIDANCE = ("negative_prompt", "negative_prompt_embeds", "guidance_interval", "guidance_plausibility")


def settle(config: ModelConfig, schedule: Schedule, tokenizer: Tokenizer | None, settings: SamplingSettings) -> Call:
    """Return the call of these settings.  Raises SettingError, one line, for settings that do not fit the model."""
    settings = with_defaults(config, settings)
    # Numbers come first: the texts of a long list take seconds to tokenize.
    subjects = subjects_of(config, settings)
    guidance, truncation = guidance_of(config, settings), truncation_of(config, settings)
    strategy, plan, first_timestep = planned(config, schedule, settings.strategy, settings.strength)
    noise = settings.noise
    if noise is None:
        assert settings.seed is not None  # after with_defaults
        noise = noise_of(settings.seed, subjects, settings.first_image)
    check_noise(noise, len(subjects), config, plan, first_calls=0 if first_timestep is None else 1)
    given = given_start(config, settings, first_timestep, len(subjects))
    null = null_condition_of(config, tokenizer, guidance, settings, len(subjects))
    return Call(
        settings=settings,
        condition=condition_of(config, tokenizer, settings),
        null=null,
        subjects=subjects,
        guidance=guidance,
        truncation=truncation,
        strategy=strategy,
        plan=plan,
        first_timestep=first_timestep,
        given=given,
        noise=noise,
    )


def with_defaults(config: ModelConfig, settings: SamplingSettings) -> SamplingSettings:
    """Return the settings with the model's values in place of those that they leave to it."""
    own = config.sampling
    filled: dict[str, Any] = {}
    if settings.guidance_scale is None:
        filled["guidance_scale"] = own.guidance_scale
    if settings.truncation_rate is None and settings.top_k is None:
        filled["truncation_rate"] = own.truncation_rate
    if settings.seed is None and settings.noise is None:
        filled["seed"] = 0
    if not isinstance(settings.strategy, Strategy):
        settings = settings.completed(default_strategy(config))
    return settings.changed(**filled)


def default_strategy(config: ModelConfig) -> Strategy:
    """Return the model's strategy.  Raises ConfigError for a strategy or settings of one that do not exist."""
    own = config.sampling
    try:
        return strategy_of(own.strategy, own.strategy_options)
    except SettingError as error:
        raise ConfigError(f"SamplingDefaults of the model: {error}") from error


def planned(
    config: ModelConfig, schedule: Schedule, chosen: Strategy | PartialStrategy | None, strength: float | None
) -> tuple[Strategy, Plan, int | None]:
    """Return the strategy, its network calls, and the timestep to which a given picture is noised, or None.

    chosen: what it leaves open is the model's.
    """
    strategy = chosen
    if not isinstance(strategy, Strategy):
        strategy = completed(strategy, default_strategy(config), begins_late=strength is not None)
    first_timestep = None
    if strength is not None:
        first_timestep = first_timestep_of(strength, schedule.num_timesteps)
        if not isinstance(strategy, StartsAnywhere):
            told = "{strength} is given with {strategy}={value}; it goes with {strategy}=posterior"
            raise SettingError(told, value=name_of(strategy))
        strategy = strategy.starting_at(first_timestep)
    return strategy, strategy.plan(schedule, config.denoiser.num_tokens), first_timestep


def guidance_of(config: ModelConfig, settings: SamplingSettings) -> Guidance:
    """Return the guidance of settings with a known scale.  Raises SettingError for an interval beyond the timesteps."""
    interval, last = settings.guidance_interval, config.denoiser.num_timesteps - 1
    if interval is not None and interval[1] > last:
        allowed = f"(lowest, highest) with 0 <= lowest <= highest <= {last}"
        raise SettingError("{guidance_interval} is {value}; it must be {allowed}", value=interval, allowed=allowed)
    scale = settings.guidance_scale
    assert scale is not None  # after with_defaults
    interval = None if interval is None else (interval[0], interval[1])
    return Guidance(scale, interval, settings.guidance_plausibility)


def truncation_of(config: ModelConfig, settings: SamplingSettings) -> TopR | TopK:
    """Return top-k if it is asked for and drops anything, else top-r, of settings with a known rate."""
    if settings.top_k is not None:
        return TopK(settings.top_k) if settings.top_k < config.denoiser.num_codes else TopR(1.0)
    assert settings.truncation_rate is not None  # after with_defaults
    return TopR(settings.truncation_rate)
