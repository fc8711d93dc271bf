"""Training the judge on real composed pictures, some of which it is tested on and never sees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...data.scenes.questions import is_for_judging
from ...data.scenes.render import render
from ...data.scenes.scene import Scene
from ...data.sources.scenes import Scenes
from ...models.shapes import make_rngs
from ...random_keys import key_of
from .model import Judge, JudgeConfig
from .verdict import agreement, judge_pictures, truth

_JITTER = 2  # pixels; generated drawings need not lie on the grid
_NOISE = 0.06  # standard deviation at most, of pixels in [0, 1]
_PLAIN_RATE = 0.1
_PAIR_RATE = 0.5


def scenes_of(
    data: Path, concepts: int | Sequence[str], *, test: bool, seed: int = 0
) -> tuple[Scenes, Iterator[Scene]]:
    """Return endless scenes of seen and held-out combinations; those for training are moved a little."""
    source = Scenes(
        data,
        "validation",
        concepts=concepts,
        seed=seed,
        combinations="both",
        jitter=0 if test else _JITTER,
        pair_rate=_PAIR_RATE,
        plain_rate=_PLAIN_RATE,
    )

    def endless() -> Iterator[Scene]:
        index = 0
        while True:
            scene = source.scene(index)
            if is_for_judging(scene) == test:
                yield scene
            index += 1

    return source, endless()


def train_judge(
    data: Path,
    concepts: int | Sequence[str],
    *,
    steps: int,
    batch_size: int = 64,
    peak_rate: float = 2e-3,
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> Judge:
    """Return a judge after ``steps`` batches; ``report`` gets the losses every 100.

    concepts: the first so many of scenes/concepts.txt (0: all), or names.
    """
    source, scenes = scenes_of(data, concepts, test=False, seed=seed)
    judge = Judge(JudgeConfig(concepts=source.drawings.concepts), rngs=make_rngs(seed))
    warmup = min(200, steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0.0, peak_rate, warmup, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-2))
    state = optimizer.init(cast(Any, judge))  # a module is a pytree, which optax takes
    key = key_of(seed)
    for step in range(1, steps + 1):
        batch = [next(scenes) for _ in range(batch_size)]
        pictures = np.stack([render(scene, source.drawings) for scene in batch])
        answers = truth(batch, source.drawings.concepts)
        targets = {name: getattr(answers, name) for name in ("background", "layout", "concept", "style")}
        judge, state, losses = _step(optimizer, judge, state, pictures, targets, jax.random.fold_in(key, step))
        if step % 100 == 0 or step == steps:
            report(step, {name: float(value) for name, value in losses.items()})
    return judge


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _step(optimizer, judge, state, pictures, targets, key):
    seen = blemish(pictures.astype(jnp.float32) / 255.0, key)

    def loss(judge):
        logits = judge(seen)
        losses = {name: _cross_entropy(logits[name], targets[name]) for name in targets}
        return sum(losses.values()), losses

    (_, losses), gradients = jax.value_and_grad(loss, has_aux=True)(judge)
    updates, state = optimizer.update(gradients, state, judge)
    return optax.apply_updates(judge, updates), state, losses


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the targets that are not -1, an empty slot."""
    there = targets >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    return jnp.sum(jnp.where(there, losses, 0.0)) / jnp.maximum(there.sum(), 1)


def blemish(pictures: jax.Array, key: jax.Array) -> jax.Array:
    """Return pictures in [0, 1] with random blur, noise and shifts of colour, like those of a codec."""
    blur, noise, level, gain, shift = jax.random.split(key, 5)
    shape = (len(pictures), 1, 1, 1)
    padded = jnp.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]) / 4.0
    soft = (rows[:, :, :-2] + 2.0 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4.0
    # Half of the pictures stay sharp.
    amount = jnp.maximum(jax.random.uniform(blur, shape, minval=-1.0, maxval=1.0), 0.0)
    pictures = pictures + amount * (soft - pictures)
    pictures = pictures * jax.random.uniform(gain, shape[:1] + (1, 1, 3), minval=0.94, maxval=1.06)
    pictures = pictures + jax.random.uniform(shift, shape[:1] + (1, 1, 3), minval=-0.03, maxval=0.03)
    deviation = jax.random.uniform(level, shape, maxval=_NOISE)
    return jnp.clip(pictures + deviation * jax.random.normal(noise, pictures.shape), 0.0, 1.0)


def measure_judge(judge: Judge, data: Path, count: int = 2000, *, seed: int = 1) -> dict[str, float]:
    """Return the judge's accuracy on ``count`` unseen real pictures, by question (see ``agreement``)."""
    source, scenes = scenes_of(data, judge.config.concepts, test=True, seed=seed)
    shown = [next(scenes) for _ in range(count)]
    pictures = np.stack([render(scene, source.drawings) for scene in shown])
    right = agreement(judge_pictures(judge, pictures), shown, judge.config.concepts)
    return {question: float(np.nanmean(answers)) for question, answers in right.items()}
