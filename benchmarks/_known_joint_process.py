"""A small picture process whose joint distribution with its captions is known exactly.

A picture is a grid of tokens.  One of a few drawings says which cells are drawn; they have the picture's colour, the
others are background.  A Markov chain over the cells, row by row, gives each cell one of ``textures`` textures.  A
token is group * textures + texture, the group being 0 for background and 1 + colour for a drawn cell.  A caption
tells shape and colour, and may leave out either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

UNTOLD = -1
LOG_MISFIT = float(np.log(1e-6))  # of a token that contradicts the drawing: what a rare replacement would cost


@dataclass(frozen=True, eq=False)
class Process:
    """The distribution of pictures and captions; a *kind* is a drawing in a colour.

    masks: (shapes, drawings, cells) bool, the cells that a drawing covers.  weights: (drawings,) of a shape's drawings.
    colours: (colours,) probabilities.  first: (textures,) and steps: (textures, textures), the Markov chain.
    told: probabilities of a caption with both, with the shape alone and with the colour alone.
    """

    masks: np.ndarray
    weights: np.ndarray
    colours: np.ndarray
    first: np.ndarray
    steps: np.ndarray
    told: tuple[float, float, float] = (0.6, 0.2, 0.2)

    @property
    def length(self) -> int:
        return self.masks.shape[2]

    @property
    def textures(self) -> int:
        return len(self.first)

    @property
    def num_groups(self) -> int:
        return len(self.colours) + 1

    @property
    def num_codes(self) -> int:
        return self.num_groups * self.textures

    @cached_property
    def kinds(self) -> np.ndarray:
        """Shape, drawing and colour of every kind, (kinds, 3)."""
        shapes, drawings, _ = self.masks.shape
        every = np.meshgrid(np.arange(shapes), np.arange(drawings), np.arange(len(self.colours)), indexing="ij")
        return np.stack(every, axis=-1).reshape(-1, 3)

    @cached_property
    def prior(self) -> np.ndarray:
        """The probability of every kind, (kinds,)."""
        _, drawing, colour = self.kinds.T
        return self.weights[drawing] * self.colours[colour] / len(self.masks)

    @cached_property
    def groups(self) -> np.ndarray:
        """The group of every cell of every kind, (kinds, cells)."""
        shape, drawing, colour = self.kinds.T
        return np.where(self.masks[shape, drawing], 1 + colour[:, None], 0)

    def fits(self, captions: np.ndarray) -> np.ndarray:
        """Return which kinds captions (n, 2), shape and colour, are true of: (n, kinds) bool."""
        facts = self.kinds[None, :, [0, 2]]
        return ((captions[:, None] == UNTOLD) | (captions[:, None] == facts)).all(axis=-1)

    def kinds_given(self, captions: np.ndarray, used: float = 1.0) -> np.ndarray:
        """Return p(kind | caption), (n, kinds).

        used: share of the captions that belong to their picture; any other is of another picture, which tells nothing.
        """
        fitting = self.fits(captions) * self.prior
        return used * fitting / fitting.sum(axis=1, keepdims=True) + (1.0 - used) * self.prior

    def draw_captions(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return captions (count, 2), each of a picture of the process."""
        facts = self.kinds[rng.choice(len(self.prior), count, p=self.prior)][:, [0, 2]]
        told = rng.choice(3, count, p=self.told)
        left_out = np.stack([told == 2, told == 1], axis=1)
        return np.where(left_out, UNTOLD, facts)

    def draw(self, captions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return pictures (n, cells) int32 of captions."""
        shares = self.kinds_given(captions).cumsum(axis=1)
        kind = np.minimum((shares < rng.random((len(captions), 1))).sum(axis=1), len(self.prior) - 1)
        texture = np.empty((len(captions), self.length), np.int64)
        for cell in range(self.length):
            share = self.first[None] if cell == 0 else self.steps[texture[:, cell - 1]]
            drawn = (share.cumsum(axis=1) < rng.random((len(captions), 1))).sum(axis=1)
            texture[:, cell] = np.minimum(drawn, self.textures - 1)
        return (self.groups[kind] * self.textures + texture).astype(np.int32)

    def misfits(self, tokens: np.ndarray) -> np.ndarray:
        """Return how many tokens of whole pictures (n, cells) contradict each kind, (n, kinds)."""
        group = tokens // self.textures
        found = np.zeros((len(tokens), len(self.groups)), int)
        for cell in range(self.length):
            found += group[:, None, cell] != self.groups[None, :, cell]
        return found

    def kind_of(self, tokens: np.ndarray) -> np.ndarray:
        """Return the kind of each whole picture, (n,), or -1 where no drawing has these cells."""
        misfits = self.misfits(tokens)
        return np.where(misfits.min(axis=1) == 0, misfits.argmin(axis=1), -1)

    def log_texture(self, tokens: np.ndarray) -> np.ndarray:
        """Return ln p(textures), (n,)."""
        texture = tokens % self.textures
        return np.log(self.first[texture[:, 0]]) + np.log(self.steps[texture[:, :-1], texture[:, 1:]]).sum(axis=1)

    def log_likelihood(self, tokens: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Return ln p(picture | caption), (n,): -inf for a picture that the caption never goes with."""
        kind = self.kind_of(tokens)
        with np.errstate(divide="ignore"):
            of_kind = np.log(self.kinds_given(captions)[np.arange(len(tokens)), kind])
        return np.where(kind < 0, -np.inf, of_kind + self.log_texture(tokens))

    def caption_given(self, tokens: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Return the probability that what a caption tells is true of the picture, (n,).

        A whole picture's is 0 or 1.  One that mixes drawings is read as each of them with a few tokens replaced.
        """
        share = _softmax(np.log(self.prior) + LOG_MISFIT * self.misfits(tokens))
        return (share * self.fits(captions)).sum(axis=1)

    @cached_property
    def texture_entropy(self) -> float:
        """The entropy of a picture's textures, nats; its drawing's comes on top, for they are independent."""
        now, total = self.first, _entropy(self.first)
        for _ in range(self.length - 1):
            total += float(now @ np.array([_entropy(row) for row in self.steps]))
            now = now @ self.steps
        return total

    def log_marginals(self, tokens: jax.Array, log_kinds: Sequence[jax.Array]) -> list[jax.Array]:
        """Return ln p(x_0 of a cell | x_t) for each of several beliefs ln p(kind | caption) (n, kinds).

        tokens: (n, cells) int32, of which ``num_codes`` is [MASK]; noise only masks, so every other token is x_0.
        Kind and texture are independent, and an unmasked token tells both.  So the kinds are enumerated, with
        ``LOG_MISFIT`` for a token that no picture of a kind has, and the texture is found by forward-backward.
        Returns arrays (n, cells, num_codes) float32.
        """
        texture = self._texture_marginals(tokens)
        groups = jax.nn.one_hot(tokens // self.textures, self.num_groups)  # [MASK] is in no group: a row of zeros
        members = jax.nn.one_hot(jnp.asarray(self.groups), self.num_groups)  # (kinds, cells, groups)
        flat = members.reshape(len(members), -1)
        agreeing = groups.reshape(len(groups), -1) @ flat.T
        misfits = groups.sum(axis=(1, 2))[:, None] - agreeing

        def joint(log_kind):
            share = jax.nn.softmax(log_kind + LOG_MISFIT * misfits, axis=-1)
            group = (share @ flat).reshape(groups.shape)
            joint = group[..., :, None] * texture[..., None, :]
            return jnp.log(jnp.maximum(joint.reshape(*tokens.shape, -1), 1e-30))

        return [joint(log_kind) for log_kind in log_kinds]

    def _texture_marginals(self, tokens: jax.Array) -> jax.Array:
        """Return p(texture of a cell | x_t), (n, cells, textures)."""
        known = jax.nn.one_hot(tokens % self.textures, self.textures)
        told = jnp.where((tokens == self.num_codes)[..., None], 1.0, known).swapaxes(0, 1)  # (cells, n, textures)
        steps = jnp.asarray(self.steps, jnp.float32)

        def forward(before, told_here):  # p(texture | what is told up to the cell before), then with the cell
            here = before * told_here
            here /= here.sum(axis=-1, keepdims=True)
            return here @ steps, before

        def backward(after, told_here):  # p(all that is told later | texture), up to a factor
            here = after * told_here
            return here @ steps.T / here.sum(axis=-1, keepdims=True), after

        start = jnp.broadcast_to(jnp.asarray(self.first, jnp.float32), told.shape[1:])
        _, before = jax.lax.scan(forward, start, told)
        _, after = jax.lax.scan(backward, jnp.ones_like(start), told, reverse=True)
        joint = (before * after * told).swapaxes(0, 1)
        return joint / joint.sum(axis=-1, keepdims=True)


def standard() -> Process:
    """Return the process of ``known_joint``: 6 x 6 tokens of 32 codes, 4 shapes of 6 drawings, 3 colours.

    The drawings of a shape share two thirds of their cells in the mean, so that a few tokens leave several possible.
    """
    rng = np.random.default_rng(2022)
    bases = rng.random((4, 1, 36)) < 0.5
    masks = bases ^ (rng.random((4, 6, 36)) < 0.2)
    textures = 8
    steps = np.full((textures, textures), 0.15 / (textures - 2))
    for texture in range(textures):
        steps[texture, texture], steps[texture, (texture + 1) % textures] = 0.25, 0.6
    return Process(
        masks=masks,
        weights=np.array([0.35, 0.25, 0.16, 0.12, 0.08, 0.04]),
        colours=np.array([0.5, 0.3, 0.2]),
        first=np.full(textures, 1.0 / textures),
        steps=steps,
    )


def _entropy(share: np.ndarray) -> float:
    return float(-(share * np.log(np.where(share > 0, share, 1.0))).sum())


def _softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
