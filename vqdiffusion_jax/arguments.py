"""What the arguments of a pipeline's call mean: each function turns some of them into arrays, or raises one clear ValueError.

Everything here runs on the host before any network does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import DenoiserConfig, ModelConfig, VQGANConfig
from .diffusion.schedule import Schedule
from .diffusion.transitions import check_tokens
from .generation import Condition
from .sampling import (
    Ancestral,
    Guidance,
    KeyNoise,
    Noise,
    Plan,
    RecordedNoise,
    Strategy,
    TopK,
    TopR,
    first_timestep_of,
    image_keys,
)
from .text.tokenizer import Tokenizer

KINDS = {"text": "conditioned on text", "class": "conditioned on class labels", "none": "unconditional"}
TAKES = {"text": ("prompt", "prompt_embeds"), "class": ("class_labels",), "none": ()}
NULLS = ("auto", "learnable", "text")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Given:
    """What pictures start from in place of all [MASK]: arrays of a row a picture, or of one row for all, or None.

    tokens: (n, length) int32; images: (n, height, width, channels) uint8; mask: (n, height, width) bool, True where to paint.
    """

    tokens: np.ndarray | None = None
    images: np.ndarray | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Call:
    """What a call draws and how: all of it that can be said, and checked, without the weights.

    condition, null: of every picture, in order; null is None where guidance is not active.
    subjects: what each picture shows, by which pictures of the same prompt are told apart.
    first_timestep: how far a picture given is noised first, or None.
    """

    condition: Condition
    null: Condition | None
    subjects: list
    guidance: Guidance
    truncation: TopR | TopK
    strategy: Strategy
    plan: Plan
    first_timestep: int | None

    @property
    def first_call(self) -> int:
        """Number of the noise draw that the first network call uses; a picture given takes one before."""
        return 0 if self.first_timestep is None else 1


def settle(
    config: ModelConfig,
    schedule: Schedule,
    tokenizer: Tokenizer | None,
    *,
    prompt: Any = None,
    class_labels: Any = None,
    prompt_embeds: Any = None,
    negative_prompt: Any = None,
    negative_prompt_embeds: Any = None,
    num_images_per_prompt: Any = 1,
    num_inference_steps: Any = None,
    strategy: Any = None,
    guidance_scale: Any = None,
    guidance_interval: Any = None,
    null: str = "auto",
    truncation_rate: Any = None,
    top_k: Any = None,
    strength: Any = None,
) -> Call:
    """The arguments of a pipeline's call as a ``Call``.  Raises ValueError, one line, for any that cannot be used."""
    repeats = whole("num_images_per_prompt", num_images_per_prompt, 1)
    condition, subjects = condition_of(config, tokenizer, prompt, class_labels, prompt_embeds, repeats)
    guide = guidance(config, guidance_scale, guidance_interval)
    null_condition = null_condition_of(
        config, tokenizer, guide, null, negative_prompt, negative_prompt_embeds, len(subjects), repeats
    )
    truncate = truncation(config, truncation_rate, top_k)
    chosen, plan, first_timestep = planned(config, schedule, strategy, num_inference_steps, strength)
    return Call(condition, null_condition, subjects, guide, truncate, chosen, plan, first_timestep)


def planned(
    config: ModelConfig, schedule: Schedule, chosen: Any, steps: Any, strength: Any
) -> tuple[Strategy, Plan, int | None]:
    """The strategy, its network calls, and the timestep that a picture given is noised to."""
    strength = number("strength", strength)
    first_timestep = None if strength is None else first_timestep_of(strength, schedule.num_timesteps)
    chosen = strategy(chosen, steps, first_timestep)
    return chosen, chosen.plan(schedule, config.denoiser.num_tokens), first_timestep


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def whole(name: str, value: Any, least: int) -> int | None:
    """A whole number of at least ``least``, of Python, numpy or jax; None stays None."""
    if value is None:
        return None
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return int(value)


def number(name: str, value: Any) -> float | None:
    """A finite number, of Python, numpy or jax; None stays None."""
    if value is None:
        return None
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; it must be a finite number")
    return float(value)


def one_given(first: str, second: str, *values: Any) -> None:
    """Raise ValueError if both of two arguments that say the same thing are given."""
    if all(value is not None for value in values):
        raise ValueError(f"{first} and {second} are both given; give one")


def guidance(config: ModelConfig, scale: Any, interval: Any) -> Guidance:
    """How strongly, and at which timesteps, the condition guides; the model's own scale where none is given."""
    scale = number("guidance_scale", scale)
    if interval is not None:
        last = config.denoiser.num_timesteps - 1
        bounds = list(interval) if isinstance(interval, Iterable) and not isinstance(interval, str) else []
        if len(bounds) != 2 or not all(isinstance(t, Integral) and not isinstance(t, bool) for t in bounds):
            raise ValueError(
                f"guidance_interval is {interval!r}; it must be two whole numbers, (lowest, highest) timestep"
            )
        interval = tuple(int(t) for t in bounds)
        if not 0 <= interval[0] <= interval[1] <= last:
            raise ValueError(
                f"guidance_interval is {interval}; it must be (lowest, highest) with 0 <= lowest <= highest <= {last}"
            )
    return Guidance(config.sampling.guidance_scale if scale is None else scale, interval)


