"""``VQDiffusionPipeline``: a checkpoint in, pictures out.

Settings belong to the call, never to the object: two calls never influence
each other, and the same call gives the same pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import ModelConfig
from .diffusion.schedule import Schedule, make_schedule
from .diffusion.transitions import check_tokens
from .generation import Condition, Request, generate, generate_in_pieces
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import ROUNDINGS, images_to_float
from .sampling import (
    Ancestral,
    Guidance,
    KeyNoise,
    Noise,
    RecordedNoise,
    Strategy,
    TopK,
    TopR,
    all_mask_start,
    composite,
    first_timestep_of,
    image_keys,
    noised_start,
    token_mask,
)
from .sharding import batch_sharding
from .text.tokenizer import Tokenizer

OUTPUT_TYPES = ("pil", "np", "uint8", "tokens")
_EDIT_DRAW = 2**30  # the encoder's own noise, apart from every draw of the sampler


@dataclass(frozen=True)
class VQDiffusionOutput:
    """What a call made.

    images: PIL images, or (n, height, width, 3) float32 in [0, 1] ("np") or
    uint8 ("uint8"), or None ("tokens").
    tokens: (n, length) int32.
    trajectory: (n, calls, length) int32 tokens after every network call, if asked for.
    """

    images: Any
    tokens: np.ndarray
    trajectory: np.ndarray | None = None


class VQDiffusionPipeline:
    """Text, class or nothing to pictures.

    model: a VQDiffusionModel; tokenizer: for text models; mesh: spreads
    pictures over its data and fsdp axes (weights are placed by ``from_pretrained``).
    """

    def __init__(self, model: VQDiffusionModel, tokenizer: Tokenizer | None = None, *, mesh: jax.sharding.Mesh | None = None):
        self.model = model
        self.config: ModelConfig = model.config
        self.schedule: Schedule = make_schedule(model.config.schedule)
        self.tokenizer = tokenizer or (Tokenizer(model.config.tokenizer) if model.config.tokenizer else None)
        self.mesh = mesh

    @classmethod
    def from_pretrained(cls, path, **options) -> VQDiffusionPipeline:
        """Load a native folder, a diffusers folder or a .pth file; see ``vqdiffusion_jax.loading.load`` for the options."""
        from .loading import load

        return load(path, **options)

    def save_pretrained(self, folder) -> None:
        """Write a native folder: config.json, weights, tokenizer, README with the licence note."""
        from .loading import save

        save(self, folder)

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        class_labels: int | Sequence[int] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int | None = None,
        strategy: Strategy | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[int, int] | None = None,
        null: str = "auto",
        truncation_rate: float | None = None,
        top_k: int | None = None,
        seed: int | Sequence[int] | jax.Array = 0,
        generator: int | Sequence[int] | jax.Array | None = None,
        noise: Noise | None = None,
        latents: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        image: Any = None,
        strength: float | None = None,
        mask_image: Any = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        rounding: str = "truncate",
        return_dict: bool = True,
        return_trajectory: bool = False,
        callback: Callable[[int, int, jax.Array], Any] | None = None,
        callback_steps: int = 1,
    ) -> VQDiffusionOutput | tuple:
        """Draw pictures.

        Args:
          prompt: one or more texts (text models).
          class_labels: one or more labels (class models).
          negative_prompt: text that takes the null condition's place in guidance.
          num_images_per_prompt: pictures for each prompt, label, or (unconditional) in all.
          num_inference_steps: network calls of the exact strided posterior, evenly spaced; None for all of them.
          strategy: another step rule from ``vqdiffusion_jax.sampling``.
          guidance_scale: 1 is none; None for the model's default.
          guidance_interval: (lowest, highest) timestep at which guidance acts; None for all.
          null: which null condition guides: "learnable", "text" (the empty prompt, zero-shot), or "auto".
          truncation_rate: keep the likeliest codes up to this probability; 1 keeps (nearly) all; None for the model's default.
          top_k: keep so many codes instead; the codebook's size or more truncates nothing.
          seed, generator: a whole number, a jax key, or a sequence of numbers, one a picture.  A picture depends on
            its seed, its prompt and how many pictures of the same prompt precede it, not on its neighbours.
          noise: recorded noise instead, for the whole batch.
          latents: (n, length) tokens to start from instead of all [MASK].
          prompt_embeds, negative_prompt_embeds: (prompts, length, width) ready-made text states.
          image: a picture, or one a picture to draw, to start from (with strength) or to keep parts of (with mask_image):
            PIL, or uint8 (height, width, 3), of the codec's size.
          strength: in (0, 1]; how far ``image`` is noised before denoising; 1 if only a mask is given.
          mask_image: (height, width), set where to paint; pixels elsewhere come back exactly.
          batch_size: pictures drawn together.  Bits of a picture are fixed for a given batch size; the default is 1 on
            the CPU and everything at once elsewhere.
          output_type: "pil", "np" (float32 in [0, 1]), "uint8" or "tokens".
          rounding: to 8 bits: "truncate" as the reference, or "round".
          return_trajectory: also return the tokens after every call.
          callback: called as callback(calls done, timestep, tokens) every ``callback_steps`` calls; True stops the run there.

        Returns:
          VQDiffusionOutput, or (images,) if not return_dict.

        Raises:
          ValueError: one line for every argument that cannot be used, before anything is computed.
        """
        _one_of("output_type", output_type, OUTPUT_TYPES)
        _one_of("rounding", rounding, ROUNDINGS)
        for name, value in (("num_images_per_prompt", num_images_per_prompt), ("callback_steps", callback_steps), ("batch_size", batch_size)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        wanted, subjects = self._wanted(prompt, class_labels, prompt_embeds, num_images_per_prompt)
        count = len(subjects)
        guidance = Guidance(self.config.sampling.guidance_scale if guidance_scale is None else guidance_scale, guidance_interval)
        unwanted = self._unwanted(guidance, null, negative_prompt, negative_prompt_embeds, count, num_images_per_prompt)
        truncation = self._truncation(truncation_rate, top_k)
        noise = self._noise(noise, seed if generator is None else generator, subjects)
        start, known, first_timestep = self._start(count, latents, image, strength, mask_image, noise)
        strategy = self._strategy(strategy, num_inference_steps, first_timestep)
        plan = strategy.plan(self.schedule, self.config.denoiser.num_tokens)
        first_call = 0 if first_timestep is None else 1

        keep = image if mask_image is not None else None
        output = "tokens" if output_type == "tokens" else "float" if output_type == "np" and keep is None else "uint8"
        options = {"output": output, "rounding": rounding, "keep_trajectory": return_trajectory}
        batch_size = min(batch_size or (1 if self._on_one_cpu() and not isinstance(noise, RecordedNoise) else count), count)
        results = []
        for first in range(0, count, batch_size):
            # The last batch is filled up, so that every batch has the one compiled shape.
            rows = np.minimum(np.arange(first, first + batch_size), count - 1)
            take = lambda tree: jax.tree.map(lambda leaf: leaf[rows], tree)  # noqa: E731, B023
            request = Request(
                condition=take(wanted), null=take(unwanted), strategy=strategy, plan=plan, guidance=guidance, truncation=truncation,
                noise=_noise_rows(noise, rows), start=start[rows], known=take(known), first_call=first_call,
            )  # fmt: skip
            request = self._placed(request)
            if callback is None:
                made = generate(self.model, request, **options)
            else:
                made = generate_in_pieces(self.model, request, callback, callback_steps, **options)
            results.append(made)
        tokens, pixels, trajectory = (_gather(parts, axis, count) for parts, axis in zip(zip(*results, strict=True), (0, 0, 1), strict=True))
        if keep is not None and pixels is not None:
            pixels = np.asarray(composite(_pictures(image, count, self.config.codec), pixels, _mask(mask_image)))
        images = _as_images(pixels, output_type)
        if not return_dict:
            return (images,)
        return VQDiffusionOutput(images, tokens, None if trajectory is None else np.swapaxes(trajectory, 0, 1))

    def encode(self, images: Any, *, seed: int | None = None) -> np.ndarray:
        """Pictures (PIL, or uint8 (n, height, width, 3)) to tokens (n, length) int32.

        seed: draw the tokens of a "gumbel" codec, as in training; None takes the likeliest.
        """
        pictures = _pictures(images, None, self.config.codec)
        key = None if seed is None else image_keys(seed, 0, len(pictures))
        return np.asarray(_encode(self.model, jnp.asarray(pictures), key))

    def decode(self, tokens: Any, *, rounding: str = "truncate") -> np.ndarray:
        """Tokens (n, length) to pictures (n, height, width, 3) uint8.  Raises ValueError for a token that is no code."""
        from .generation import _render

        tokens = np.asarray(tokens)
        check_tokens(tokens, self.config.denoiser.num_codes, allow_mask=False)
        return np.asarray(_render(self.model, jnp.asarray(tokens, jnp.int32), "uint8", rounding))

    # What the arguments of a call mean, one method each.

    def _wanted(self, prompt, class_labels, prompt_embeds, repeats: int) -> tuple[Condition, list]:
        """The condition of every picture, and what each shows, for counting repeats of the same prompt."""
        kind = self.config.denoiser.condition
        given = {"prompt": prompt, "class_labels": class_labels, "prompt_embeds": prompt_embeds}
        takes = {"text": ("prompt", "prompt_embeds"), "class": ("class_labels",), "none": ()}[kind]
        for name, value in given.items():
            if value is not None and name not in takes:
                raise ValueError(f"{name} is given, but this model is {_KINDS[kind]}; it takes {' or '.join(takes) or 'no condition'}")
        if kind == "none":
            return Condition(), [None] * repeats
        if sum(given[name] is not None for name in takes) != 1:
            raise ValueError(f"this model is {_KINDS[kind]}; give {' or '.join(takes)}")
        if kind == "class":
            labels = np.atleast_1d(np.asarray(class_labels))
            last = self.config.denoiser.num_classes - self.config.denoiser.learnable_null - 1
            if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or labels.size == 0 or labels.min() < 0 or labels.max() > last:
                raise ValueError(f"class_labels is {class_labels!r}; labels are whole numbers from 0 to {last}")
            labels = np.repeat(labels, repeats)
            return Condition(labels=labels.astype(np.int32)), labels.tolist()
        if prompt_embeds is not None:
            embedding = np.repeat(self._embeds("prompt_embeds", prompt_embeds), repeats, axis=0)
            return Condition(embedding=embedding), [row.tobytes() for row in embedding]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise ValueError("prompt is an empty list; give at least one text")
        ids, _ = self.tokenizer(prompts)
        return Condition(ids=np.repeat(ids, repeats, axis=0)), [text for text in prompts for _ in range(repeats)]

    def _unwanted(self, guidance, null, negative_prompt, negative_embeds, count: int, repeats: int) -> Condition | None:
        """The null condition of every picture, or None where guidance is not active."""
        kind, denoiser = self.config.denoiser.condition, self.config.denoiser
        _one_of("null", null, ("auto", "learnable", "text"))
        if (negative_prompt is not None or negative_embeds is not None) and kind != "text":
            raise ValueError(f"negative_prompt is given, but this model is {_KINDS[kind]}; only text models take one")
        if null == "text" and kind != "text" or null == "learnable" and not denoiser.learnable_null:
            raise ValueError(f"null={null!r}, but this model has no {'text tower' if null == 'text' else 'learnable null condition'}; use 'auto'")
        if not guidance.active:
            return None
        if kind == "none":
            raise ValueError(f"guidance_scale is {guidance.scale}, but this model is unconditional: there is nothing to guide by; leave it at 1")
        if kind == "class":
            return Condition(labels=np.full(count, denoiser.null_label, np.int32))
        if negative_embeds is not None:
            embeds = self._embeds("negative_prompt_embeds", negative_embeds)
            return Condition(embedding=np.repeat(embeds, count // len(embeds), axis=0))
        if negative_prompt is None and (null == "learnable" or null == "auto" and denoiser.learnable_null):
            return Condition()
        texts = [negative_prompt or ""] if isinstance(negative_prompt or "", str) else list(negative_prompt)
        if len(texts) not in (1, count // repeats):
            raise ValueError(f"negative_prompt has {len(texts)} texts for {count // repeats} prompts; give one, or one a prompt")
        ids, _ = self.tokenizer(texts)
        return Condition(ids=np.repeat(ids, count // len(texts), axis=0))

    def _embeds(self, name: str, embeds) -> np.ndarray:
        embeds, denoiser = np.asarray(embeds, np.float32), self.config.denoiser
        if embeds.ndim != 3 or embeds.shape[2] != denoiser.condition_width or embeds.shape[0] == 0:
            raise ValueError(f"{name} has shape {embeds.shape}; it must be (prompts, length, {denoiser.condition_width})")
        return embeds

    def _truncation(self, rate: float | None, top_k: int | None) -> TopR | TopK | None:
        if top_k is not None:
            if rate is not None:
                raise ValueError("truncation_rate and top_k are both given; give one")
            return TopK(top_k)
        return TopR(self.config.sampling.truncation_rate if rate is None else rate)

    def _noise(self, noise: Noise | None, seed, subjects: list) -> Noise:
        if noise is not None:
            return noise
        if isinstance(seed, Sequence):
            if len(seed) != len(subjects):
                raise ValueError(f"{len(seed)} seeds are given for {len(subjects)} pictures; give one number, or one a picture")
            return KeyNoise(jnp.concatenate([image_keys(_seed(one), 0, 1) for one in seed]))
        seen: Counter = Counter()
        repeats = [seen.update([subject]) or seen[subject] - 1 for subject in subjects]
        return KeyNoise(image_keys(_seed(seed), 0, max(repeats) + 1)[np.asarray(repeats)])

    def _strategy(self, strategy: Strategy | None, steps: int | None, first_timestep: int | None) -> Strategy:
        if strategy is None:
            return Ancestral(num_steps=steps, first_timestep=first_timestep)
        if steps is not None:
            raise ValueError("num_inference_steps and strategy are both given; a strategy fixes its own steps")
        if first_timestep is not None:
            raise ValueError("strength and strategy are both given; partial noising goes with the default strategy (see num_inference_steps)")
        return strategy

    def _start(self, count: int, latents, image, strength, mask_image, noise: Noise):
        """(start tokens, known tokens or None, first timestep or None)."""
        denoiser, codec = self.config.denoiser, self.config.codec
        if (strength is not None or mask_image is not None) and image is None and latents is None:
            raise ValueError("strength or mask_image is given without an image; give image")
        if image is not None and latents is not None:
            raise ValueError("image and latents are both given; give one")
        if image is not None and strength is None and mask_image is None:
            raise ValueError("image is given without strength (how far to noise it) or mask_image (where to paint); give one or both")
        first_timestep = None if strength is None else first_timestep_of(strength, self.schedule.num_timesteps)
        if image is not None:
            pictures = _pictures(image, count, codec)
            keys = jax.vmap(lambda key: jax.random.fold_in(key, _EDIT_DRAW))(noise.keys) if isinstance(noise, KeyNoise) else None
            tokens = _encode(self.model, jnp.asarray(pictures), keys)
        elif latents is not None:
            tokens = np.asarray(latents)
            check_tokens(tokens, denoiser.num_codes, allow_mask=True)
            if tokens.shape != (count, denoiser.num_tokens):
                raise ValueError(f"latents has shape {tokens.shape}; it must be ({count}, {denoiser.num_tokens}): one grid of tokens a picture")
            tokens = jnp.asarray(tokens, jnp.int32)
        else:
            return all_mask_start(count, denoiser.num_tokens, denoiser.num_codes), None, None
        start, known = tokens, None
        if mask_image is not None:
            mask = _mask(mask_image)
            if mask.shape[-2:] != (codec.image_size, codec.image_size):
                raise ValueError(f"mask_image has shape {mask.shape}; it must be ({codec.image_size}, {codec.image_size}), as the image")
            paint = jnp.broadcast_to(token_mask(mask, codec.grid), tokens.shape)
            known = (~paint, tokens)
            if strength is None:
                start = jnp.where(paint, denoiser.mask_token, tokens)
        if first_timestep is not None:
            start = noised_start(tokens, first_timestep, self.schedule, noise)
        return start, known, first_timestep

    # Where a call runs.

    def _on_one_cpu(self) -> bool:
        return self.mesh is None and jax.default_backend() == "cpu"

    def _placed(self, request: Request) -> Request:
        """The request's batch spread over the mesh."""
        if self.mesh is None:
            return request
        batch = request.start.shape[0]
        sharding = batch_sharding(self.mesh, batch)
        per_picture = (request.condition, request.null, request.start, request.known)
        condition, null, start, known = jax.device_put(per_picture, sharding)
        noise = request.noise
        if isinstance(noise, KeyNoise):
            noise = KeyNoise(jax.device_put(noise.keys, sharding))
        from dataclasses import replace

        return replace(request, condition=condition, null=null, start=start, known=known, noise=noise)


