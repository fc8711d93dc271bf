"""``VQDiffusionPipeline``: pictures from a checkpoint.

Settings belong to the call, never to the object: calls do not influence each other, and the same call gives the same
pictures.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

import jax
import numpy as np

from . import codec_programs
from .batching import ambient, batch_devices, in_batches, spread
from .call import Call, Given, pictures_of, planned, rows_of, settle
from .call.conditions import texts_of
from .call.noise import noise_rows, padded_noise
from .compiled import CompiledSampler
from .config import ModelConfig
from .diffusers_api import DiffusersMethods, loading_options, seed_of, step_end_callback
from .diffusion.schedule import Schedule, make_schedule
from .diffusion.transitions import check_tokens
from .errors import SettingError, UnknownWordsWarning, UnusedSettingWarning
from .finite import check_finite
from .generation import JITTED, Pieces, Request, calls_a_piece, generate, generate_in_pieces
from .lora_api import LoRAMethods
from .model_card import Origin
from .models.vqdiffusion import VQDiffusionModel
from .pipeline_output import (
    VQDiffusionOutput,
    as_images,
    check_numbers,
    decoded_as,
    joined,
    numbers_here,
    rows_here,
)
from .progress import UPDATES, is_watched, progress_bar
from .sampling import (
    KeyNoise,
    Noise,
    all_mask_start,
    image_keys,
)
from .sampling.fields import Setting, settings_of
from .sampling.seeds import Seed, checked_seed
from .sampling.settings import SamplingFields, SamplingSettings
from .sampling.strategy import for_steps
from .text.known_words import KnownWords
from .text.tokenizer import Tokenizer

PICTURES_A_DEVICE = 16  # drawn together by default on an accelerator; more hardly raises the rate and may not fit
_MOST_REMEMBERED = 1000  # prompts that were looked at


class Watching(TypedDict, total=False):
    """The arguments by which a caller follows a call; see ``VQDiffusionPipeline.draw``."""

    callback: Callable[..., Any] | None
    callback_steps: int
    callback_prediction: int


class VQDiffusionPipeline(LoRAMethods, DiffusersMethods):
    """A model and its tokenizer, ready to draw pictures from text, a class or nothing.

    tokenizer: of a text model; by default the one that the model's configuration names.
    known_words: of the captions that a text model was trained on; a call warns of prompts with others.
    mesh: pictures are spread over its data and fsdp axes; ``from_pretrained`` also places the weights on it.
    """

    def __init__(
        self,
        model: VQDiffusionModel,
        tokenizer: Tokenizer | None = None,
        *,
        mesh: jax.sharding.Mesh | None = None,
        known_words: KnownWords | None = None,
    ):
        check_finite(model, "the model")
        self.model = model
        self.config: ModelConfig = model.config
        self.schedule: Schedule = make_schedule(model.config.schedule)
        self.tokenizer = tokenizer or (Tokenizer(model.config.tokenizer) if model.config.tokenizer else None)
        self.mesh = mesh
        self.known_words = known_words
        self.compiled: CompiledSampler | None = None  # programs that calls take, where they fit
        self._warned_of: set[str] = set()  # prompts
        self._loaded: tuple[Origin, list[weakref.ref]] | None = None  # what came from where

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        mesh: jax.sharding.Mesh | None = None,
        compiled: str | Path | None = None,
        **options: Any,
    ) -> VQDiffusionPipeline:
        """Load a model folder, a diffusers folder, a .pth file, or a model by name: an embedded one, or on the hub.

        path: a place on this machine or in a bucket, "emoji", "owner/name" or "hf://owner/name[@revision][/subfolder]".
        compiled: a file of ``--mode=compile``, whose programs calls take; it is machine code, so that whoever made it
        must be trusted.  A call that it was not compiled for warns and compiles its own.
        options: ``dtype="bfloat16"``, or ``compute`` for more choices; the companions of a .pth file; revision,
        variant, subfolder, cache_dir, token and local_files_only of the hub; see ``loading.load_model``.  Those of
        diffusers, such as torch_dtype, are understood (``diffusers_api``).
        """
        from .loading import open_to_load  # here, since it imports the readers of all formats

        options = loading_options(options)
        clip_dtype = options.pop("clip_dtype", None)
        opened, compute = open_to_load(path, **options)
        programs = None if compiled is None else CompiledSampler(compiled)
        if programs is not None:
            programs.check(opened.config, compute, mesh)
        model = opened.load(compute=compute, mesh=mesh, clip_dtype=clip_dtype)
        pipeline = cls(model, opened.tokenizer, mesh=mesh, known_words=opened.known_words)
        pipeline._loaded = opened.origin, [weakref.ref(leaf) for leaf in jax.tree.leaves(model)]
        pipeline.compiled = programs
        return pipeline

    @property
    def origin(self) -> Origin:
        """The origin of the weights: known of loaded ones, and marked as changed once any array is another."""
        if self._loaded is None:
            return Origin()
        origin, loaded = self._loaded
        leaves = jax.tree.leaves(self.model)
        same = len(leaves) == len(loaded) and all(ref() is leaf for ref, leaf in zip(loaded, leaves, strict=True))
        return origin if same else origin.after_changes()

    def save_pretrained(self, folder: str | Path, *, safetensors: bool = False, int8: bool = False) -> None:
        """Write a model folder: config.json, weights, tokenizer, and a README with its origin and licence, if known.

        safetensors: write weights.safetensors, which other programs read too, in place of orbax's folder ``weights``.
        int8: write weights.safetensors with denoiser and text tower in int8, a scale a column: a quarter of the size,
        and nearly the same pictures.
        """
        from .loading import write_folder

        words = self.known_words
        told = {"origin": self.origin, "safetensors": safetensors, "int8": int8, "known_words": words}
        write_folder(folder, self.model, self.tokenizer, **told)

    def push_to_hub(
        self,
        repo: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "A model of vqdiffusion_jax",
        create_pr: bool = False,
    ) -> str:
        """Upload a model folder, with weights in safetensors, to the Hugging Face hub, and return the commit's address.

        Args:
          repo: "owner/name"; made if it does not exist.
          token: of the hub; by default HF_TOKEN or that of `hf auth login`.
          private: of a repository that is made; by default as its owner's settings say.
          revision: the branch to write, made if it does not exist; by default main.
          commit_message: the commit's first line.
          create_pr: open a pull request in place of a commit.

        Raises:
          CheckpointError: whatever keeps it from being uploaded, in one line that says what to do.
        """
        from .hub import upload
        from .loading import write_folder

        def write(folder: Path) -> None:
            write_folder(
                folder,
                self.model,
                self.tokenizer,
                origin=self.origin,
                name=repo,
                safetensors=True,
                known_words=self.known_words,
            )

        return upload(
            write, repo, token=token, private=private, revision=revision, message=commit_message, create_pr=create_pr
        )

    @overload
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        *,
        generator: Seed | Sequence[Seed] | None = None,
        return_dict: Literal[True] = True,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: int = False,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] | None = None,
        progress: bool | None = None,
        **fields: Unpack[SamplingFields],
    ) -> VQDiffusionOutput: ...

    @overload
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        *,
        generator: Seed | Sequence[Seed] | None = None,
        return_dict: Literal[False],
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: int = False,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] | None = None,
        progress: bool | None = None,
        **fields: Unpack[SamplingFields],
    ) -> tuple[Any]: ...

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        *,
        generator: Seed | Sequence[Seed] | None = None,
        return_dict: bool = True,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: int = False,
        callback_on_step_end: Callable[..., Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] | None = None,
        progress: bool | None = None,
        **fields: Unpack[SamplingFields],
    ) -> VQDiffusionOutput | tuple[Any]:
        """Draw pictures.

        Args:
          prompt: one or more texts (text models).
          num_inference_steps: network calls of the strategy; None for the model's number.  Of the posterior they are
            evenly spaced over all timesteps, by default one a timestep.  (diffusers' n, the n lowest timesteps, is
            ``strategy=Ancestral(first_timestep=n - 1)``.)
          generator: another name for the seed; give one.
          return_dict: False returns (images,).
          callback, callback_steps, callback_prediction: see ``draw``.
          callback_on_step_end: diffusers' form of a callback, called after every network call of a batch as
            callback_on_step_end(pipeline, step, timestep, {"latents": tokens}), with steps from 0 and tokens (batch,
            length) int32.  It returns a dict, whose "latents" the run goes on from, or None.  After
            ``pipeline._interrupt = True`` the run ends as with ``callback``, and no further batch is begun.
          callback_on_step_end_tensor_inputs: names of the arrays that it is given; "latents" is the one there is.
          progress: show a bar of the network calls on stderr; None for one where stderr is a terminal, or in a
            notebook.  The tokens are the same with and without bar and callbacks.

        Fields of ``SamplingSettings``:
          class_labels: one or more labels (class models).
          negative_prompt: text that takes the null condition's place in guidance; one, or one a prompt.
          num_images_per_prompt: pictures for each prompt, label, or (unconditional) in all.
          seed: a whole number (0 by default), a jax.random.key, or a list with one of them a picture.  A picture
            depends on its seed, its prompt and the number of pictures of the same prompt before it, not on its
            neighbours.  The noise is the same for every prompt; a list of seeds makes it independent.
          first_image: number of the first picture of each prompt, to go on from an earlier call's end.
          prompt_embeds, negative_prompt_embeds: (prompts, length, width) float32 text states.
          noise: KeyNoise or RecordedNoise for all pictures, in place of a seed.
          image: a picture to start from (with strength) or to keep parts of (with mask_image), one or one a picture to
            draw: a file, a PIL image, or uint8 (height, width, 3).  A file is cut and resized to the codec's size; the
            others must have it.  It is made upright, and transparency is composed on white.
          mask_image: a file, a PIL image or an array (height, width) of bool, 0 and 1, 0 to 255, or floats from 0 to
            1, one or one a picture; what is lighter than half and visible is painted, and pixels elsewhere come back
            exactly.
          outpaint: (left, top, right, bottom), the least margins to paint around ``image``, as fractions of the new,
            square picture.  The whole image is scaled to fit between them, and the space that its shape leaves is
            painted too.
          strength: in (0, 1]; share of all noise that ``image`` is given before denoising; by default 1 with a mask.
          latents: (n, length) tokens to start from in place of all [MASK].
          strategy: a strategy of ``vqdiffusion_jax.sampling``, or its name, with its own settings as further fields;
            None for the model's.  Without a name, and with the name of the model's, the fields that are given replace
            those of the model's strategy; another begins with its own defaults.  Where none is named, strength and
            timesteps take the posterior if the model's strategy cannot do them.
          guidance_scale: 1 is none; None for the model's default.
          guidance_interval: (lowest, highest) timestep, both included, at which guidance acts; None for all.
          guidance_plausibility: in (0, 1]; before guidance, drop codes whose conditional probability is less than this
            share of the likeliest code's (``sampling.combine``); None drops none.
          null: the null condition of guidance: "learnable", "text" (the empty prompt, zero-shot), or "auto".
          truncation_rate: keep the likeliest codes up to this probability; 1 keeps all; None for the model's default.
          top_k: keep so many codes, in place of truncation_rate; the codebook's size or more truncates nothing.
          batch_size: pictures drawn together.  The last batch is filled up, and each to a multiple of the mesh's data
            and fsdp devices.  The bits of a picture are fixed for a given batch size.  By default 1 a device on the
            CPU, elsewhere all up to 16 a device; recorded noise is replayed all at once.
          rounding: to 8 bits, "truncate" as the reference or "round".
          return_trajectory: also return the tokens after every call.
          output_type: "pil", "np" (float32 in [0, 1]), "uint8" or "tokens".

        Returns:
          VQDiffusionOutput, or (images,) if not return_dict.

        Warns:
          UnknownWordsWarning: once a prompt, for words that the model was not taught, where it knows its words.
          UnusedSettingWarning: for settings of guidance where there is none.

        Raises:
          SettingError: a ValueError of one line for an argument that cannot be used, before anything is computed.
        """
        if generator is not None:
            if fields.get("seed") is not None:
                raise SettingError("{seed} and {generator} are both given; give one")
            fields["seed"] = seed_of(generator)
        settings = SamplingSettings.of(prompt=prompt, num_inference_steps=num_inference_steps, **fields)
        if callback_on_step_end is not None:
            if callback is not None:
                raise SettingError("{callback} and {callback_on_step_end} are both given; give one")
            callback = step_end_callback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
            callback_steps = 1
        call = self._settled(settings)
        self._interrupt = False
        drawn = []
        with self._bar(call, progress) as bar:
            if bar is not None:
                callback, callback_steps = _both(bar, callback, callback_steps, len(call.plan))
            for batch in self.draw(
                call, callback=callback, callback_steps=callback_steps, callback_prediction=callback_prediction
            ):
                drawn.append(batch)
                if self._interrupt:
                    break
        output = joined(drawn)
        return output if return_dict else (output.images,)

    def _settled(self, settings: SamplingSettings) -> Call:
        """Return the call of these settings, and warn whoever asked for it of what it does not use."""
        call = settle(self.config, self.schedule, self.tokenizer, settings)
        for line in self._unknown_words(texts_of(settings.prompt)):
            warnings.warn(line, UnknownWordsWarning, stacklevel=3)
        for line in call.unused():
            warnings.warn(line, UnusedSettingWarning, stacklevel=3)
        return call

    def _unknown_words(self, prompts: Sequence[str]) -> list[str]:
        """Return lines about prompts with words that the model was not taught, of each prompt once."""
        if self.known_words is None:
            return []
        new = [prompt for prompt in prompts if prompt not in self._warned_of]
        if len(self._warned_of) > _MOST_REMEMBERED:
            self._warned_of.clear()
        self._warned_of.update(new)
        return self.known_words.told_of_all(new)

    def _bar(self, call: Call, progress: bool | None) -> AbstractContextManager[Callable[..., None] | None]:
        """Return a context with the callback of a bar of the call, or with None if none is shown."""
        options = dict(self._progress_bar_config)
        if options.pop("disable", None) or not (is_watched() if progress is None else progress):
            return nullcontext()
        batches = -(-len(call.subjects) // self._pictures_a_batch(call))
        return progress_bar([len(call.plan)] * batches, **options)

    def _pictures_a_batch(self, call: Call) -> int:
        """Return how many pictures of a call are drawn at a time."""
        count, batch_size = len(call.subjects), call.settings.batch_size
        return self.pictures_together(count, batch_size if isinstance(call.noise, KeyNoise) else batch_size or count)

    def stream(self, settings: SamplingSettings, **watching: Unpack[Watching]) -> Iterator[VQDiffusionOutput]:
        """Settle the call of ``settings`` and ``draw`` it.

        Warns as a call of the pipeline does, and raises SettingError for settings that cannot be used, before it
        returns and before anything is computed.
        """
        return self.draw(self._settled(settings), **watching)

    def draw(
        self,
        call: Call,
        *,
        callback: Callable[..., Any] | None = None,
        callback_steps: int = 1,
        callback_prediction: int = False,
    ) -> Iterator[VQDiffusionOutput]:
        """Draw the pictures of a settled call and yield each batch as soon as it is drawn.

        callback: called as callback(calls done, timestep, tokens) every ``callback_steps`` calls, which count from 1.
          If it returns tokens, a jax.Array like those it was given, the batch goes on from these.  If it returns True,
          the batch stops there: its tokens come back as they are, its trajectory is shorter, and its pictures show the
          likeliest codes where tokens are still [MASK].  The next batch is drawn all the same, unless the caller stops
          reading.
        callback_prediction: give the callback two more arguments, the likeliest code of every position and its
          p(x_0 | x_t), (batch, length) int32 and float32, as the next call sees them; each costs a network call.
          True gives them every time; a number, after every so many network calls and after the last.
        """
        callback_steps = Setting(type=int, least=1, help="").checked("callback_steps", callback_steps)
        settings, noise, given, count = call.settings, call.noise, call.given, len(call.subjects)
        together = self._pictures_a_batch(call)
        pasted, options = is_pasted(call), program_options(call)
        ready = self._compiled_for(call, together)

        def batches() -> Iterator[VQDiffusionOutput]:
            start = self._encoded_once(given, noise)
            for first in range(0, count, together):
                # The last batch is filled up, so that every batch has the one compiled shape.
                rows = np.arange(first, first + together)
                whole = callback is None and ready is None
                request = self._request(call, start, noise, np.minimum(rows, count - 1), calls_are_data=not whole)
                calls = len(call.plan)
                with ambient(self.mesh):
                    if whole:
                        made = generate(self.model, request, **options)
                    else:
                        every = calls if callback is None else callback_steps
                        *made, calls = generate_in_pieces(
                            *(self.model, request, callback, every),
                            **options,
                            predict=callback_prediction,
                            pieces=ready or JITTED,
                        )
                # Over several processes each keeps the pictures that lie on its own devices.
                made = self._spread(tuple(made))
                indices = rows[rows_here(made[0])]
                asked = indices < count
                tokens, pixels, trajectory = (None if part is None else numbers_here(part, asked) for part in made)
                indices = indices[asked]
                assert tokens is not None
                check_numbers(tokens, indices)
                if pasted and pixels is not None:
                    images, mask = rows_of(given.images, indices), rows_of(given.mask, indices)
                    pixels = np.where(mask[..., None], pixels, images)
                trajectory = None if trajectory is None else trajectory[:, :calls]
                yield VQDiffusionOutput(as_images(pixels, settings.output_type), tokens, trajectory, indices)

        return batches()

    def _compiled_for(self, call: Call, batch: int) -> Pieces | None:
        """Return the programs of ``compiled`` if they fit a call; where they do not, warn of the setting at fault."""
        if self.compiled is None:
            return None
        if found := self.compiled.difference(call, batch, program_options(call)):
            told = f"{self.compiled.file} was not compiled for this call, which compiles its own programs: {found}"
            warnings.warn(told, UnusedSettingWarning, stacklevel=4)
            return None
        return self.compiled.pieces

    def first_request(self, call: Call) -> Request:
        """Return the request of a call's first batch, with the number of its network calls as data, to compile for."""
        count, together = len(call.subjects), self._pictures_a_batch(call)
        rows = np.minimum(np.arange(together), count - 1)
        return self._request(call, call.given, call.noise, rows, calls_are_data=True)

    def encode(self, images: Any, *, seed: Seed | None = None) -> np.ndarray:
        """Return the tokens (n, length) int32 of pictures: PIL images, or uint8 (n, height, width, 3).

        seed: draw the tokens of a "gumbel" codec, as in training; None takes the likeliest.
        """
        pictures = pictures_of(images, self.config.codec)
        keys = None if seed is None else image_keys(checked_seed(seed), 0, len(pictures))
        return self._in_batches(codec_programs.encode, pictures, keys)

    def decode(self, tokens: Any, *, rounding: str = "truncate") -> np.ndarray:
        """Return pictures (n, height, width, 3) uint8 of tokens (n, length).

        Raises ValueError for a token that is no code.
        """
        settings_of(SamplingSettings)["rounding"].checked("rounding", rounding)
        tokens, length = np.asarray(tokens), self.config.denoiser.num_tokens
        check_tokens(tokens, self.config.denoiser.num_codes, allow_mask=False)
        if tokens.ndim != 2 or tokens.shape[1] != length or not len(tokens):
            raise ValueError(f"tokens have shape {tokens.shape}; give (pictures, {length})")
        return self._in_batches(functools.partial(codec_programs.decode, rounding=rounding), tokens.astype(np.int32))

    def num_calls(self, **fields: Any) -> int:
        """Return the network calls that a picture takes, at most, with these fields of ``SamplingSettings``.

        Only the strategy, its settings and strength count.
        """
        strength = fields.pop("strength", None)
        settings = SamplingSettings.of(**fields)
        return len(planned(self.config, self.schedule, settings.strategy, strength)[1])

    def pictures_together(self, count: int, batch_size: int | None = None) -> int:
        """Return how many of ``count`` pictures this pipeline draws at a time.

        Those of ``batch_size``, else as many as ``compiled`` draws, else ``pictures_together`` of its mesh.
        """
        ready = None if self.compiled is None else self.compiled.batch_size
        return pictures_together(self.mesh, count, batch_size or ready)

    def _in_batches(self, function: Callable, *arrays: Any) -> np.ndarray:
        """Return ``function(model, *arrays)``, computed in batches and whole in every process.

        arrays: with a leading axis of pictures, or None.
        """
        share = self.pictures_together(len(arrays[0])) // batch_devices(self.mesh)
        return in_batches(lambda batch: function(self.model, *batch), arrays, share, mesh=self.mesh)

    def _request(self, call: Call, given: Given, noise: Noise, rows: np.ndarray, calls_are_data: bool) -> Request:
        """Return the request of the pictures ``rows``, one batch, spread over the mesh if there is one.

        calls_are_data: the number of network calls is no part of the program.  On a CPU it never is; on an accelerator,
        the host would have to hear from the device after each call whether it was the last.
        """
        calls_are_data = calls_are_data or jax.default_backend() == "cpu"
        condition, null = self._spread(jax.tree.map(lambda leaf: leaf[rows], (call.condition, call.null)))
        noise = padded_noise(noise_rows(noise, rows)) if calls_are_data else noise_rows(noise, rows)
        noise = self._spread(noise) if isinstance(noise, KeyNoise) else noise
        start, known = self._start(given, rows, call.first_timestep, noise)
        return Request(
            condition=condition,
            null=null,
            strategy=for_steps(call.strategy),
            plan=call.plan.padded() if calls_are_data else call.plan,
            guidance=call.guidance,
            truncation=call.truncation,
            noise=noise,
            start=start,
            known=known,
            first_call=call.first_call,
            calls=len(call.plan) if calls_are_data else None,
        )

    def _start(self, given: Given, rows: np.ndarray, first_timestep: int | None, noise: Noise):
        """Return a batch's first tokens (batch, length), and the (mask, tokens) to impose at every step, or None."""
        denoiser, codec = self.config.denoiser, self.config.codec
        if given.tokens is None and given.images is None:
            return self._spread(all_mask_start(len(rows), denoiser.num_tokens, denoiser.num_codes)), None
        given = self._spread(jax.tree.map(lambda leaf: rows_of(leaf, rows), given))
        with ambient(self.mesh):
            tokens = given.tokens
            if tokens is None:
                keys = codec_programs.encoder_keys(noise.keys) if isinstance(noise, KeyNoise) else None
                tokens = codec_programs.encode(self.model, given.images, keys)
            return codec_programs.begin(
                tokens, given.mask, first_timestep, noise, grid=codec.grid, schedule=self.schedule
            )

    def _encoded_once(self, given: Given, noise: Noise) -> Given:
        """Return ``given`` with the tokens of one image that all pictures share, unless each draws its own of it."""
        draws = self.config.codec.quantizer == "gumbel" and isinstance(noise, KeyNoise)
        if given.images is None or len(given.images) > 1 or draws:
            return given
        return Given(tokens=self._in_batches(codec_programs.encode, given.images, None), mask=given.mask)

    def _spread(self, tree: Any) -> Any:
        """Return arrays with a leading batch axis spread over the mesh, or as they are without one."""
        return spread(tree, self.mesh)