def condition_of(
    config: ModelConfig, tokenizer: Tokenizer | None, prompt, class_labels, prompt_embeds, repeats: int
) -> tuple[Condition, list]:
    """The condition of every picture, and what each shows, by which pictures of the same prompt are told apart."""
    kind = config.denoiser.condition
    given = {"prompt": prompt, "class_labels": class_labels, "prompt_embeds": prompt_embeds}
    for name, value in given.items():
        if value is not None and name not in TAKES[kind]:
            raise ValueError(
                f"{name} is given, but this model is {KINDS[kind]}; it takes {' or '.join(TAKES[kind]) or 'no condition'}"
            )
    if kind == "none":
        return Condition(), [None] * repeats
    if sum(given[name] is not None for name in TAKES[kind]) != 1:
        raise ValueError(f"this model is {KINDS[kind]}; give {' or '.join(TAKES[kind])}")
    if kind == "class":
        labels = np.repeat(_labels(config.denoiser, class_labels), repeats)
        return Condition(labels=labels), labels.tolist()
    if prompt_embeds is not None:
        embedding = np.repeat(_embeds(config.denoiser, "prompt_embeds", prompt_embeds), repeats, axis=0)
        return Condition(embedding=embedding), [row.tobytes() for row in embedding]
    prompts = _texts("prompt", prompt)
    ids, _ = tokenizer(prompts)
    return Condition(ids=np.repeat(ids, repeats, axis=0)), [text for text in prompts for _ in range(repeats)]


def null_condition_of(
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    guidance: Guidance,
    null: str,
    negative_prompt,
    negative_embeds,
    count: int,
    repeats: int,
) -> Condition | None:
    """The null condition of each of ``count`` pictures (``repeats`` a prompt), or None where guidance is not active."""
    kind, denoiser = config.denoiser.condition, config.denoiser
    one_of("null", null, NULLS)
    one_given("negative_prompt", "negative_prompt_embeds", negative_prompt, negative_embeds)
    if (negative_prompt is not None or negative_embeds is not None) and kind != "text":
        raise ValueError(f"negative_prompt is given, but this model is {KINDS[kind]}; only text models take one")
    if null == "text" and kind != "text":
        raise ValueError(f"null='text', but this model is {KINDS[kind]} and reads no text; use 'auto'")
    if null == "learnable" and not denoiser.learnable_null:
        raise ValueError("null='learnable', but this model has no learnable null condition; use 'auto'")
    if negative_embeds is not None:
        negative_embeds = _embeds(denoiser, "negative_prompt_embeds", negative_embeds)
        share = _share(count, repeats, len(negative_embeds), "negative_prompt_embeds")
    else:
        texts = _texts("negative_prompt", "" if negative_prompt is None else negative_prompt)
        share = _share(count, repeats, len(texts), "negative_prompt")
    if not guidance.active:
        return None
    if kind == "none":
        raise ValueError(
            f"guidance_scale is {guidance.scale}, but this model is unconditional and has nothing to guide by; leave it at 1"
        )
    if kind == "class":
        return Condition(labels=np.full(count, denoiser.null_label, np.int32))
    if negative_embeds is not None:
        return Condition(embedding=np.repeat(negative_embeds, share, axis=0))
    if negative_prompt is None and (null == "learnable" or null == "auto" and denoiser.learnable_null):
        return Condition()
    return Condition(ids=np.repeat(tokenizer(texts)[0], share, axis=0))


def _texts(name: str, given: Any) -> list[str]:
    """One text or several as a list."""
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not texts:
        raise ValueError(f"{name} is an empty list; give at least one text")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{name} holds {text!r}; give a text or a list of texts")
    return texts


