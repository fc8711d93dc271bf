"""Questions for judging: fixed numbers of each kind, never seen by a judge; longer lists begin with the same ones."""

import pickle
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.scenes.concepts import all_concepts
from vqdiffusion_jax.data.scenes.held_out import is_held_out
from vqdiffusion_jax.data.scenes.questions import ROUND, Kind, is_for_judging
from vqdiffusion_jax.data.scenes.words import STYLES
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import DataError
from vqdiffusion_jax.evaluation.judge.train import scenes_of


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return layouts.drawings(tmp_path_factory.mktemp("emoji"), all_concepts()[:12], STYLES)


def opened(root, split="validation", **options):
    return open_source(DataConfig(source="scene_questions", root=str(root), options={"concepts": 12} | options), split)


def test_kinds_are_as_many_as_announced(root):
    source = opened(root, length=45)
    asked = [source.scene(i) for i in range(45)]
    assert [Kind.of(scene) for scene in asked] == [ROUND[i % 20] for i in range(45)]
    assert Counter((kind.drawings, kind.held_out) for kind in ROUND) == {
        (1, ""): 5,
        (2, ""): 5,
        (1, "background"): 3,
        (1, "style"): 2,
        (2, "relation"): 5,
    }
    for scene in asked:
        held_out = {combination[0] for combination in scene.combinations if is_held_out(combination)}
        assert held_out == ({Kind.of(scene).held_out} - {""}) and not scene.plain
    shorter = opened(root, length=7)
    assert [shorter.scene(i) for i in range(7)] == asked[:7]


def test_no_judge_has_seen_them(root):
    _, scenes = scenes_of(root, 12, test=False)
    assert not any(is_for_judging(scene) for scene in islice(scenes, 200))
    assert all(is_for_judging(opened(root, length=20).scene(i)) for i in range(20))


def test_records_show_what_their_captions_say(root):
    source = pickle.loads(pickle.dumps(opened(root, length=20)))
    for index in range(20):
        record, scene = source[index], source.scene(index)
        assert record["image"].shape == (64, 64, 3) and record["image"].dtype == np.uint8
        (words,) = record["captions"]
        assert words.endswith(f"on a {scene.background} background") and all(
            placed.concept in words for placed in scene.objects
        )


def test_mistakes(root):
    with pytest.raises(DataError, match="never trained on"):
        opened(root, "train")
    with pytest.raises(DataError, match="length is 0"):
        opened(root, length=0)
    with pytest.raises(DataError, match="use more concepts"):
        opened(root, concepts=["red apple", "cat face"], length=20)
