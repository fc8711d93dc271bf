"""The judge's questions are asked as the scenes mean them, and it can learn to answer."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax.data.scenes.scene import Placed, Scene
from vqdiffusion_jax.data.scenes.words import AXES, STYLES
from vqdiffusion_jax.errors import ConfigError, EvaluationError
from vqdiffusion_jax.evaluation.judge import (
    Judge,
    JudgeConfig,
    Verdicts,
    agreement,
    judge_pictures,
    load_judge,
    save_judge,
)
from vqdiffusion_jax.evaluation.judge import train as training
from vqdiffusion_jax.evaluation.judge.model import BACKGROUNDS, LAYOUTS, STYLE_NAMES

CONCEPTS = ("red apple", "cat face", "dog face")


def scene(*concepts, axis="single", background="blue", style="noto", position="centre"):
    positions = AXES[axis] if len(concepts) == 2 else (position,)
    placed = (
        Placed(drawing=0, concept=c, style=style, size="small", position=p)
        for c, p in zip(concepts, positions, strict=True)
    )
    return Scene(objects=tuple(placed), background=background, axis=axis)


def says(concepts, layout="single", background="blue", style="noto"):
    """The verdict on one picture; a second slot that means nothing says dog face."""
    slots = [CONCEPTS.index(c) for c in concepts] + [2] * (2 - len(concepts))
    return Verdicts(
        background=np.array([BACKGROUNDS.index(background)]),
        layout=np.array([LAYOUTS.index(layout)]),
        concept=np.array([slots]),
        style=np.array([[STYLE_NAMES.index(style)] * 2]),
    )


NAN = float("nan")
APPLE, CAT, DOG = CONCEPTS


@pytest.mark.parametrize(
    "wanted, seen, expected",  # expected: background, layout, concept, relation, style
    [
        (scene(APPLE), says([APPLE]), (1, 1, 1, NAN, 1)),
        (scene(APPLE), says([CAT], background="red"), (0, 1, 0, NAN, NAN)),
        (scene(APPLE), says([APPLE, CAT], "vertical", style="twemoji"), (1, 0, 0, NAN, 0)),
        (scene(APPLE, CAT, axis="horizontal"), says([APPLE, CAT], "horizontal"), (1, 1, 1, 1, 1)),
        (scene(APPLE, CAT, axis="horizontal"), says([CAT, APPLE], "horizontal"), (1, 1, 1, 0, NAN)),
        (scene(APPLE, CAT, axis="horizontal"), says([APPLE, CAT], "vertical"), (1, 0, 1, 0, 1)),
        (scene(APPLE, CAT, axis="horizontal"), says([APPLE, DOG], "horizontal"), (1, 1, 0, 0, NAN)),
        (scene(APPLE, CAT, axis="vertical"), says([APPLE], "single"), (1, 0, 0, 0, NAN)),
    ],
)
def test_what_counts_as_right(wanted, seen, expected):
    right = agreement(seen, [wanted], CONCEPTS)
    np.testing.assert_array_equal(
        [right[q][0] for q in ("background", "layout", "concept", "relation", "style")], expected
    )


def test_an_unknown_concept_is_named():
    with pytest.raises(EvaluationError, match="does not know 'banana'"):
        agreement(says([APPLE]), [scene("banana")], CONCEPTS)


@pytest.fixture(scope="module")
def judge():
    return random_network(Judge, JudgeConfig(concepts=CONCEPTS, channels=(8, 8, 8, 8), groups=2, heads=4))


def test_verdicts_do_not_depend_on_the_batch_and_survive_the_disk(judge, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    verdicts = judge_pictures(judge, pictures, batch_size=4)
    assert verdicts.background.shape == (5,) and verdicts.concept.shape == verdicts.style.shape == (5, 2)
    save_judge(judge, tmp_path / "judge.npz")
    loaded = load_judge(tmp_path / "judge.npz")
    assert loaded.config == judge.config and jax.tree.structure(loaded) == jax.tree.structure(judge)
    for ours, theirs in zip(jax.tree.leaves(judge), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    last = judge_pictures(loaded, np.roll(pictures, 1, 0), batch_size=4)
    for name in ("background", "layout", "concept", "style"):
        np.testing.assert_array_equal(np.roll(getattr(verdicts, name), 1, 0), getattr(last, name))
    with pytest.raises(EvaluationError, match="the judge looks at uint8"):
        judge_pictures(judge, pictures.astype(np.float32))
    (tmp_path / "other.npz").write_bytes(b"no judge")
    with pytest.raises(EvaluationError, match="is no judge") as error:
        load_judge(tmp_path / "other.npz")
    assert "\n" not in str(error.value)


def test_config_mistakes():
    with pytest.raises(ConfigError, match="at least two"):
        JudgeConfig(concepts=("one",))
    with pytest.raises(ConfigError, match="four multiples"):
        JudgeConfig(concepts=CONCEPTS, channels=(32, 64))


def test_blemishes_are_small_and_differ():
    pictures = jnp.broadcast_to(jnp.linspace(0.2, 0.8, 64)[:, None, None], (3, 64, 64, 3))
    spoiled = training.blemish(pictures, jax.random.key(0))
    assert spoiled.shape == pictures.shape and spoiled.min() >= 0 and spoiled.max() <= 1
    distances = jnp.abs(spoiled - pictures).mean((1, 2, 3))
    assert (distances > 0).all() and (distances < 0.12).all() and len(set(distances.tolist())) == 3


def test_an_empty_slot_teaches_nothing():
    logits = jnp.array([[[2.0, 0.0], [0.0, 5.0]]])
    loss = training._cross_entropy(logits, jnp.array([[0, -1]]))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-2.0)), rtol=1e-6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three concepts that are three shapes, in two styles that are two colours."""
    folder = tmp_path_factory.mktemp("emoji")
    y, x = np.mgrid[:64, :64]
    shapes = (x // 2 < y, (x - 32) ** 2 + (y - 32) ** 2 < 700, abs(x - 32) < 10)
    rows, images = [], []
    for style, colour in zip(list(STYLES)[:2], ((0, 255, 255), (100, 60, 20))):
        for concept, shape in zip(CONCEPTS, shapes):
            images.append(np.where(shape[..., None], (*colour, 255), 0).astype(np.uint8))
            rows.append({"caption": concept, "style": style})
    np.savez(folder / "emoji.npz", images=np.stack(images))
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_training_and_test_scenes_are_apart(data):
    shown = {}
    for test in (False, True):
        _, scenes = training.scenes_of(data, CONCEPTS, test=test)
        drawn = [next(scenes) for _ in range(400)]
        shown[test] = {
            (s.background, s.axis, *((p.concept, p.style, p.size, p.position) for p in s.objects)) for s in drawn
        }
    assert shown[True] and not shown[False] & shown[True]


@pytest.mark.slow
def test_it_learns(data):
    """Minutes: after a few hundred batches nearly every answer about unseen pictures is right."""
    judge = training.train_judge(data, CONCEPTS, steps=250, batch_size=32)
    right = training.measure_judge(judge, data, 300)
    assert right["background"] > 0.95 and right["layout"] > 0.95 and right["concept"] > 0.9 and right["relation"] > 0.9