def _share(count: int, repeats: int, given: int, name: str) -> int:
    """How many pictures each of ``given`` null conditions serves: all of them, or those of one prompt."""
    if given not in (1, count // repeats):
        raise ValueError(f"{name} has {given} entries for {count // repeats} prompts; give one, or one a prompt")
    return count // given


def _labels(denoiser: DenoiserConfig, class_labels) -> np.ndarray:
    labels = np.atleast_1d(np.asarray(class_labels))
    last = denoiser.num_classes - denoiser.learnable_null - 1
    if (
        labels.ndim != 1
        or not labels.size
        or not np.issubdtype(labels.dtype, np.integer)
        or labels.min() < 0
        or labels.max() > last
    ):
        raise ValueError(f"class_labels is {class_labels!r}; labels are whole numbers from 0 to {last}")
    return labels.astype(np.int32)


def _embeds(denoiser: DenoiserConfig, name: str, embeds) -> np.ndarray:
    embeds = np.asarray(embeds, np.float32)
    if (
        embeds.ndim != 3
        or not embeds.shape[0]
        or embeds.shape[1:] != (denoiser.condition_length, denoiser.condition_width)
    ):
        raise ValueError(
            f"{name} has shape {embeds.shape}; it must be (prompts, {denoiser.condition_length}, {denoiser.condition_width})"
        )
    return embeds


def truncation(config: ModelConfig, rate: Any, top_k: Any) -> TopR | TopK:
    """Top-k if asked for, else top-r at the rate given or the model's own."""
    one_given("truncation_rate", "top_k", rate, top_k)
    rate, top_k = number("truncation_rate", rate), whole("top_k", top_k, 1)
    if top_k is not None:
        return TopK(top_k)
    return TopR(config.sampling.truncation_rate if rate is None else rate)


def strategy(chosen: Strategy | None, steps: Any, first_timestep: int | None) -> Strategy:
    """The strategy chosen, or the exact posterior in ``steps`` steps from ``first_timestep``."""
    steps = whole("num_inference_steps", steps, 1)
    if chosen is None:
        return Ancestral(num_steps=steps, first_timestep=first_timestep)
    if isinstance(chosen, type) or not (
        callable(getattr(chosen, "plan", None)) and callable(getattr(chosen, "step", None))
    ):
        raise ValueError(
            f"strategy is {chosen!r}; give an instance of a class of vqdiffusion_jax.sampling, such as PurityPrior()"
        )
    if steps is not None:
        raise ValueError("num_inference_steps and strategy are both given; a strategy fixes its own steps")
    if first_timestep is not None:
        raise ValueError(
            "strength and strategy are both given; strength goes with the default strategy (see num_inference_steps)"
        )
    return chosen


def fresh_noise(seed: Any, subjects: list, first_image: int) -> KeyNoise:
    """A key a picture: of its own seed, or of the common one and how many pictures of the same subject precede it."""
    seeds = _seeds(seed)
    if isinstance(seeds, list):
        if len(seeds) != len(subjects):
            raise ValueError(
                f"{len(seeds)} seeds are given for {len(subjects)} pictures; give one number, or one a picture"
            )
        return KeyNoise(jnp.concatenate([image_keys(one, first_image, 1) for one in seeds]))
    repeats = occurrences(subjects)
    return KeyNoise(image_keys(seeds, first_image, max(repeats) + 1)[np.asarray(repeats)])


def occurrences(subjects: Iterable[Hashable]) -> list[int]:
    """How many pictures of the same subject precede each."""
    seen: Counter = Counter()
    numbers = []
    for subject in subjects:
        numbers.append(seen[subject])
        seen[subject] += 1
    return numbers


def _seeds(seed: Any) -> int | jax.Array | list[int | jax.Array]:
    """One seed for all pictures, or a list of one a picture."""
    several = isinstance(seed, list | tuple)
    if isinstance(seed, np.ndarray | jax.Array):
        if _is_legacy_key(seed):
            raise ValueError("seed is a key of jax.random.PRNGKey; give a whole number, or a key of jax.random.key")
        several = seed.ndim == 1
        if several and not jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
            seed = np.asarray(seed).tolist()
    return [one_seed(one) for one in seed] if several else one_seed(seed)


def one_seed(seed: Any) -> int | jax.Array:
    """A seed that says no more than one: a whole number or a typed key."""
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.ndim == 0:
        return seed
    if isinstance(seed, np.ndarray | jax.Array) and seed.ndim == 0:
        seed = seed.item()
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        said = " ".join(repr(seed).split())
        raise ValueError(
            f"seed is {said}; give a whole number from 0 to 2**63 - 1, a jax.random.key, or a list with one a picture"
        )
    return int(seed)


def _is_legacy_key(seed: Any) -> bool:
    """Whether an array looks like what jax.random.PRNGKey makes: raw uint32 words, which are no seeds."""
    return isinstance(seed, jax.Array) and seed.dtype == jnp.uint32 and seed.ndim >= 1


def check_noise(noise: Any, count: int, config: ModelConfig, plan: Plan, first_call: int) -> None:
    """Raise ValueError unless ``noise`` holds every draw of ``count`` pictures.

    On the host, as an index past the end of an array on a device is silently taken as its last.
    """
    if isinstance(noise, KeyNoise):
        if not jnp.issubdtype(noise.keys.dtype, jax.dtypes.prng_key) or noise.keys.shape != (count,):
            found = f"{noise.keys.dtype}{list(noise.keys.shape)}"
            raise ValueError(f"noise has keys {found} for {count} pictures; give one key of jax.random.key a picture")
        return
    if not isinstance(noise, RecordedNoise):
        raise ValueError(
            f"noise is a {type(noise).__name__}; give a RecordedNoise or KeyNoise of vqdiffusion_jax.sampling"
        )
    draws = len(plan) + first_call
    _check_recorded(
        "uniforms", noise.uniforms, draws, (count, config.denoiser.num_tokens, config.denoiser.num_codes + 1)
    )
    if noise.exponentials is not None:
        _check_recorded("exponentials", noise.exponentials, draws, (count, config.denoiser.num_tokens))
    elif np.any(np.asarray(plan.reveal) > 0):
        raise ValueError(
            "noise has no exponentials, by which this strategy chooses positions; record (draws, pictures, tokens) of them"
        )


def _check_recorded(name: str, recorded: Any, draws: int, rest: tuple[int, ...]) -> None:
    shape = tuple(np.shape(recorded))
    if len(shape) != 1 + len(rest) or shape[1:] != rest or shape[0] < draws:
        raise ValueError(
            f"noise.{name} has shape {shape}; this call needs {(draws, *rest)}, or more draws: (draws, pictures, tokens, ...)"
        )


def noise_rows(noise: Noise, rows: np.ndarray) -> Noise:
    """The noise of some pictures of the batch."""
    if isinstance(noise, KeyNoise):
        return KeyNoise(noise.keys[rows])
    return jax.tree.map(lambda leaf: leaf[:, rows], noise)


def given_start(
    config: ModelConfig, latents: Any, image: Any, mask_image: Any, first_timestep: int | None, count: int
) -> Given:
    """What ``count`` pictures start from.  Raises ValueError, one line, for arguments that do not go together or do not fit."""
    mask = None if mask_image is None else paint_mask(mask_image, config.codec, count)
    if image is None and (mask is not None or first_timestep is not None and latents is None):
        raise ValueError("strength or mask_image is given without an image; give image")
    one_given("image", "latents", image, latents)
    if image is not None:
        if first_timestep is None and mask is None:
            raise ValueError(
                "image is given without strength (how far to noise it) or mask_image (where to paint); give one or both"
            )
        return Given(images=pictures(image, config.codec, count), mask=mask)
    if latents is None:
        return Given()
    tokens, shape = np.asarray(latents), (count, config.denoiser.num_tokens)
    check_tokens(tokens, config.denoiser.num_codes, allow_mask=True)
    if tokens.shape != shape:
        raise ValueError(f"latents has shape {tokens.shape}; it must be {shape}, one grid a picture")
    return Given(tokens=tokens.astype(np.int32))


def rows_of(array: Any, rows: np.ndarray) -> Any:
    """The rows of some pictures in an array of a row a picture, or of one row for all of them."""
    return array[np.minimum(rows, len(array) - 1)]


def pictures(images: Any, codec: VQGANConfig, count: int | None = None) -> np.ndarray:
    """PIL images or uint8 arrays as (n, height, width, channels) uint8: one, or ``count`` of them."""
    one = hasattr(images, "convert") or not isinstance(images, list | tuple) and np.ndim(images) == 3
    arrays = [
        np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
        for image in ([images] if one else images)
    ]
    size = (codec.image_size, codec.image_size, codec.image_channels)
    for array in arrays:
        if array.dtype != np.uint8 or array.shape != size:
            raise ValueError(
                f"an image is {array.dtype}{array.shape}; it must be uint8{size}, so resize and crop it first"
            )
    if not arrays or count is not None and len(arrays) not in (1, count):
        raise ValueError(f"{len(arrays)} images are given for {count or 'some'} pictures; give one, or one a picture")
    return np.stack(arrays)


def paint_mask(mask_image: Any, codec: VQGANConfig, count: int) -> np.ndarray:
    """A mask as (1, height, width), or (count, height, width) for one a picture, True where to paint.

    Arrays are painted where they are not 0, PIL masks where they are at least half bright.
    """
    mask = (
        np.stack([_mask(one) for one in mask_image])
        if isinstance(mask_image, list | tuple) and mask_image
        else _mask(mask_image)
    )
    if mask.ndim not in (2, 3) or mask.shape[-2:] != (codec.image_size, codec.image_size):
        raise ValueError(
            f"mask_image has shape {mask.shape}; it must be ({codec.image_size}, {codec.image_size}), as the image"
        )
    mask = mask[None] if mask.ndim == 2 else mask
    if len(mask) not in (1, count):
        raise ValueError(f"mask_image has {len(mask)} masks for {count} pictures; give one, or one a picture")
    return mask


def _mask(mask_image: Any) -> np.ndarray:
    return np.asarray(mask_image.convert("L")) >= 128 if hasattr(mask_image, "convert") else np.asarray(mask_image) != 0
