"""From a condition to pixels in one compiled program, whatever the number of network calls.

``generate`` is ``prepare`` (text tower, keys and values, AdaLN tables: all that no step changes), ``advance`` (the
denoising loop) and ``render`` (the codec).  ``generate_in_pieces`` runs the three one by one, with a callback between
pieces of the plan; the tokens are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp

from .models.clip import text_condition
from .models.fp8 import rounded_kernels, with_kernels
from .models.layers import over_batch
from .models.vqdiffusion import VQDiffusionModel
from .models.vqgan import to_255, to_uint8
from .programs import bounded_jit
from .sampling import Guidance, Noise, Plan, Strategy, Truncation, denoise, noise_level, paired_logits, predictor
from .sampling.loop import LogX0Fn, marked, pairs, unpaired


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Condition:
    """The condition of a batch of pictures; every field is an array with a leading batch axis, or None.

    Text models read ``ids`` (batch, length) int32 or, ready made, ``embedding`` (batch, length, width); class models
    read ``labels`` (batch,) int32.  Without any of them, the condition is the model's learnable null.
    """

    ids: Any = None
    embedding: Any = None
    labels: Any = None

    def encode(self, model: VQDiffusionModel, batch: int) -> jax.Array | None:
        """Return the denoiser's condition: (batch, length, width) float32, (batch,) labels, or None."""
        if self.embedding is not None:
            return jnp.asarray(self.embedding, jnp.float32)
        if self.ids is not None:
            encoder, options = model.text_encoder, model.config.text_embedding
            assert encoder is not None and options is not None  # a text model has both (ModelConfig)
            with jax.named_scope("text_tower"):
                return text_condition(encoder, self.ids, options)
        if self.labels is not None:
            return self.labels
        return model.denoiser.null(batch) if model.config.denoiser.condition == "text" else None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Request:
    """One batch of pictures: conditions, strategy and start.  A pytree: other numbers in it recompile nothing.

    With ``calls`` the plan may be padded, so that plans of other lengths recompile nothing either.
    """

    condition: Condition
    null: Condition | None  # None unless guidance is active
    strategy: Strategy
    plan: Plan
    guidance: Guidance
    truncation: Truncation | None
    noise: Noise
    start: Any  # (batch, tokens) int32
    known: Any = None  # (mask, tokens) to impose at every step
    first_call: Any = 0  # number of the first noise draw
    calls: Any = None  # number of the plan's calls to run, () int32; None for all of them, a part of the program


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prepared:
    """All that no step changes, computed once a batch."""

    conditional: Any
    both: Any
    modulation: Any
    kernels: Any  # the denoiser's float8 kernels, if it has any


@jax.named_scope("prepare")
def prepare(model: VQDiffusionModel, request: Request) -> Prepared:
    """Run the text tower, project its states for every layer, tabulate AdaLN over timesteps, round float8 kernels."""
    batch = request.start.shape[0]
    condition = request.condition.encode(model, batch)
    modulation = model.denoiser.modulation_table()
    kernels = rounded_kernels(model.denoiser)
    if request.null is None:
        return Prepared(model.denoiser.precompute(condition), None, modulation, kernels)
    null = request.null.encode(model, batch)
    assert condition is not None and null is not None  # guidance is of conditional models alone
    both = model.denoiser.precompute(pairs(condition, null))
    return Prepared(jax.tree.map(lambda leaf: unpaired(leaf, axis=1)[0], both), both, modulation, kernels)


def _log_x0(model: VQDiffusionModel, prepared: Prepared, request: Request) -> LogX0Fn:
    """Return log p(x_0 | x_t) of the request's condition, guided and truncated, as a function of x_t and t."""

    denoiser = with_kernels(model.denoiser, prepared.kernels).for_a_loop()

    def forward(tokens, timestep, conditioning):
        # Whole rows of logits on each device: guidance, truncation and the draw reduce over them.
        with jax.named_scope("denoiser"):
            return over_batch(denoiser(tokens, timestep, conditioning=conditioning, modulation=prepared.modulation))

    return predictor(paired_logits(forward, prepared.conditional, prepared.both), request.guidance, request.truncation)


