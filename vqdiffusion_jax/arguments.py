"""What the arguments of a pipeline's call mean: each function turns some of them into arrays, or raises one clear ValueError.

Everything here runs on the host before any network does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import DenoiserConfig, ModelConfig, VQGANConfig
from .generation import Condition
from .sampling import Ancestral, Guidance, KeyNoise, Noise, Strategy, TopK, TopR, image_keys
from .text.tokenizer import Tokenizer

KINDS = {"text": "conditioned on text", "class": "conditioned on class labels", "none": "unconditional"}
TAKES = {"text": ("prompt", "prompt_embeds"), "class": ("class_labels",), "none": ()}
NULLS = ("auto", "learnable", "text")


def one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def at_least(least: int, **values: int | None) -> None:
    """Raise ValueError for a value that is given and not a whole number of at least ``least``."""
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def wanted(
    config: ModelConfig, tokenizer: Tokenizer | None, prompt, class_labels, prompt_embeds, repeats: int
) -> tuple[Condition, list]:
    """The condition of every picture, and what each shows, by which pictures of the same prompt are told apart."""
    kind = config.denoiser.condition
    given = {"prompt": prompt, "class_labels": class_labels, "prompt_embeds": prompt_embeds}
    for name, value in given.items():
        if value is not None and name not in TAKES[kind]:
            raise ValueError(f"{name} is given, but this model is {KINDS[kind]}; it takes {' or '.join(TAKES[kind]) or 'no condition'}")
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
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise ValueError("prompt is an empty list; give at least one text")
    ids, _ = tokenizer(prompts)
    return Condition(ids=np.repeat(ids, repeats, axis=0)), [text for text in prompts for _ in range(repeats)]


def unwanted(
    config: ModelConfig, tokenizer: Tokenizer | None, guidance: Guidance, null: str, negative_prompt, negative_embeds, count: int,
    repeats: int,
) -> Condition | None:  # fmt: skip
    """The null condition of each of ``count`` pictures (``repeats`` a prompt), or None where guidance is not active."""
    kind, denoiser = config.denoiser.condition, config.denoiser
    one_of("null", null, NULLS)
    if (negative_prompt is not None or negative_embeds is not None) and kind != "text":
        raise ValueError(f"negative_prompt is given, but this model is {KINDS[kind]}; only text models take one")
    if null == "text" and kind != "text":
        raise ValueError(f"null='text', but this model is {KINDS[kind]} and reads no text; use 'auto'")
    if null == "learnable" and not denoiser.learnable_null:
        raise ValueError("null='learnable', but this model has no learnable null condition; use 'auto'")
    if not guidance.active:
        return None
    if kind == "none":
        raise ValueError(f"guidance_scale is {guidance.scale}, but this model is unconditional and has nothing to guide by; leave it at 1")
    if kind == "class":
        return Condition(labels=np.full(count, denoiser.null_label, np.int32))
    if negative_embeds is not None:
        embeds = _embeds(denoiser, "negative_prompt_embeds", negative_embeds)
        return Condition(embedding=np.repeat(embeds, _share(count, repeats, len(embeds), "negative_prompt_embeds"), axis=0))
    if negative_prompt is None and (null == "learnable" or null == "auto" and denoiser.learnable_null):
        return Condition()
    texts = [negative_prompt or ""] if isinstance(negative_prompt or "", str) else list(negative_prompt)
    share = _share(count, repeats, len(texts), "negative_prompt")
    return Condition(ids=np.repeat(tokenizer(texts)[0], share, axis=0))


def _share(count: int, repeats: int, given: int, name: str) -> int:
    """How many pictures each of ``given`` null conditions serves: all of them, or those of one prompt."""
    if given not in (1, count // repeats):
        raise ValueError(f"{name} has {given} entries for {count // repeats} prompts; give one, or one a prompt")
    return count // given


def _labels(denoiser: DenoiserConfig, class_labels) -> np.ndarray:
    labels = np.atleast_1d(np.asarray(class_labels))
    last = denoiser.num_classes - denoiser.learnable_null - 1
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > last:
        raise ValueError(f"class_labels is {class_labels!r}; labels are whole numbers from 0 to {last}")
    return labels.astype(np.int32)


def _embeds(denoiser: DenoiserConfig, name: str, embeds) -> np.ndarray:
    embeds = np.asarray(embeds, np.float32)
    if embeds.ndim != 3 or not embeds.shape[0] or embeds.shape[1:] != (denoiser.condition_length, denoiser.condition_width):
        raise ValueError(f"{name} has shape {embeds.shape}; it must be (prompts, {denoiser.condition_length}, {denoiser.condition_width})")
    return embeds


def truncation(config: ModelConfig, rate: float | None, top_k: int | None) -> TopR | TopK:
    """Top-k if asked for, else top-r at the rate given or the model's own."""
    if top_k is None:
        return TopR(config.sampling.truncation_rate if rate is None else rate)
    if rate is not None:
        raise ValueError("truncation_rate and top_k are both given; give one")
    return TopK(top_k)


