"""Small networks trained on the known process with the package's denoiser, noise, objective and optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import DenoiserConfig, ObjectiveConfig, ScheduleConfig
from vqdiffusion_jax.diffusion.objectives import make_objective
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.diffusion.transitions import q_sample
from vqdiffusion_jax.files import write_whole
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.training.config import OptimizerConfig
from vqdiffusion_jax.training.denoiser.step import Example, loss_fn
from vqdiffusion_jax.training.optimizer import make_optimizer

from ._known_joint_process import UNTOLD, Process

NULLS = ("learned", "empty text", "none")
WIDTH, LAYERS, HEADS = 64, 2, 4
BATCH, PEAK, EMA = 64, 5e-3, 0.99
NULL_RATE = 0.1  # share of training pictures with the null condition, on top of what captions leave out
EMBEDDING_SCALE = 40.0  # of the package's initial one
POOL = 50_000  # training pictures


@dataclass(frozen=True)
class Trained:
    """A trained network."""

    denoiser: Denoiser


def config_of(process: Process, num_timesteps: int, learned_null: bool) -> DenoiserConfig:
    side = int(process.length**0.5)
    return DenoiserConfig(
        condition="text",
        num_codes=process.num_codes,
        grid=(side, side),
        position_grid=(side, side),
        width=WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        num_timesteps=num_timesteps,
        condition_width=_words(process),
        condition_length=2,
        learnable_null=learned_null,
    )


def _words(process: Process) -> int:
    return len(process.masks) + len(process.colours) + 2  # and "any shape", "any colour"


def condition_of(process: Process, captions: np.ndarray) -> jax.Array:
    """Return captions (n, 2) as two one-hot words each, (n, 2, words): an untold fact has a word of its own."""
    shapes = len(process.masks)
    shape = np.where(captions[:, 0] == UNTOLD, shapes, captions[:, 0])
    colour = np.where(captions[:, 1] == UNTOLD, len(process.colours), captions[:, 1]) + shapes + 1
    return jax.nn.one_hot(jnp.asarray(np.stack([shape, colour], axis=1)), _words(process))


def null_of(process: Process, denoiser: Denoiser, null: str, count: int) -> jax.Array:
    """Return the null condition (count, 2, words): the learned one, or the empty text's, with both facts untold.

    No caption leaves out both, so that only training with NULLS[1] has seen the empty text.
    """
    if null == "learned":
        return denoiser.null(count)
    return condition_of(process, np.full((count, 2), UNTOLD))


def train(
    process: Process, *, num_timesteps: int, null: str, seed: int, steps: int, used: float = 1.0
) -> tuple[Denoiser, float]:
    """Return a network, averaged over the last steps, and its last mean loss in nats a masked token.

    null: what the network sees in place of ``NULL_RATE`` of all captions; "none" for nothing.
    used: share of the captions that belong to their picture; the others are of other pictures.
    """
    rng = np.random.default_rng((7, seed))
    captions = process.draw_captions(POOL, rng)
    pictures = process.draw(captions, rng)
    captions = np.where((rng.random(POOL) < used)[:, None], captions, rng.permutation(captions))
    # Another picture's caption may be true by chance; that is what a share ``used`` means in ``kinds_given`` too.
    fresh = _clearer_places(Denoiser(config_of(process, num_timesteps, null == "learned"), rngs=make_rngs(seed)))
    average, losses = _program(process, num_timesteps, null, steps)(
        fresh, jax.random.key(seed), jnp.asarray(pictures), condition_of(process, captions)
    )
    return average, float(losses[-steps // 10 :].mean())


@cache
def _program(process: Process, num_timesteps: int, null: str, steps: int) -> Any:
    """Return the whole training, compiled once for all seeds and shares of used captions.

    It takes a fresh network, a key, pictures (n, cells) and conditions (n, 2, words), and returns the averaged network
    and the loss of every step.
    """
    schedule = make_schedule(ScheduleConfig(num_codes=process.num_codes, num_timesteps=num_timesteps, name="linear"))
    options = {"label_smoothing": 0.0}
    objective = make_objective(ObjectiveConfig(name="masked_cross_entropy", options=options), schedule)
    optimizer = make_optimizer(
        OptimizerConfig(name="muon", b2=0.99, clip_norm=1.0, weight_decay=0.01, decayed="matrices")
    )
    marginals = schedule.marginals()
    empty = condition_of(process, np.full((1, 2), UNTOLD))

    def step(key, pictures, conditions, state, number):
        network, average, moments = state
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        rows = jax.random.randint(keys[0], (BATCH,), 0, POOL)
        t = jax.random.randint(keys[1], (BATCH,), 0, num_timesteps)
        x0, condition = pictures[rows], conditions[rows]
        dropped = (jax.random.uniform(keys[2], (BATCH,)) < NULL_RATE) & (null != "none")
        if null != "learned":
            condition = jnp.where(dropped[:, None, None], empty, condition)
        example = Example(
            x0=x0,
            x_t=q_sample(
                x0, jax.tree.map(lambda table: jnp.asarray(table)[t], marginals), process.num_codes, key=keys[3]
            ),
            t=t,
            pt=jnp.full(BATCH, 1.0 / num_timesteps),
            condition=condition,
            is_empty=dropped if null == "learned" else None,
        )
        loss, gradients = jax.value_and_grad(lambda one: loss_fn(one, example, objective)[0])(network)
        rate = PEAK * jnp.minimum(1.0, (number + 1) / 100) * 0.5 * (1 + jnp.cos(jnp.pi * number / steps))
        directions, moments = optimizer.update(gradients, moments, network)
        network = jax.tree.map(lambda one, direction: one - rate * direction, network, directions)
        average = jax.tree.map(lambda old, new: EMA * old + (1 - EMA) * new, average, network)
        return (network, average, moments), loss

    @jax.jit
    def run(network, key, pictures, conditions):
        state = network, jax.tree.map(jnp.copy, network), optimizer.init(network)
        (_, average, _), losses = jax.lax.scan(partial(step, key, pictures, conditions), state, jnp.arange(steps))
        return average, losses

    return run


def _clearer_places(network: Denoiser) -> Denoiser:
    """Return a fresh network with larger embeddings, so that attention tells places apart from the first step on."""
    for table in (network.token_embedding, network.height_embedding, network.width_embedding):
        table.embedding[...] = table.embedding[...] * EMBEDDING_SCALE
    return network


def kept(file: Path, process: Process, **how) -> Trained:
    """Return the network of ``train(process, **how)``, from ``file`` if it is there, else trained and written."""
    like = Denoiser(config_of(process, how["num_timesteps"], how["null"] == "learned"), rngs=make_rngs(0))
    leaves, tree = jax.tree.flatten(like)
    if not file.exists():
        network, loss = train(process, **how)
        arrays: dict[str, Any] = {f"{number}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(network))}
        with write_whole(file) as place, place.open("wb") as out:
            np.savez(out, **arrays, loss=loss)
    with np.load(file) as arrays:
        return Trained(jax.tree.unflatten(tree, [jnp.asarray(arrays[f"{number}"]) for number in range(len(leaves))]))
