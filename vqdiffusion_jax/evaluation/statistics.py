"""Mean and covariance of features that stream by: float64, nothing kept but the sums, merged exactly.

Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for
computing sample variances": a batch is reduced about its own mean and the
results are combined, so large means cost no digits.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import EvaluationError, brief
from ..files import write_whole
from ..user_arrays import names_in_npz, read_npz
from .features import check_features

UNKNOWN_COUNT = 2  # of pictures behind a foreign file's numbers; with it ``covariance`` is what the file holds


@dataclass(frozen=True)
class FeatureStatistics:
    """Count, mean and scatter of a set of features, from which FID is computed.

    count: number of rows; mean: (width,) float64; scatter: (width, width) float64, the sum of outer products about the
    mean; network: name of the network that made the features, empty if unknown.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    network: str = ""

    @classmethod
    def empty(cls, width: int, network: str = "") -> FeatureStatistics:
        """Nothing seen yet."""
        return cls(0, np.zeros(width), np.zeros((width, width)), network)

    @classmethod
    def of(cls, batches: Iterable[np.ndarray], network: str = "") -> FeatureStatistics:
        """Return the statistics of (n, width) arrays.  Raises EvaluationError for none or one that is not finite."""
        total = None
        for batch in batches:
            total = (cls.empty(batch.shape[-1], network) if total is None else total).update(batch)
        if total is None:
            raise EvaluationError("there are no features; give at least two pictures")
        return total

    @property
    def width(self) -> int:
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Return scatter / (count - 1), (width, width) float64.  Raises EvaluationError for fewer than two rows."""
        if self.count < 2:
            raise EvaluationError(f"a covariance needs at least 2 pictures; there are {self.count}")
        return self.scatter / (self.count - 1)

    def update(self, features: np.ndarray) -> FeatureStatistics:
        """With (n, width) more rows.  Raises EvaluationError for another width or for features that are not finite."""
        features = check_features(features, "features", self.width)
        if not len(features):
            return self
        mean = features.mean(axis=0)
        centred = features - mean
        return self.merge(FeatureStatistics(len(features), mean, centred.T @ centred, self.network))

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """With what another shard saw.  Raises EvaluationError if it comes from another network."""
        check_same_network(self, other)
        count = self.count + other.count
        if not self.count or not other.count:
            return other if not self.count else self
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.count * other.count / count)
        return FeatureStatistics(count, mean, scatter, self.network or other.network)


def check_same_network(a: FeatureStatistics, b: FeatureStatistics) -> None:
    """Raise EvaluationError unless the features are as wide and, where it is known, of one network."""
    if a.width != b.width:
        raise EvaluationError(
            f"statistics of {a.width} and of {b.width} features are of different networks; make both with one"
        )
    if a.network and b.network and a.network != b.network:
        raise EvaluationError(
            f"statistics of {a.network!r} and of {b.network!r} cannot be compared; make both with one network"
        )


def warn_if_few(count: int, width: int, what: str) -> str | None:
    """Warn, and return the warning, if there are too few pictures for a covariance of full rank."""
    if count > width:
        return None
    message = (
        f"{what}: {count} pictures are too few for {width} features; the covariance is singular and FID is far too high"
    )
    warnings.warn(message, stacklevel=3)
    return message


def write_statistics(path: str | Path, statistics: FeatureStatistics) -> None:
    """Write an .npz with ``mu`` and ``sigma``, as pytorch-fid and ADM read them, ``count`` and ``network``."""
    with write_whole(path) as place, place.open("wb") as file:
        np.savez(
            file, mu=statistics.mean, sigma=statistics.covariance, count=statistics.count, network=statistics.network
        )


def read_statistics(path: str | Path) -> FeatureStatistics:
    """Return the statistics in an .npz of pytorch-fid, ADM or ``write_statistics``.

    Foreign files do not say how many pictures they saw; for them ``count`` is UNKNOWN_COUNT.
    Raises EvaluationError, one line, if the file cannot be read or holds no ``mu`` and ``sigma``.
    """
    try:
        names = names_in_npz(path)
        arrays = read_npz(path, ("mu", "sigma", "count", "network"))
        mean, sigma = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
        count = int(arrays["count"]) if "count" in arrays else UNKNOWN_COUNT
        network = brief(arrays["network"]) if "network" in arrays else ""
    except KeyError:
        raise EvaluationError(
            f"{path} holds {brief(', '.join(names) or 'nothing')}; reference statistics have mu and sigma"
        ) from None
    except (OSError, ValueError, TypeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no .npz file of numbers"
        raise EvaluationError(
            f"{path} cannot be read as statistics: {reason}; give an .npz of pytorch-fid or ADM"
        ) from None
    if mean.ndim != 1 or sigma.shape != (len(mean), len(mean)):
        raise EvaluationError(f"{path}: mu has shape {mean.shape} and sigma {sigma.shape}; expected (n,) and (n, n)")
    if count < 1:
        raise EvaluationError(f"{path}: count is {count}; it must be the number of pictures")
    if not (np.isfinite(mean).all() and np.isfinite(sigma).all()):
        raise EvaluationError(f"{path} holds numbers that are not finite; make the statistics again")
    return FeatureStatistics(count, mean, sigma * (count - 1), network)
