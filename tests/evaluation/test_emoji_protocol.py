"""The protocol that asks a model for composed scenes and a judge what came of it, with tiny networks."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data import layouts
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.data.scenes.concepts import all_concepts
from vqdiffusion_jax.data.scenes.words import STYLES
from vqdiffusion_jax.evaluation.chunks import ChunkStore
from vqdiffusion_jax.evaluation.extractors import fitting
from vqdiffusion_jax.evaluation.judge import Judge, JudgeConfig, extractors
from vqdiffusion_jax.evaluation.judge.extractors import JudgeAnswers, JudgeFeatures
from vqdiffusion_jax.evaluation.judge.verdict import Verdicts, truth
from vqdiffusion_jax.evaluation.metrics import ReferenceFeatures, choose, measure
from vqdiffusion_jax.evaluation.protocols import find_protocol
from vqdiffusion_jax.evaluation.reference_set import open_reference
from vqdiffusion_jax.evaluation.report import write_report
from vqdiffusion_jax.evaluation.stages import Setup, evaluate_samples, score_samples
from vqdiffusion_jax.evaluation.subjects import scene_of, subjects
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel

CONCEPTS = all_concepts()[:12]
PROTOCOL = find_protocol("emoji").changed(
    source_options={"concepts": 12, "length": 24}, num_samples=20, num_inference_steps=2
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return layouts.drawings(tmp_path_factory.mktemp("emoji"), CONCEPTS, STYLES)


@pytest.fixture(scope="module")
def judge():
    return random_network(Judge, JudgeConfig(concepts=CONCEPTS, channels=(8, 8, 8, 8), groups=2, heads=4))


@pytest.fixture(scope="module")
def pipeline():
    """Random weights; pictures of 64 x 64, as the judge wants them."""
    codec = VQGANConfig(
        quantizer="ema",
        codebook_size=24,
        embed_dim=8,
        image_size=64,
        channels=4,
        channel_multipliers=(1, 1, 1, 1),
        num_res_blocks=1,
        attention_levels=(),
        z_channels=4,
        norm_groups=4,
    )
    tiny = preset("tiny_text")
    config = dataclasses.replace(tiny, codec=codec, denoiser=dataclasses.replace(tiny.denoiser, grid=codec.grid))
    shapes, rng = shapes_of(VQDiffusionModel, config), np.random.default_rng(0)
    return VQDiffusionPipeline(
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.3, leaf.shape), leaf.dtype), shapes)
    )


@pytest.mark.filterwarnings("ignore:.*too few:UserWarning")
def test_the_whole_protocol(root, judge, pipeline, tmp_path):
    setup = Setup(
        out=tmp_path,
        protocol=PROTOCOL,
        source=open_reference(PROTOCOL, root),
        extractors=[JudgeFeatures(judge), JudgeAnswers(judge)],
        metrics=choose(list(PROTOCOL.metrics)),
        chunk=10,
        batch_size=4,
    )
    store, reference = evaluate_samples(setup, pipeline)
    results = score_samples(setup, store, reference)
    assert {name: one.count for name, one in results.shares.items()} == {
        "concept_seen": 10,
        "concept_held_out": 10,
        "background_seen": 10,
        "background_held_out": 3,
        "relation_seen": 5,
        "relation_held_out": 5,
        "judge_concept": 24,
        "judge_background": 24,
        "judge_relation": 12,
    }
    assert {"judge_fid", "judge_precision", "judge_recall"} <= results.scores.keys() and np.isfinite(
        results.scores["judge_fid"]
    )
    write_report(tmp_path, PROTOCOL, {}, results)
    report = json.loads((tmp_path / "report.json").read_text())
    share = report["shares"]["concept_seen"]
    assert (
        share["count"] == 10
        and share["interval"][0] <= share["right"] / 10 == report["scores"]["concept_seen"] <= share["interval"][1]
    )
    assert f"({share['right']} of 10; 95 %:" in (tmp_path / "report.md").read_text()


def test_answers_are_about_the_scenes_asked_for(root, judge, monkeypatch):
    """Of every other picture the judge says what its scene says, of the rest nothing that is right."""
    source = open_reference(PROTOCOL, root)
    shown = [scene_of(source, i) for i in range(20)]

    def sees(judge, pictures, mesh):
        right, even = dataclasses.asdict(truth([one["scene"] for one in shown], CONCEPTS)), np.arange(20) % 2 == 0
        return Verdicts(
            **{name: np.where(even if said.ndim == 1 else even[:, None], said, -2) for name, said in right.items()}
        )

    monkeypatch.setattr(extractors, "judge_pictures", sees)
    rows = JudgeAnswers(judge)(np.zeros((20, 64, 64, 3), np.uint8), shown)
    pairs = np.array([len(one["scene"].objects) == 2 for one in shown])
    expected = np.tile((np.arange(20) % 2 == 0).astype(float)[:, None], 3)
    expected[~pairs, 2] = np.nan
    np.testing.assert_array_equal(rows["judge_right"], expected)
    assert rows["held_out"].sum(axis=0).tolist() == [2, 3, 5] and rows["held_out"].any(axis=1).sum() == 10


def test_what_a_sample_shows_decides_who_looks_at_it(root, judge):
    source, both = open_reference(PROTOCOL, root), [JudgeFeatures(judge), JudgeAnswers(judge)]
    text, classes = preset("tiny_text"), preset("tiny_class")
    shown = subjects(PROTOCOL, text, source)
    assert [one["prompt"] for one in shown] == [source[i]["captions"][0] for i in range(20)]
    assert [one["scene"] for one in shown] == [source.scene(i) for i in range(20)] and fitting(both, shown[0]) == both
    assert (
        fitting(both, subjects(PROTOCOL, classes, source)[0])
        == fitting(both, subjects(PROTOCOL, text, source, ["x"])[0])
        == both[:1]
    )


def test_without_a_judge_it_is_said_what_is_missing(tmp_path):
    store = ChunkStore(tmp_path, 2, 2, {})
    store.fill(lambda pictures: {"mean_colour": np.zeros((2, 3))})
    results = measure(store, ReferenceFeatures(), metrics=choose(list(PROTOCOL.metrics)))
    assert (
        not results.scores
        and len(results.warnings) == 3
        and all("(judge=FILE)" in warning for warning in results.warnings)
    )