def strategy(chosen: Strategy | None, steps: int | None, first_timestep: int | None) -> Strategy:
    """The strategy chosen, or the exact posterior in ``steps`` steps from ``first_timestep``."""
    if chosen is None:
        return Ancestral(num_steps=steps, first_timestep=first_timestep)
    if steps is not None:
        raise ValueError("num_inference_steps and strategy are both given; a strategy fixes its own steps")
    if first_timestep is not None:
        raise ValueError("strength and strategy are both given; strength goes with the default strategy (see num_inference_steps)")
    return chosen


def fresh_noise(seed: int | Sequence[int] | jax.Array, subjects: list, first_image: int) -> KeyNoise:
    """A key a picture: of its own seed, or of the common one and how many pictures of the same subject precede it."""
    if isinstance(seed, Sequence):
        if len(seed) != len(subjects):
            raise ValueError(f"{len(seed)} seeds are given for {len(subjects)} pictures; give one number, or one a picture")
        return KeyNoise(jnp.concatenate([image_keys(_seed(one), first_image, 1) for one in seed]))
    seen: Counter = Counter()
    repeats = []
    for subject in subjects:
        repeats.append(seen[subject])
        seen[subject] += 1
    return KeyNoise(image_keys(_seed(seed), first_image, max(repeats) + 1)[np.asarray(repeats)])


def _seed(seed: Any) -> int | jax.Array:
    if isinstance(seed, jax.Array):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}; give a whole number from 0 to 2**63 - 1, or a jax.random.key")
    return int(seed)


def noise_rows(noise: Noise, rows: np.ndarray) -> Noise:
    """The noise of some pictures of the batch."""
    if isinstance(noise, KeyNoise):
        return KeyNoise(noise.keys[rows])
    return jax.tree.map(lambda leaf: leaf[:, rows], noise)


def pictures(images: Any, codec: VQGANConfig, count: int | None = None) -> np.ndarray:
    """PIL images or uint8 arrays as (n, height, width, channels) uint8; one picture is repeated ``count`` times."""
    one = hasattr(images, "convert") or not isinstance(images, list | tuple) and np.ndim(images) == 3
    arrays = [np.asarray(image.convert("RGB") if hasattr(image, "convert") else image) for image in ([images] if one else images)]
    size = (codec.image_size, codec.image_size, codec.image_channels)
    for array in arrays:
        if array.dtype != np.uint8 or array.shape != size:
            raise ValueError(f"an image is {array.dtype}{array.shape}; it must be uint8{size}, so resize and crop it first")
    if count is not None and len(arrays) == 1:
        arrays = arrays * count
    if not arrays or count is not None and len(arrays) != count:
        raise ValueError(f"{len(arrays)} images are given for {count or 'some'} pictures; give one, or one a picture")
    return np.stack(arrays)


def paint_mask(mask_image: Any, codec: VQGANConfig) -> np.ndarray:
    """A mask as (height, width) or (batch, height, width), nonzero where to paint; PIL masks are read at half brightness."""
    mask = np.asarray(mask_image.convert("L")) >= 128 if hasattr(mask_image, "convert") else np.asarray(mask_image)
    if mask.ndim not in (2, 3) or mask.shape[-2:] != (codec.image_size, codec.image_size):
        raise ValueError(f"mask_image has shape {mask.shape}; it must be ({codec.image_size}, {codec.image_size}), as the image")
    return mask
