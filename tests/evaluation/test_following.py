"""Shares of pictures that follow their text, how sure they are, and distances between pictures."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.diversity import mean_pairwise_distance
from vqdiffusion_jax.evaluation.following import Share, following, share
from vqdiffusion_jax.evaluation.svg import point_plot

NAN = float("nan")


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],  # Newcombe 1998, table I
)
def test_wilson_intervals(right, count, low, high):
    assert Share(right, count).interval == pytest.approx((low, high), abs=6e-5)


def test_who_counts_as_seen_and_held_out():
    right = np.array(
        [  # concept, background, relation
            [1, 1, NAN],
            [0, 1, 1],  # seen
            [1, 0, NAN],  # its style held out
            [0, 1, NAN],
            [1, 0, NAN],  # its background held out
            [1, 1, 0],  # its relation held out
        ]
    )
    held_out = np.array(
        [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], bool
    )  # style, background, relation
    assert following(right, held_out) == {
        "concept_seen": Share(1, 2),
        "concept_held_out": Share(3, 4),
        "background_seen": Share(2, 2),
        "background_held_out": Share(1, 2),
        "relation_seen": Share(1, 1),
        "relation_held_out": Share(0, 1),
    }
    assert following(right[:1], held_out[:1]).keys() == {"concept_seen", "background_seen"}
    assert share(np.array([NAN])) is None


def test_mean_pairwise_distance():
    rows = np.random.default_rng(0).normal(size=(5, 3))
    expected = np.mean([np.linalg.norm(a - b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
    assert mean_pairwise_distance(rows) == pytest.approx(expected)
    assert mean_pairwise_distance(np.ones((3, 4))) == 0.0
    with pytest.raises(EvaluationError, match="at least 2 pictures; there are 1"):
        mean_pairwise_distance(rows[:1])


def test_points_lie_where_their_numbers_are():
    plot = ElementTree.fromstring(
        point_plot("Speed", "seconds", "share", {"slow & good": (2.0, 0.9), "fast": (0.5, 0.4)})
    )
    slow, fast = ((float(dot.get("cx")), float(dot.get("cy"))) for dot in plot.iterfind(".//{*}circle"))
    assert slow[0] > fast[0] and slow[1] < fast[1]
    assert {"slow & good", "fast"} <= {text.text for text in plot.iterfind(".//{*}text")}