_KINDS = {"text": "conditioned on text", "class": "conditioned on class labels", "none": "unconditional"}


@jax.jit
def _encode(model: VQDiffusionModel, pictures: jax.Array, keys: jax.Array | None) -> jax.Array:
    return model.codec.encode(images_to_float(pictures), key=keys)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def _seed(seed) -> int | jax.Array:
    if isinstance(seed, jax.Array):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed!r}; give a whole number from 0 to 2**63 - 1, or a jax.random.key")
    return int(seed)


def _noise_rows(noise: Noise, rows: np.ndarray) -> Noise:
    if isinstance(noise, KeyNoise):
        return KeyNoise(noise.keys[rows])
    return jax.tree.map(lambda leaf: leaf[:, rows], noise)


def _mask(mask_image) -> np.ndarray:
    """A mask as (height, width) or (batch, height, width), nonzero where to paint; PIL masks are read at half brightness."""
    mask = np.asarray(mask_image)
    if hasattr(mask_image, "convert"):
        mask = np.asarray(mask_image.convert("L")) >= 128
    return mask


def _pictures(images, count: int | None, codec) -> np.ndarray:
    """PIL images or uint8 arrays as (n, height, width, channels) uint8; one picture is repeated ``count`` times."""
    many = images if isinstance(images, list | tuple) else [images] if hasattr(images, "convert") or np.ndim(images) == 3 else list(images)
    arrays = [np.asarray(one.convert("RGB") if hasattr(one, "convert") else one) for one in many]
    size = (codec.image_size, codec.image_size, codec.image_channels)
    for array in arrays:
        if array.dtype != np.uint8 or array.shape != size:
            raise ValueError(f"an image is {array.dtype}{array.shape}; it must be uint8{size}, so resize and crop it first")
    if count is not None and len(arrays) == 1:
        arrays = arrays * count
    if count is not None and len(arrays) != count:
        raise ValueError(f"{len(arrays)} images are given for {count} pictures; give one, or one a picture")
    return np.stack(arrays)


def _gather(parts, axis: int, count: int) -> np.ndarray | None:
    """Batches to one host array, without what filled up the last batch."""
    if parts[0] is None:
        return None
    whole = np.concatenate([np.asarray(part) for part in parts], axis=axis)
    return np.take(whole, np.arange(count), axis=axis)


def _as_images(pixels: np.ndarray | None, output_type: str):
    if pixels is None or output_type == "uint8":
        return pixels
    if output_type == "np":
        return pixels.astype(np.float32) / 255.0
    from PIL import Image

    return [Image.fromarray(array) for array in pixels]


