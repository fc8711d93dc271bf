"""The judge's extractors: its features and its answers as rows (see ``evaluation.extractors``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from ...batching import replicate
from ...data.scenes.held_out import held_out_of
from ..extractors import Rows, Subject
from ..identity import fingerprint
from .model import Judge
from .verdict import agreement, judge_features, judge_pictures

FEATURES, RIGHT, HELD_OUT = "judge_features", "judge_right", "held_out"
QUESTIONS = ("concept", "background", "relation")  # columns of RIGHT; see ``verdict.agreement``
COMBINATIONS = ("style", "background", "relation")  # columns of HELD_OUT


class JudgeFeatures:
    """``judge_features`` (n, width) float32, in which FID and distances of composed scenes are measured."""

    needs = ""

    def __init__(self, judge: Judge, *, mesh: Mesh | None = None):
        self.judge, self.mesh, self.name = replicate(judge, mesh), mesh, f"judge {fingerprint(judge)} features"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Subject] = ()) -> Rows:
        return {FEATURES: judge_features(self.judge, pictures, mesh=self.mesh)}


class JudgeAnswers:
    """Two arrays of answers about scenes.

    ``judge_right`` (n, 3): 1 where the answer to one of QUESTIONS agrees with the scene, else 0; nan for no question.
    ``held_out`` (n, 3): whether a combination of each of COMBINATIONS is one that training never shows.
    """

    needs = "scene"

    def __init__(self, judge: Judge, *, mesh: Mesh | None = None):
        self.judge, self.mesh, self.name = replicate(judge, mesh), mesh, f"judge {fingerprint(judge)} answers"

    def __call__(self, pictures: np.ndarray, subjects: Sequence[Subject]) -> Rows:
        scenes = [subject["scene"] for subject in subjects if "scene" in subject]  # all have it: see ``needs``
        right = agreement(judge_pictures(self.judge, pictures, mesh=self.mesh), scenes, self.judge.config.concepts)
        kinds = [{combination[0] for combination in held_out_of(scene.combinations)} for scene in scenes]
        return {
            RIGHT: np.stack([right[question] for question in QUESTIONS], axis=1),
            HELD_OUT: np.array([[name in kind for name in COMBINATIONS] for kind in kinds]),
        }
