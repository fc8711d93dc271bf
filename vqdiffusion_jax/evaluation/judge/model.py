"""The judge: a small convolutional network with one answer for the picture and one for each of two slots."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from ...config import ComputeConfig
from ...data.scenes.words import AXES, CANVAS, COLOURS, STYLES
from ...errors import ConfigError
from ...models.convolution import conv, pointwise
from ...models.layers import GroupNorm

BACKGROUNDS = tuple(COLOURS)
LAYOUTS = ("single", *AXES)
STYLE_NAMES = tuple(STYLES)
SLOTS = 2  # in reading order; the second means nothing where there is one drawing


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The concepts that the judge tells apart, and its sizes."""

    concepts: tuple[str, ...]
    channels: tuple[int, ...] = (32, 64, 128, 128)  # after each halving but the last, which keeps 8 x 8 places
    groups: int = 8  # of GroupNorm
    heads: int = 4  # places a slot may look at at once

    def __post_init__(self):
        if len(self.concepts) < 2:
            raise ConfigError(f"JudgeConfig.concepts has {len(self.concepts)} names; at least two are needed")
        if len(self.channels) != 4 or any(width % (self.groups * self.heads) for width in self.channels):
            raise ConfigError(
                f"JudgeConfig.channels is {self.channels};"
                f" four multiples of groups * heads = {self.groups * self.heads}"
            )


class _Stage(nnx.Module):
    """A convolution that may halve the picture, and one added to its result."""

    def __init__(
        self, in_channels: int, out_channels: int, strides: int, groups: int, compute: ComputeConfig, *, rngs: nnx.Rngs
    ):
        self.enter = conv(in_channels, out_channels, compute, strides=strides, rngs=rngs)
        self.norm1 = GroupNorm(out_channels, groups, compute, rngs=rngs)
        self.inner = conv(out_channels, out_channels, compute, rngs=rngs)
        self.norm2 = GroupNorm(out_channels, groups, compute, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.norm1(self.enter(x)))
        return x + jax.nn.relu(self.norm2(self.inner(x)))


class Judge(nnx.Module):
    """A network from pictures (batch, 64, 64, 3) float32 in [0, 1] to logits.

    These are ``background`` (batch, 10), ``layout`` (batch, 3), ``concept`` (batch, 2, concepts) and ``style``
    (batch, 2, 5).  Each slot attends to the final 8 x 8 places by ``heads`` softmax maps, which depend on content,
    position and the whole picture.  Both slots share one classifier, so it knows a drawing in every position.
    """

    def __init__(self, config: JudgeConfig, *, rngs: nnx.Rngs):
        compute = ComputeConfig(dtype="float32")
        c1, c2, c3, c4 = config.channels
        self.stem = conv(3, c1, compute, size=4, strides=2, rngs=rngs)
        self.stem_norm = GroupNorm(c1, config.groups, compute, rngs=rngs)
        self.stages = nnx.List(
            _Stage(a, b, strides, config.groups, compute, rngs=rngs)
            for a, b, strides in ((c1, c2, 2), (c2, c3, 2), (c3, c4, 1))
        )
        side = CANVAS // 8
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (side * side, c4)))
        self.gather = pointwise(c4, c4, compute, rngs=rngs)
        self.look = pointwise(c4, SLOTS * config.heads, compute, rngs=rngs)
        self.background = pointwise(2 * c4, len(BACKGROUNDS), compute, rngs=rngs)
        self.layout = pointwise(2 * c4, len(LAYOUTS), compute, rngs=rngs)
        self.hidden = pointwise(c4, c4, compute, rngs=rngs)
        self.concept = pointwise(c4, len(config.concepts), compute, rngs=rngs)
        self.style = pointwise(c4, len(STYLE_NAMES), compute, rngs=rngs)
        self.config = config

    def features(self, pictures: jax.Array) -> jax.Array:
        """Return the features of background and layout: (batch, 2 * channels[-1]), mean and maximum over places."""
        return _whole(self._places(pictures))

    def _places(self, pictures: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.stem_norm(self.stem(2.0 * pictures - 1.0)))
        for stage in self.stages:
            x = stage(x)
        return x.reshape(len(x), -1, x.shape[-1])

    def __call__(self, pictures: jax.Array) -> dict[str, jax.Array]:
        x = self._places(pictures)
        whole = _whole(x)
        # The picture as a whole decides which places are the first and the second drawing's.
        context = jax.nn.relu(self.gather(x.mean(1)))[:, None]
        looked = jax.nn.softmax(self.look(jax.nn.relu(x + self.places[...] + context)), axis=1)
        looked = looked.reshape(*looked.shape[:2], SLOTS, self.config.heads)
        seen = x.reshape(*x.shape[:2], self.config.heads, -1)
        slots = jnp.einsum("bpsh,bphc->bshc", looked, seen)
        slots = jax.nn.relu(self.hidden(slots.reshape(len(x), SLOTS, -1)))
        return {
            "background": self.background(whole),
            "layout": self.layout(whole),
            "concept": self.concept(slots),
            "style": self.style(slots),
        }


def _whole(x: jax.Array) -> jax.Array:
    return jnp.concatenate([x.mean(1), x.max(1)], -1)
