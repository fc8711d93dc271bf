"""What the judge has to say of every picture of an evaluation, as rows (see ``evaluation.networks``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ...batching import replicate
from ...data.scenes.held_out import held_out_of
from ..inception_weights import fingerprint
from ..networks import Rows
from .model import Judge
from .verdict import agreement, judge_features, judge_pictures

FEATURES, RIGHT, HELD_OUT = "judge_features", "judge_right", "held_out"
QUESTIONS = ("concept", "background", "relation")  # columns of RIGHT; see ``verdict.agreement``
COMBINATIONS = ("style", "background", "relation")  # columns of HELD_OUT


class JudgeFeatures:
    """``judge_features`` (n, width) float32: what FID and distances are measured in, for lack of a network that others use."""

    needs = ""

    def __init__(self, judge: Judge, *, mesh: Mesh | None = None):
        self.judge, self.mesh, self.name = replicate(judge, mesh), mesh, f"judge {fingerprint(judge)} features"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Mapping[str, Any]] = ()) -> Rows:
        return {FEATURES: judge_features(self.judge, pictures, mesh=self.mesh)}


class JudgeAnswers:
    """``judge_right`` (n, 3): whether each question's answer is what the scene says, 1, 0 or nan where it does not arise;
    ``held_out`` (n, 3): whether a combination of each kind is one that training never shows.
    """

    needs = "scene"

    def __init__(self, judge: Judge, *, mesh: Mesh | None = None):
        self.judge, self.mesh, self.name = replicate(judge, mesh), mesh, f"judge {fingerprint(judge)} answers"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Mapping[str, Any]]) -> Rows:
        scenes = [subject["scene"] for subject in subjects]
        right = agreement(judge_pictures(self.judge, pictures, mesh=self.mesh), scenes, self.judge.config.concepts)
        kinds = [{combination[0] for combination in held_out_of(scene.combinations)} for scene in scenes]
        return {
            RIGHT: np.stack([right[question] for question in QUESTIONS], axis=1),
            HELD_OUT: np.array([[name in kind for name in COMBINATIONS] for kind in kinds]),
        }
