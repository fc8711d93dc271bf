"""Gaussian mixtures with full covariances, fitted by EM (Bishop 2006, section 9.2) in float64 on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGULARISATION = 1e-6  # added to every variance, so that a component with few rows stays a Gaussian
TOLERANCE = 1e-3  # of the mean log-likelihood between two iterations
ITERATIONS = 100
_MEANS_ITERATIONS = 20


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians.

    weights: (components,); means: (components, width); cholesky: (components, width, width), the lower factors of the
    covariances.
    """

    weights: np.ndarray
    means: np.ndarray
    cholesky: np.ndarray


def fit_mixture(x: np.ndarray, components: int, *, seed: int = 0) -> Mixture:
    """Return the mixture of ``components`` Gaussians that fits x (rows, width), started from k-means with ``seed``."""
    responsibilities = np.eye(components)[_k_means(x, components, np.random.default_rng(seed))]
    mixture, before = _maximise(x, responsibilities), -np.inf
    for _ in range(ITERATIONS):
        joint = _log_joint(mixture, x)
        total = _log_sum(joint)
        mixture = _maximise(x, np.exp(joint - total[:, None]))
        if abs(total.mean() - before) < TOLERANCE:
            break
        before = total.mean()
    return mixture


def log_likelihood(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """ln p of every row of x (rows, width): (rows,) float64."""
    return _log_sum(_log_joint(mixture, x))


def _log_joint(mixture: Mixture, x: np.ndarray) -> np.ndarray:
    """ln of weight times density: (rows, components)."""
    width, columns = x.shape[1], []
    for weight, mean, factor in zip(mixture.weights, mixture.means, mixture.cholesky, strict=True):
        whitened = np.linalg.solve(factor, (x - mean).T)
        log_det = 2.0 * np.log(np.diag(factor)).sum()
        columns.append(np.log(weight) - 0.5 * (np.square(whitened).sum(axis=0) + log_det + width * np.log(2.0 * np.pi)))
    return np.stack(columns, axis=1)


def _maximise(x: np.ndarray, responsibilities: np.ndarray) -> Mixture:
    counts = responsibilities.sum(axis=0) + 10 * np.finfo(float).eps
    means = responsibilities.T @ x / counts[:, None]
    factors = []
    for share, mean, count in zip(responsibilities.T, means, counts, strict=True):
        centred = x - mean
        factors.append(
            np.linalg.cholesky((share[:, None] * centred).T @ centred / count + REGULARISATION * np.eye(x.shape[1]))
        )
    return Mixture(counts / counts.sum(), means, np.stack(factors))


def _k_means(x: np.ndarray, components: int, rng: np.random.Generator) -> np.ndarray:
    """Return each row's cluster of ``components``; centres start far apart (k-means++)."""
    centres = [x[rng.integers(len(x))]]
    for _ in range(components - 1):
        distance = np.min([np.square(x - centre).sum(axis=1) for centre in centres], axis=0)
        total = distance.sum()
        centres.append(x[rng.choice(len(x), p=distance / total if total > 0 else None)])
    centres = np.stack(centres)
    for _ in range(_MEANS_ITERATIONS):
        label = np.argmin(np.stack([np.square(x - centre).sum(axis=1) for centre in centres], axis=1), axis=1)
        moved = np.stack(
            [x[label == i].mean(axis=0) if np.any(label == i) else centre for i, centre in enumerate(centres)]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    return label


def _log_sum(joint: np.ndarray) -> np.ndarray:
    top = joint.max(axis=1)
    return top + np.log(np.exp(joint - top[:, None]).sum(axis=1))
