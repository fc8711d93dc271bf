"""``VQDiffusionPipeline``: a checkpoint in, pictures out.

Settings belong to the call, never to the object: two calls never influence
each other, and the same call gives the same pictures.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import jax
import numpy as np

from .call import Call, Given, pictures_of, planned, rows_of, settle
from .call.noise import noise_rows
from .config import ModelConfig
from .diffusion.schedule import Schedule, make_schedule
from .diffusion.transitions import check_tokens
from .errors import SettingError
from .generation import Request, generate, generate_in_pieces, render
from .models.layers import over_batch, replicated
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import encode_exactly, images_to_float
from .sampling import (
    KeyNoise,
    Noise,
    all_mask_start,
    composite,
    image_keys,
    inpainting_start,
    noised_start,
    token_mask,
)
from .sampling.fields import Setting
from .sampling.seeds import Seed, checked_seed
from .sampling.settings import ROUNDINGS, SamplingFields, SamplingSettings
from .sharding import batch_sharding
from .text.tokenizer import Tokenizer

PICTURES_A_DEVICE = 16  # drawn together by default on an accelerator; more hardly raises the rate and may not fit
_ENCODER_DRAW = 2**30  # the encoder's own noise, apart from every draw of the sampler


@dataclass(frozen=True)
class VQDiffusionOutput:
    """What a call made.

    images: PIL images, or (n, height, width, 3) float32 in [0, 1] ("np") or
    uint8 ("uint8"), or None ("tokens").
    tokens: (n, length) int32.
    trajectory: (n, calls, length) int32 tokens after every network call, if asked for.
    indices: (n,) which of the pictures asked for these are: all of them, or, over
    several processes, this process's share.
    """

    images: Any
    tokens: np.ndarray
    trajectory: np.ndarray | None = None
    indices: np.ndarray | None = None


class VQDiffusionPipeline:
    """Text, class or nothing to pictures.

    model: a VQDiffusionModel; tokenizer: for text models; mesh: spreads
    pictures over its data and fsdp axes (weights are placed by ``from_pretrained``).
    """

    def __init__(
        self, model: VQDiffusionModel, tokenizer: Tokenizer | None = None, *, mesh: jax.sharding.Mesh | None = None
    ):
        self.model = model
        self.config: ModelConfig = model.config
        self.schedule: Schedule = make_schedule(model.config.schedule)
        self.tokenizer = tokenizer or (Tokenizer(model.config.tokenizer) if model.config.tokenizer else None)
        self.mesh = mesh

    @classmethod
    def from_pretrained(cls, path, *, mesh: jax.sharding.Mesh | None = None, **options) -> VQDiffusionPipeline:
        """Load a native folder, a diffusers folder or a .pth file.

        options: ``dtype="bfloat16"``, or ``compute`` for finer choices; the companions of a .pth file: see ``loading.load_model``.
        """
        from .loading import load_model  # imported when needed, with all that reads other formats

        return cls(*load_model(path, mesh=mesh, **options), mesh=mesh)

    def save_pretrained(self, folder) -> None:
        """Write a native folder: config.json, weights, tokenizer, README with the licence note."""
        from .loading import write_folder

        write_folder(folder, self.model, self.tokenizer)

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        *,
        generator: Seed | Sequence[Seed] | None = None,
        return_dict: bool = True,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: bool = False,
        **fields: Unpack[SamplingFields],
    ) -> VQDiffusionOutput | tuple:
        """Draw pictures.

        Args:
          prompt: one or more texts (text models).
          num_inference_steps: network calls of the exact strided posterior, evenly spaced over all timesteps; None for
            one a timestep.  (diffusers' n, the n lowest timesteps, is ``strategy=Ancestral(first_timestep=n - 1)``.)
          generator: another name for the seed; give one.
          return_dict: False returns (images,).
          callback, callback_steps, callback_prediction: see ``stream``.

        Fields of ``SamplingSettings``:
          class_labels: one or more labels (class models).
          negative_prompt: text that takes the null condition's place in guidance.
          num_images_per_prompt: pictures for each prompt, label, or (unconditional) in all.
          seed: a whole number (0 by default), a jax.random.key, or a list with one of them a picture.  A picture
            depends on its seed, its prompt and the number of pictures of the same prompt before it, not on its
            neighbours.  The noise is the same for every prompt; a list of seeds makes it independent.
          first_image: number of the first picture of each prompt, to go on from an earlier call's end.
          prompt_embeds, negative_prompt_embeds: (prompts, length, width) ready-made text states.
          noise: KeyNoise or RecordedNoise for all the pictures instead of a seed.
          image: a picture, or one a picture to draw, to start from (with strength) or to keep parts of (with
            mask_image): a file, PIL, or uint8 (height, width, 3).  A file is cut and resized to the codec's size, which
            the others have.
          mask_image: a file, PIL or (height, width), or one a picture, set where to paint; pixels elsewhere come back
            exactly.
          outpaint: (left, top, right, bottom) margins to paint around ``image``, as fractions of the new picture.
          strength: in (0, 1]; the share of all noise that ``image`` is given before denoising; 1 with a mask alone.
          latents: (n, length) tokens to start from instead of all [MASK].
          strategy: a step rule from ``vqdiffusion_jax.sampling``, or its name with its own settings beside it.
          guidance_scale: 1 is none; None for the model's default.
          guidance_interval: (lowest, highest) timestep, both included, at which guidance acts; None for all.
          null: the null condition that guides: "learnable", "text" (the empty prompt, zero-shot), or "auto".
          truncation_rate: keep the likeliest codes up to this probability; 1 keeps all; None for the model's default.
          top_k: keep so many codes instead; the codebook's size or more truncates nothing.
          batch_size: pictures drawn together, filled up where there are fewer and to a multiple of the mesh's data and
            fsdp devices.  Bits of a picture are fixed for a given batch size; the default is 1 a device on the CPU, and
            elsewhere as many as there are, up to 16 a device; recorded noise is replayed all at once.
          rounding: to 8 bits: "truncate" as the reference, or "round".
          return_trajectory: also return the tokens after every call.
          output_type: "pil", "np" (float32 in [0, 1]), "uint8" or "tokens".

        Returns:
          VQDiffusionOutput, or (images,) if not return_dict.

        Raises:
          SettingError: a ValueError of one line for every argument that cannot be used, before anything is computed.
        """
        if generator is not None:
            if fields.get("seed") is not None:
                raise SettingError("{seed} and {generator} are both given; give one")
            fields["seed"] = generator
        settings = SamplingSettings.of(prompt=prompt, num_inference_steps=num_inference_steps, **fields)
        batches = self.stream(
            settings, callback=callback, callback_steps=callback_steps, callback_prediction=callback_prediction
        )
        output = _joined(list(batches))
        return output if return_dict else (output.images,)

    def stream(self, settings: SamplingSettings, **watching: Any) -> Iterator[VQDiffusionOutput]:
        """Draw the pictures of ``settings`` and yield each batch as soon as it is drawn.

        watching: the arguments of ``draw``.  Everything is checked, and SettingError raised, before this returns.
        """
        return self.draw(settle(self.config, self.schedule, self.tokenizer, settings), **watching)

    def draw(
        self,
        call: Call,
        *,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: bool = False,
    ) -> Iterator[VQDiffusionOutput]:
        """Draw the pictures of a settled call and yield each batch as soon as it is drawn.

        ``indices`` of the batches count through all pictures.

        callback: called as callback(calls done, timestep, tokens) every ``callback_steps`` calls; calls done counts
          from 1.  If it returns True the batch stops there: its tokens come back as they are, its trajectory is shorter,
          and pictures show the likeliest codes where tokens are still [MASK].  The next batch is drawn all the same,
          unless the caller looks no further.
        callback_prediction: give the callback two more arguments, the likeliest code of every position and its
          p(x_0 | x_t), (batch, length) int32 and float32, as the next call sees them; each time costs a network call.
        """
        callback_steps = Setting(type=int, least=1, help="").checked("callback_steps", callback_steps)
        settings, noise, given, count = call.settings, call.noise, call.given, len(call.subjects)
        batch_size = settings.batch_size
        together = self.pictures_together(count, batch_size if isinstance(noise, KeyNoise) else batch_size or count)
        pasted = given.mask is not None and settings.output_type != "tokens"
        output = _decoded_as(settings.output_type, pasted)
        options = {"output": output, "rounding": settings.rounding, "keep_trajectory": settings.return_trajectory}

        def batches() -> Iterator[VQDiffusionOutput]:
            start = self._encoded_once(given, noise)
            for first in range(0, count, together):
                # The last batch is filled up, so that every batch has the one compiled shape.
                rows = np.arange(first, first + together)
                request = self._request(call, start, noise, np.minimum(rows, count - 1))
                with self._on_mesh():
                    if callback is None:
                        made = generate(self.model, request, **options)
                    else:
                        made = generate_in_pieces(
                            self.model, request, callback, callback_steps, predict=callback_prediction, **options
                        )
                # Over several processes each keeps the pictures that lie on its own devices.
                made = self._spread(made)
                indices = rows[_rows_here(made[0])]
                tokens, pixels, trajectory = (_numbers_here(part, indices < count) for part in made)
                indices = indices[indices < count]
                if pasted:
                    images, mask = rows_of(given.images, indices), rows_of(given.mask, indices)
                    pixels = np.asarray(composite(images, pixels, mask))
                yield VQDiffusionOutput(_as_images(pixels, settings.output_type), tokens, trajectory, indices)

        return batches()

    def encode(self, images: Any, *, seed: int | None = None) -> np.ndarray:
        """Pictures (PIL, or uint8 (n, height, width, 3)) to tokens (n, length) int32.

        seed: draw the tokens of a "gumbel" codec, as in training; None takes the likeliest.
        """
        pictures = pictures_of(images, self.config.codec)
        keys = None if seed is None else image_keys(checked_seed(seed), 0, len(pictures))
        return self._in_batches(_encode, pictures, keys)

    def decode(self, tokens: Any, *, rounding: str = "truncate") -> np.ndarray:
        """Tokens (n, length) to pictures (n, height, width, 3) uint8.  Raises ValueError for a token that is no code."""
        if rounding not in ROUNDINGS:
            allowed = f"one of {', '.join(ROUNDINGS)}"
            raise SettingError("{rounding} is {value!r}; it must be {allowed}", value=rounding, allowed=allowed)
        tokens, length = np.asarray(tokens), self.config.denoiser.num_tokens
        check_tokens(tokens, self.config.denoiser.num_codes, allow_mask=False)
        if tokens.ndim != 2 or tokens.shape[1] != length or not len(tokens):
            raise ValueError(f"tokens have shape {tokens.shape}; give (pictures, {length})")
        return self._in_batches(functools.partial(_decode, rounding=rounding), tokens.astype(np.int32))

    def num_calls(self, **fields: Any) -> int:
        """Return the network calls that a picture takes, at most, with these fields of ``SamplingSettings``.

        Only the strategy, its settings and strength count.
        """
        strength = fields.pop("strength", None)
        settings = SamplingSettings.of(**fields)
        return len(planned(self.config, self.schedule, settings.strategy, strength)[1])

    def pictures_together(self, count: int, batch_size: int | None = None) -> int:
        """How many of ``count`` pictures are drawn at a time, by default or with a ``batch_size``.

        By default one a device on the CPU, which is as fast as many and keeps a picture's bits from depending on how many there are.
        """
        most = 1 if jax.default_backend() == "cpu" else PICTURES_A_DEVICE
        devices = self._devices_of_batch()
        together = batch_size or min(count, most * devices)
        return -(-together // devices) * devices  # so that every device has as many pictures

    def _devices_of_batch(self) -> int:
        """Over how many devices the pictures of a batch are spread."""
        return 1 if self.mesh is None else self.mesh.shape["data"] * self.mesh.shape["fsdp"]

    def _on_mesh(self):
        """The mesh is the ambient one inside, which is how models know to spread activations over it."""
        return contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)

    def _in_batches(self, function: Callable, *arrays: Any) -> np.ndarray:
        """``function(model, *arrays)`` of arrays with a leading axis of pictures, or None, in bounded memory; whole in every process."""
        count = len(arrays[0])
        together, made = self.pictures_together(count), []
        for first in range(0, count, together):
            rows = np.minimum(np.arange(first, first + together), count - 1)
            with self._on_mesh():
                chosen = jax.tree.map(operator.itemgetter(rows), arrays)
                made.append(np.asarray(function(self.model, *self._spread(chosen))))
        return np.concatenate(made)[:count]

    def _request(self, call: Call, given: Given, noise: Noise, rows: np.ndarray) -> Request:
        """The request of the pictures ``rows``, one batch, spread over the mesh if there is one."""
        condition, null = self._spread(jax.tree.map(lambda leaf: leaf[rows], (call.condition, call.null)))
        noise = noise_rows(noise, rows)
        noise = self._spread(noise) if isinstance(noise, KeyNoise) else noise
        start, known = self._start(given, rows, call.first_timestep, noise)
        return Request(
            condition=condition,
            null=null,
            strategy=call.strategy,
            plan=call.plan,
            guidance=call.guidance,
            truncation=call.truncation,
            noise=noise,
            start=start,
            known=known,
            first_call=call.first_call,
        )

    def _start(self, given: Given, rows: np.ndarray, first_timestep: int | None, noise: Noise):
        """The tokens that a batch starts from (batch, length), and the (mask, tokens) to impose at every step, or None."""
        denoiser, codec = self.config.denoiser, self.config.codec
        if given.tokens is None and given.images is None:
            return self._spread(all_mask_start(len(rows), denoiser.num_tokens, denoiser.num_codes)), None
        given = self._spread(jax.tree.map(lambda leaf: rows_of(leaf, rows), given))
        with self._on_mesh():
            tokens = given.tokens
            if tokens is None:
                tokens = _encode(
                    self.model, given.images, _encoder_keys(noise.keys) if isinstance(noise, KeyNoise) else None
                )
            return _begin(tokens, given.mask, first_timestep, noise, grid=codec.grid, schedule=self.schedule)

    def _encoded_once(self, given: Given, noise: Noise) -> Given:
        """``given`` with the tokens of one picture that serves all, unless each draws its own tokens of it."""
        draws = self.config.codec.quantizer == "gumbel" and isinstance(noise, KeyNoise)
        if given.images is None or len(given.images) > 1 or draws:
            return given
        return Given(tokens=self._in_batches(_encode, given.images, None), mask=given.mask)

    def _spread(self, tree: Any) -> Any:
        """Arrays with a leading batch axis, each process's part on its own devices; as they are without a mesh."""
        if self.mesh is None:
            return tree

        def place(array):
            if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(place(jax.random.key_data(array)), impl=jax.random.key_impl(array))
            # Every process holds the whole request, which as a host array may go to devices of any process.
            array = array if isinstance(array, jax.Array) and not array.is_fully_addressable else np.asarray(array)
            return jax.device_put(array, batch_sharding(self.mesh, len(array)))

        return jax.tree.map(place, tree)


@jax.jit
def _encoder_keys(keys: jax.Array) -> jax.Array:
    """The keys by which a "gumbel" codec draws the tokens of pictures given."""
    return jax.vmap(lambda key: jax.random.fold_in(key, _ENCODER_DRAW))(keys)


@jax.jit
def _encode(model: VQDiffusionModel, pictures: jax.Array, keys: jax.Array | None) -> jax.Array:
    return replicated(encode_exactly(model.codec, images_to_float(pictures), key=keys))


@functools.partial(jax.jit, static_argnames=("grid", "schedule"))
def _begin(
    tokens: jax.Array,
    mask: jax.Array | None,
    first_timestep: int | None,
    noise: Noise,
    *,
    grid: tuple,
    schedule: Schedule,
):
    """``start`` and ``known`` of a Request, from the tokens (batch, length) of what is given."""
    start, known = tokens, None
    if mask is not None:
        start, known = inpainting_start(tokens, token_mask(mask, grid), schedule.num_codes)
    if first_timestep is not None:
        start = noised_start(tokens, first_timestep, schedule, noise)
    return jax.tree.map(over_batch, (start, known))


@functools.partial(jax.jit, static_argnames="rounding")
def _decode(model: VQDiffusionModel, tokens: jax.Array, rounding: str) -> jax.Array:
    return replicated(render(model, tokens, "uint8", rounding))


def _pieces_here(array: jax.Array) -> list:
    """The shards that this process is to keep, in the order of their rows."""
    shards = [shard for shard in array.addressable_shards if shard.replica_id == 0]
    return sorted(shards, key=lambda shard: shard.index[0].start or 0)


def _rows_here(array: jax.Array) -> np.ndarray:
    """Which rows of a batch this process keeps."""
    rows = [np.arange(array.shape[0])[shard.index[0]] for shard in _pieces_here(array)]
    return np.concatenate(rows) if rows else np.arange(0)


def _numbers_here(array: jax.Array | None, keep: np.ndarray) -> np.ndarray | None:
    """The rows of a batch that this process keeps, without what filled it up."""
    if array is None:
        return None
    data = [np.asarray(shard.data) for shard in _pieces_here(array)]
    return np.concatenate(data)[keep] if data else np.zeros((0, *array.shape[1:]), array.dtype)


def _joined(batches: list[VQDiffusionOutput]) -> VQDiffusionOutput:
    """All batches of a call as one; a trajectory that a callback made shorter repeats its last tokens."""
    images, tokens, paths, indices = zip(
        *((one.images, one.tokens, one.trajectory, one.indices) for one in batches), strict=True
    )
    if paths[0] is not None:
        longest = max(path.shape[1] for path in paths)
        paths = [np.pad(path, ((0, 0), (0, longest - path.shape[1]), (0, 0)), mode="edge") for path in paths]
    images = sum(images, []) if isinstance(images[0], list) else _concatenated(images)
    return VQDiffusionOutput(images, _concatenated(tokens), _concatenated(paths), _concatenated(indices))


def _concatenated(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if arrays[0] is None else np.concatenate(arrays)


def _decoded_as(output_type: str, pasted: bool) -> str:
    """Return the form of pictures that ``generate`` makes; pasting parts of a picture given needs whole numbers."""
    if output_type == "tokens":
        return "tokens"
    return "float" if output_type == "np" and not pasted else "uint8"


def _as_images(pixels: np.ndarray | None, output_type: str):
    if pixels is None or output_type == "uint8":
        return pixels
    if output_type == "np":
        return pixels.astype(np.float32) / 255.0
    from PIL import Image

    return [Image.fromarray(array) for array in pixels]