def is_pasted(call: Call) -> bool:
    """Return whether the pictures of a call keep pixels of given ones."""
    return call.given.mask is not None and call.settings.output_type != "tokens"


def program_options(call: Call) -> dict[str, Any]:
    """Return the options of ``generate`` for a call."""
    output = decoded_as(call.settings.output_type, is_pasted(call))
    return {
        "output": output,
        "rounding": call.settings.rounding,
        "keep_trajectory": call.settings.return_trajectory,
    }


def pictures_together(mesh: jax.sharding.Mesh | None, count: int, batch_size: int | None = None) -> int:
    """Return how many of ``count`` pictures a pipeline on ``mesh`` draws at a time, with ``batch_size`` or by default.

    By default one a device on the CPU: as fast as many, and a picture's bits do not depend on their number.
    """
    devices = batch_devices(mesh)
    most = 1 if jax.default_backend() == "cpu" else PICTURES_A_DEVICE
    together = batch_size or min(count, most * devices)
    return -(-together // devices) * devices  # so that every device has as many pictures


def _both(
    bar: Callable[..., None], callback: Callable[..., Any] | None, every: int, calls: int
) -> tuple[Callable[..., Any], int]:
    """Return a callback that moves a bar and asks ``callback``, if there is one, and its number of calls a piece."""
    if callback is None:
        return bar, calls_a_piece(calls, UPDATES)

    def both(*now: Any) -> Any:
        bar(*now)
        return callback(*now)

    return both, every