def advance(
    model: VQDiffusionModel,
    prepared: Prepared,
    request: Request,
    first: int | jax.Array = 0,
    last: int | jax.Array | None = None,
    keep_trajectory: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
    """Run calls first .. last - 1 of ``request.plan``, by default all ``request.calls``.

    Returns the tokens (batch, length) and, with ``keep_trajectory``, those after every call (batch, calls of the plan,
    length), as ``denoise`` does.
    """

    tokens, trajectory = denoise(
        _log_x0(model, prepared, request),
        request.strategy,
        request.plan,
        request.noise,
        request.start,
        known=request.known,
        first_call=request.first_call,
        first=first,
        last=request.calls if last is None else last,
        keep_trajectory=keep_trajectory,
    )
    return tokens, None if trajectory is None else jnp.swapaxes(trajectory, 0, 1)


def likeliest(
    model: VQDiffusionModel, prepared: Prepared, request: Request, tokens: jax.Array, timestep: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the likeliest code of every position, (batch, length) int32, and its guided p(x_0 | x_t).

    Truncation keeps the likeliest code and gives it the share of those that it drops; what the network thinks of the
    code is told by the probability before that.
    """
    log_x0 = _log_x0(model, prepared, replace(request, truncation=None))(tokens, timestep)
    return jnp.argmax(log_x0, axis=-1).astype(tokens.dtype), jnp.exp(jnp.max(log_x0, axis=-1))


def complete(
    model: VQDiffusionModel, prepared: Prepared, request: Request, tokens: jax.Array, timestep: jax.Array
) -> jax.Array:
    """Return ``tokens`` with the code that is likeliest at ``timestep`` in place of every [MASK]."""
    codes, _ = likeliest(model, prepared, request, tokens, timestep)
    return jnp.where(tokens == model.config.denoiser.mask_token, codes, tokens)


def render(model: VQDiffusionModel, tokens: jax.Array, output: str, rounding: str) -> jax.Array | None:
    """Return pictures (batch, height, width, channels) of tokens: uint8, or float32 in 0..255; None for "tokens"."""
    return _rendered(model, tokens, output, rounding)[0]


def _rendered(
    model: VQDiffusionModel, tokens: jax.Array, output: str, rounding: str
) -> tuple[jax.Array | None, jax.Array | None]:
    """Return the pictures of ``render``, and of each whether it has a pixel that is no finite number, (batch,) bool."""
    if output == "tokens":
        return None, None
    with jax.named_scope("decoder"):
        images = model.codec.decode(tokens)
    bad = ~jnp.isfinite(images).all(axis=(1, 2, 3))
    return (to_uint8(images, rounding=rounding) if output == "uint8" else to_255(images)), bad


def _generate(
    model: VQDiffusionModel,
    request: Request,
    *,
    output: str = "uint8",
    rounding: str = "truncate",
    keep_trajectory: bool = False,
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Return tokens (batch, length), pictures (see ``render``) and, if asked, the trajectory of ``advance``.

    A picture whose logits or pixels were NaN has NOT_A_NUMBER (``sampling.loop``) for every token.
    """
    tokens, trajectory = advance(model, prepare(model, request), request, keep_trajectory=keep_trajectory)
    pixels, bad = _rendered(model, tokens, output, rounding)
    return tokens if bad is None else marked(tokens, bad), pixels, trajectory


def _joined(earlier: jax.Array, later: jax.Array, first: jax.Array) -> jax.Array:
    """Return the trajectory (batch, calls, length) that is ``later`` from call ``first`` on."""
    return jnp.where(jnp.arange(later.shape[1])[:, None] < first, earlier, later)


generate = bounded_jit(_generate, static_argnames=("output", "rounding", "keep_trajectory"))
_prepare = bounded_jit(prepare)
_advance = bounded_jit(advance, static_argnames=("keep_trajectory",))
_complete = bounded_jit(complete)
_likeliest = bounded_jit(likeliest)
_join = bounded_jit(_joined)
render_tokens = bounded_jit(render, static_argnames=("output", "rounding"))
_render_checked = bounded_jit(_rendered, static_argnames=("output", "rounding"))
_mark = bounded_jit(marked)


@dataclass(frozen=True)
class Pieces:
    """The programs of ``generate_in_pieces`` that every run takes, as its default has them."""

    prepare: Callable[..., Any] = _prepare
    advance: Callable[..., Any] = _advance
    render: Callable[..., Any] = _render_checked
    mark: Callable[..., Any] = _mark


PIECES = tuple(one.name for one in fields(Pieces))
JITTED = Pieces()


def calls_a_piece(calls: int, pieces: int) -> int:
    """Return the network calls of a piece for at most ``pieces`` pieces; it divides ``calls`` if possible."""
    least = -(-calls // pieces)
    return next((count for count in range(least, 2 * least + 1) if calls % count == 0), least)


def generate_in_pieces(
    model: VQDiffusionModel,
    request: Request,
    callback: Callable[..., Any] | None,
    every: int,
    *,
    output: str,
    rounding: str,
    keep_trajectory: bool,
    predict: int = 0,
    pieces: Pieces = JITTED,
) -> tuple[jax.Array, jax.Array | None, jax.Array | None, int]:
    """Draw as ``generate``, and call ``callback(calls done, timestep, tokens)`` every ``every`` network calls.

    Without a callback nobody is told.

    Returns what ``generate`` does, and the number of calls that the trajectory shows.  The number of calls, and of a
    piece, is no part of any program.

    The callback ends the run early by returning True.  The tokens are returned as they are then, [MASK] among them; for
    the pictures, one more network call puts the likeliest codes in place of the masks.  If it returns tokens, int32 of
    the same shape, the run goes on from these.  A strategy whose number of calls depends on the picture may have made
    fewer calls than are counted; the timestep is that of the noisiest picture.

    predict: after every so many network calls, and after the last, also give the callback ``likeliest`` codes and
      probabilities at the timestep of the next call, or after the last call at its own.  0 is never.
    pieces: the programs that are run.
    """
    # The programs that are no part of the loop see no more of the request than they read, and so serve more requests.
    guided = replace(request, **dict.fromkeys(("strategy", "plan", "noise", "start", "known", "first_call", "calls")))
    prepared = pieces.prepare(model, replace(guided, start=request.start, guidance=None, truncation=None))
    plan, tokens, trajectory = request.plan, request.start, None
    calls = len(plan) if request.calls is None else int(request.calls)
    done, reached, upcoming, edited = 0, 0, None, False

    def told(tokens: jax.Array) -> tuple[int, jax.Array]:
        """Return the timestep of the noisiest picture, -1 if all are clean, and those of the next call."""
        here = int(jnp.max(noise_level(request.strategy, plan[done - 1], tokens)))
        return here, jnp.maximum(noise_level(request.strategy, plan[min(done, calls - 1)], tokens), 0)

    for first in range(0, calls, every):
        done, edited = min(first + every, calls), False
        tokens, piece = pieces.advance(
            model, prepared, replace(request, start=tokens), first, done, keep_trajectory=keep_trajectory
        )
        trajectory = piece if piece is None or trajectory is None else _join(trajectory, piece, first)
        if callback is None:
            continue
        reached, upcoming = told(tokens)
        shows = predict and (done % predict == 0 or done == calls or reached < 0)
        seen = _likeliest(model, prepared, guided, tokens, upcoming) if shows else ()
        answer = callback(done, max(reached, 0), tokens, *seen)
        if isinstance(answer, jax.Array) and answer.ndim == 2:
            tokens, answer, edited = answer, False, True
            reached, upcoming = told(tokens)
            if trajectory is not None:
                trajectory = _join(trajectory, jnp.broadcast_to(tokens[:, None], trajectory.shape), done - 1)
        if answer or reached < 0:
            break
    shown = tokens
    if output != "tokens" and (done < calls and reached >= 0 or edited):
        shown = _complete(model, prepared, guided, tokens, upcoming)
    pixels, bad = pieces.render(model, shown, output=output, rounding=rounding)
    # After a clean picture's last call the trajectory repeats its tokens, as that of ``generate`` does.
    return tokens if bad is None else pieces.mark(tokens, bad), pixels, trajectory, calls if reached < 0 else done
