"""Whole evaluations of tiny models: resumed, shared by parts, by protocol, and what is said when something is wrong."""

import inspect
import json
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.told import own
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.config import ComputeConfig, compute_in
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import EvaluationError, UnusedSettingWarning
from vqdiffusion_jax.evaluation import Networks, likelihood, run
from vqdiffusion_jax.evaluation.chunks import ChunkStore
from vqdiffusion_jax.evaluation.extractors import InceptionFeatures
from vqdiffusion_jax.evaluation.identity import arithmetic_of
from vqdiffusion_jax.evaluation.metrics import METRICS, choose
from vqdiffusion_jax.evaluation.protocol import Protocol, with_settings
from vqdiffusion_jax.evaluation.protocols import find_protocol
from vqdiffusion_jax.evaluation.reference_set import read_pictures, reference_indices
from vqdiffusion_jax.evaluation.report import write_report
from vqdiffusion_jax.evaluation.samples import through_file
from vqdiffusion_jax.evaluation.stages import (
    Setup,
    evaluate_likelihood,
    evaluate_pictures,
    evaluate_reconstruction,
    evaluate_samples,
    score_reconstruction,
    score_samples,
)
from vqdiffusion_jax.evaluation.statistics import FeatureStatistics
from vqdiffusion_jax.evaluation.subjects import subjects
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import SamplingSettings

REPO = Path(__file__).resolve().parents[2]


class Projection(InceptionFeatures):
    """A linear stand-in for the Inception network, so that whole evaluations take no time."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.matrix, self.name = rng.normal(size=(3 * 4 * 4, 6)).astype(np.float32), f"projection {seed}"

    def __call__(self, pictures, subjects=()):
        small = pictures[:, ::4, ::4].reshape(len(pictures), -1).astype(np.float32) / 255
        return {"pool3": small @ self.matrix, "logits": small @ self.matrix[:, :5]}


def random_pipeline(compute=ComputeConfig()):
    """Random weights; the tables of kept codes are whole numbers."""
    shapes, rng = shapes_of(VQDiffusionModel, preset("tiny_unconditional"), compute), np.random.default_rng(0)

    def fill(leaf):
        whole = np.issubdtype(leaf.dtype, np.integer)
        return jnp.asarray(np.arange(leaf.size) % 16 if whole else rng.normal(0.0, 0.3, leaf.shape), leaf.dtype)

    return VQDiffusionPipeline(jax.tree.map(fill, shapes))


@pytest.fixture(scope="module")
def pipeline():
    return random_pipeline()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pictures of 16 x 16 and one wider."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(13):
        width = 16 if number else 24
        Image.fromarray(rng.integers(0, 256, (16, width, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def setup_of(out, folder, **changes):
    source = open_source(DataConfig(source="folder", root=str(folder)), "train")
    sampling = SamplingSettings.of(num_inference_steps=2)
    protocol = Protocol(name="test", reference_split="train", num_samples=9, sampling=sampling)
    given = dict(
        out=out,
        protocol=protocol,
        source=source,
        source_name="pictures",
        extractors=[Projection()],
        chunk=4,
        batch_size=2,
    )
    return Setup(**(given | {"metrics": choose(["fid", "kid", "inception_score", "precision_recall"])} | changes))


def finish(setup, pipeline):
    results = score_samples(setup, *evaluate_samples(setup, pipeline))
    write_report(setup.out, setup.protocol, {"samples": setup.protocol.num_samples}, results)
    return [(setup.out / name).read_bytes() for name in ("report.json", "report.md")]


def one_chunk(chunks):
    """The progress of a run that is stopped when it has written a chunk."""
    yield chunks[0]
    raise KeyboardInterrupt


def test_an_interrupted_evaluation_gives_the_same_report(pipeline, folder, tmp_path):
    whole = finish(setup_of(tmp_path / "whole", folder), pipeline)

    out = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        evaluate_samples(setup_of(out, folder, progress=one_chunk), pipeline)
    assert len(list(out.glob("samples/chunk-*.npz"))) == 1
    (out / "samples" / ".chunk-000001.npz.abc").write_bytes(b"half a file")  # what a killed process leaves
    assert finish(setup_of(out, folder), pipeline) == whole

    parts = [setup_of(tmp_path / "parts", folder, process_index=part, process_count=4) for part in (2, 0, 3, 1)]
    for part in parts:
        evaluate_samples(part, pipeline)
    assert finish(setup_of(tmp_path / "parts", folder), pipeline) == whole
    scores = json.loads(whole[0])["scores"]
    assert scores.keys() == {"fid", "kid", "kid_std", "inception_score", "inception_score_std", "precision", "recall"}
    assert np.isfinite(list(scores.values())).all()

    with pytest.raises(EvaluationError, match=r"was begun with seed = 0, not 1; give another out"):
        evaluate_samples(setup_of(out, folder, protocol=with_settings(parts[0].protocol, {"seed": "1"})), pipeline)
    with pytest.raises(EvaluationError, match=r"was begun with networks = \['projection 0'\], not \['projection 1'\]"):
        evaluate_samples(setup_of(out, folder, extractors=[Projection(1)]), pipeline)


def stopped_at_once(chunks):
    raise KeyboardInterrupt


def test_a_run_does_not_go_on_in_another_arithmetic(folder, tmp_path, monkeypatch):
    """bfloat16 and float8 have the same weights, so that nothing but the dtype tells their rows apart."""
    stopped = setup_of(tmp_path, folder, progress=stopped_at_once)
    at_first, now = (random_pipeline(compute_in(dtype)) for dtype in ("bfloat16", "float8"))
    for evaluate, what in ((evaluate_samples, "samples"), (evaluate_likelihood, "likelihood")):
        with pytest.raises(KeyboardInterrupt):
            evaluate(stopped, at_first)
        with pytest.raises(
            EvaluationError, match=rf"{what} was begun with dtype = 'bfloat16', not 'float8'; give another out"
        ):
            evaluate(stopped, now)
    with pytest.raises(KeyboardInterrupt):
        evaluate_reconstruction(stopped, at_first.model.codec)
    with pytest.raises(
        EvaluationError, match="reconstruction was begun with dtype = 'bfloat16', not 'float32'; give another out"
    ):
        evaluate_reconstruction(stopped, random_pipeline().model.codec)

    index = tmp_path / "samples" / "index.json"
    whole = json.loads(index.read_text())
    index.write_text(json.dumps({name: value for name, value in whole.items() if name not in ("dtype", "platform")}))
    with pytest.raises(
        EvaluationError, match="samples was begun with dtype = None, not 'bfloat16'"
    ):  # by an earlier version
        evaluate_samples(stopped, at_first)
    index.write_text(json.dumps(whole))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(EvaluationError, match="samples was begun with platform = 'cpu', not 'gpu'"):
        evaluate_samples(stopped, at_first)


def test_the_text_tower_has_an_arithmetic_of_its_own():
    half = replace(compute_in("bfloat16"), dtype="float16", param_dtype="float32")
    for text_compute, clip_dtype in ((None, "bfloat16"), (half, "float16")):
        model = shapes_of(VQDiffusionModel, preset("tiny_text"), compute_in("float8"), text_compute=text_compute)
        assert arithmetic_of(model) == {"dtype": "float8", "clip_dtype": clip_dtype, "platform": "cpu"}
    assert arithmetic_of(model.codec) == {"dtype": "bfloat16", "platform": "cpu"}


def test_interrupted_likelihood_and_reconstruction_give_the_same_report(pipeline, folder, tmp_path):
    codec = pipeline.model.codec

    def finish(out):
        setup = setup_of(out, folder)
        nats = evaluate_likelihood(setup, pipeline).all(likelihood.NATS)
        store, reference = evaluate_reconstruction(setup, codec)
        results = score_reconstruction(store, reference, codec)
        write_report(out, setup.protocol, {}, results, likelihood.summarise(nats, pipeline.model))
        return [(out / name).read_bytes() for name in ("report.json", "report.md", "likelihood.svg")]

    whole, out = finish(tmp_path / "whole"), tmp_path / "resumed"
    stopped = setup_of(out, folder, progress=one_chunk)
    for evaluate in (lambda: evaluate_likelihood(stopped, pipeline), lambda: evaluate_reconstruction(stopped, codec)):
        with pytest.raises(KeyboardInterrupt):
            evaluate()
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("chunk-*.npz")}
    assert {str(path) for path in before} == {"likelihood/chunk-000000.npz", "reconstruction/chunk-000000.npz"}
    for what in ("likelihood", "reconstruction"):
        (out / what / ".chunk-000001.npz.abc").write_bytes(b"half a file")  # what a killed process leaves
    assert finish(out) == whole
    assert all((out / path).read_bytes() == content for path, content in before.items())  # nothing was computed twice
    assert json.loads(whole[0])["scores"].keys() >= {"bits_per_token", "psnr", "rfid"}


def test_samples_are_the_pipelines_pictures_and_can_be_kept(pipeline, folder, tmp_path):
    setup = setup_of(tmp_path, folder, keep_images=True)
    store, _ = evaluate_samples(setup, pipeline)
    expected = pipeline(
        num_images_per_prompt=9, num_inference_steps=2, seed=0, batch_size=2, output_type="uint8"
    ).images
    kept = np.stack([np.asarray(Image.open(tmp_path / "samples" / "images" / f"{i:06d}.png")) for i in range(9)])
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_allclose(store.all("mean_colour"), expected.mean(axis=(1, 2)))
    assert store.pictures_per_second() > 0


def test_a_setting_that_changes_nothing_is_told_once(pipeline, folder, tmp_path):
    sampling = SamplingSettings.of(num_inference_steps=1, guidance_scale=1, guidance_interval=(0, 3))
    setup = setup_of(tmp_path, folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        evaluate_samples(replace(setup, protocol=replace(setup.protocol, sampling=sampling)), pipeline)
    (unused,) = own(told)
    assert unused.category is UnusedSettingWarning
    assert str(unused.message).startswith("guidance_interval changes nothing, as guidance_scale is 1")


def test_without_networks_all_else_still_runs(pipeline, folder, tmp_path):
    setup = setup_of(tmp_path, folder, extractors=[], metrics=choose(None))
    results = score_samples(setup, *evaluate_samples(setup, pipeline))
    assert results.scores == {} and len(results.warnings) == len(choose(None))
    assert (
        "fid is left out: it needs the FID Inception network (inception=pt_inception-2015-12-05-6726825d.pth)"
        in results.warnings
    )
    network = setup_of(tmp_path / "n", folder, source=None, metrics=choose(None))
    results = score_samples(network, *evaluate_samples(network, pipeline))
    assert set(results.scores) == {"inception_score", "inception_score_std"}
    assert any("fid is left out: it needs reference pictures or statistics" in warning for warning in results.warnings)


def test_statistics_stand_in_for_pictures_and_must_be_the_same_networks(pipeline, folder, tmp_path):
    setup = setup_of(tmp_path / "a", folder)
    store, reference = evaluate_samples(setup, pipeline)
    of_pictures = score_samples(setup, store, reference).scores["fid"]
    statistics = FeatureStatistics.of(reference.rows.stream("pool3"), Projection().name)
    alone = setup_of(tmp_path / "b", folder, source=None, statistics=statistics)
    results = score_samples(alone, *evaluate_samples(alone, pipeline))
    assert results.scores["fid"] == pytest.approx(of_pictures, rel=1e-9) and "kid" not in results.scores
    other = setup_of(
        tmp_path / "b", folder, source=None, statistics=FeatureStatistics.of([np.ones((9, 6))], "projection 7")
    )
    with pytest.raises(EvaluationError, match="'projection 0' and of 'projection 7' cannot be compared"):
        score_samples(other, *evaluate_samples(other, pipeline))


def test_pictures_drawn_elsewhere(folder, tmp_path):
    square = tmp_path / "square"
    square.mkdir()
    for number in range(1, 13):
        (square / f"{number:02d}.png").write_bytes((folder / f"{number:02d}.png").read_bytes())
    drawn = open_source(DataConfig(source="folder", root=str(square)), "train")
    setup = setup_of(tmp_path / "out", square)
    scores = score_samples(setup, *evaluate_pictures(setup, drawn, "square")).scores
    assert scores["fid"] == pytest.approx(0.0, abs=1e-6) and (scores["precision"], scores["recall"]) == (1.0, 1.0)
    mixed = open_source(DataConfig(source="folder", root=str(folder)), "train")
    with pytest.raises(
        EvaluationError, match=r"01.png is 16 x 16 where 00.png is 24 x 16; all pictures must be of one size"
    ):
        evaluate_pictures(setup_of(tmp_path / "mixed", folder), mixed, "mixed")


def test_likelihood_and_reconstruction_of_a_data_set(pipeline, folder, tmp_path):
    stores = [
        evaluate_likelihood(setup_of(tmp_path / str(chunk), folder, chunk=chunk), pipeline, batch_size=4)
        for chunk in (5, 13)
    ]
    found = [likelihood.summarise(store.all(likelihood.NATS), pipeline.model) for store in stores]
    assert found[0].bits_per_token == pytest.approx(found[1].bits_per_token, rel=1e-6)
    assert 2 < found[0].bits_per_token < 40 and found[0].by_timestep.shape == (
        10,
    )  # 4 bits is what knows nothing of 16 codes
    setup = setup_of(tmp_path / "codec", folder)
    store, reference = evaluate_reconstruction(setup, pipeline.model.codec)
    results = score_reconstruction(store, reference, pipeline.model.codec)
    assert results.scores.keys() == {"psnr", "ssim", "codes_used", "code_perplexity", "rfid"}
    assert 1 <= results.scores["code_perplexity"] <= 16 and 0 < results.scores["codes_used"] <= 1
    write_report(setup.out, setup.protocol, {}, results, found[0])
    report = json.loads((setup.out / "report.json").read_text())
    assert (
        report["scores"]["bits_per_token"] == found[0].bits_per_token and len(report["likelihood"]["by_timestep"]) == 10
    )
    assert (setup.out / "likelihood.svg").read_text().startswith("<svg")
    setup = setup_of(tmp_path / "none", folder, source=None)
    with pytest.raises(EvaluationError, match="give data, the root"):
        evaluate_likelihood(setup, pipeline)


def test_reference_pictures(folder, tmp_path):
    protocol = Protocol(name="test", reference_split="train", num_reference=30)
    source = open_source(DataConfig(source="folder", root=str(folder)), "train")
    counts = np.bincount(reference_indices(source, protocol))
    assert counts.sum() == 30 and counts.min() == 2 and counts.max() == 3  # oversampled
    some = reference_indices(source, with_settings(protocol, {"num_reference": "5"}))
    assert len(set(some.tolist())) == 5 and np.all(np.diff(some) > 0)
    assert read_pictures(source, [0, 1], 16).shape == (2, 16, 16, 3)
    source.picture = lambda index: index // 2  # two captions a picture
    np.testing.assert_array_equal(reference_indices(source, Protocol(name="all")), [0, 2, 4, 6, 8, 10, 12])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    broken = open_source(DataConfig(source="folder", root=str(tmp_path)), "train")
    with pytest.raises(EvaluationError, match="a reference picture cannot be used: broken.png"):
        read_pictures(broken, [0], 16)
    with pytest.raises(EvaluationError, match="a reference picture cannot be used: broken.png: its image"):
        read_pictures(broken, [0], None)
    with pytest.raises(EvaluationError, match="there are no pictures"):
        ChunkStore(tmp_path / "empty", 0, 4, {})


def test_what_samples_show(tmp_path):
    for number in range(5):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"A{number}\nB{number}\n")
    source = open_source(DataConfig(source="folder", root=str(tmp_path)), "train")
    text, classes = preset("tiny_text"), preset("tiny_class")
    protocol = Protocol(name="test", num_samples=10)
    shown = [one["prompt"] for one in subjects(protocol, text, source)]
    assert shown == [one["prompt"] for one in subjects(protocol, text, source)]
    assert sorted(prompt[1] for prompt in shown) == sorted("0011223344") and {prompt[0] for prompt in shown} == {
        "a",
        "b",
    }
    first = with_settings(protocol, {"order": "sequential", "caption": "first"})
    assert [one["prompt"] for one in subjects(first, text, source)] == [f"a{i % 5}" for i in range(10)]
    assert [one["class_label"] for one in subjects(protocol, classes, None)] == [0, 1, 2, 3, 4] * 2
    assert subjects(first, text, None, ["x", "Y "])[:3] == [{"prompt": "x"}, {"prompt": "y"}, {"prompt": "x"}]
    with pytest.raises(EvaluationError, match="give data, or prompts"):
        subjects(protocol, text, None)


def test_jpeg_loses_what_a_file_loses():
    picture = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(through_file(picture, "png", 75), picture)
    assert np.abs(through_file(picture, "jpeg", 75).astype(int) - picture).max() > 10


def test_no_chunk_is_reused_for_another_setting(pipeline, folder, tmp_path):
    stopped = setup_of(tmp_path, folder, progress=stopped_at_once)
    with pytest.raises(KeyboardInterrupt):
        evaluate_samples(stopped, pipeline)
    for fields, message in (
        ({"guidance_scale": 2.0}, "begun with guidance_scale = None, not 2.0"),
        ({"num_inference_steps": 3}, "begun with num_inference_steps = 2, not 3"),
        ({"strategy": "purity"}, "begun with strategy = 'posterior', not 'purity'"),
        ({"top_k": 5}, "begun with top_k = None, not 5"),
        ({"rounding": "round"}, "begun with rounding = 'truncate', not 'round'"),
        ({"weights": "model"}, "begun with weights = 'ema', not 'model'"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluate_samples(replace(stopped, protocol=stopped.protocol.changed(**fields)), pipeline)


def test_the_metric_of_the_document_works_as_it_says(pipeline, folder, tmp_path, monkeypatch):
    """``run`` calls extractors and metrics as docs/evaluation.md shows."""
    page = (REPO / "docs" / "evaluation.md").read_text(encoding="utf-8")
    code = page.split("# brightness.py\n")[1].split("```")[0]
    shown: dict = {}
    exec(code, shown)
    protocol = Protocol(name="test", reference_split="train", num_samples=3).changed(num_inference_steps=2)
    networks = Networks(others=[shown["Brightness"]()])
    metrics = ["fid", shown["BRIGHTNESS_GAP"]]
    done = run(protocol, pipeline, data=folder, networks=networks, metrics=metrics, out=tmp_path, chunk=4)
    means = [ChunkStore.all(store, "brightness").mean() for store in stores_in(tmp_path)]
    assert done.results.scores == {"brightness_gap": pytest.approx(abs(means[0] - means[1]))}
    assert done.results.warnings == [
        "fid is left out: it needs the FID Inception network (inception=pt_inception-2015-12-05-6726825d.pth)"
    ]
    assert "| brightness_gap (`brightness_gap`) |" in done.page
    assert done.page == (tmp_path / "report.md").read_text() and done.speed["samples"] > 0


def stores_in(out):
    for name in ("samples", "reference"):
        head = json.loads((out / name / "index.json").read_text())
        count, chunk = head.pop("count"), head.pop("chunk")
        yield ChunkStore(out / name, count, chunk, head)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_takes_samples_and_reference(metric):
    assert len(inspect.signature(metric.compute).parameters) == 2


def test_run_says_what_is_wrong_before_a_model_is_opened(folder, tmp_path):
    def model(mesh):
        raise AssertionError("opened")

    own = find_protocol("own")
    for arguments, message in (
        ({"metrics": ["fvd"]}, "unknown metric 'fvd'"),
        ({"what": ["likelihood"], "reference": FeatureStatistics.empty(4)}, "the likelihood needs pictures"),
        ({"write_reference": tmp_path / "a.npz"}, "give data and inception, and not reference"),
        ({"networks": Networks(inception=tmp_path / "absent.pth")}, "^inception=.*absent.pth does not exist"),
    ):
        with pytest.raises(EvaluationError, match=message):
            run(own, model, out=tmp_path, **arguments)
    with pytest.raises(EvaluationError, match="unknown protocol 'cocoo'; did you mean"):
        run("cocoo", model, out=tmp_path)
    with pytest.raises(AssertionError, match="opened"):
        run(own, model, data=folder, out=tmp_path)


class Raises:
    """A data set of which one record cannot be read, in one of the ways that libraries have."""

    def __init__(self, error, bad, folder):
        self.error, self.bad = error, bad
        self.source = open_source(DataConfig(source="folder", root=str(folder)), "train")

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index == self.bad:
            raise self.error
        return self.source[index]


@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.parametrize(
    "error, said",
    [
        (KeyError("jpg"), "KeyError: 'jpg'"),
        (ValueError("torn"), "torn"),
        (OSError("gone"), "gone"),
        (SyntaxError("x"), "x"),
    ],
)
def test_a_source_that_raises_is_named_by_its_own_record(folder, bad, error, said):
    source = Raises(error, bad, folder)
    for size in (16, None):
        with pytest.raises(EvaluationError, match=f"a reference picture cannot be used: example {bad}: .*{said}"):
            read_pictures(source, range(bad, 3) if bad == 0 else (1, 2), size)
    with pytest.raises(EvaluationError, match=f"a caption cannot be used: example {bad}: .*{said}"):
        protocol = Protocol(name="test", num_samples=3).changed(order="sequential", caption="first")
        subjects(protocol, preset("tiny_text"), Raises(error, bad, folder_with_captions(folder)))


def folder_with_captions(folder):
    copies = folder.parent / f"{folder.name} captions"
    copies.mkdir(exist_ok=True)
    for number in range(3):
        (copies / f"{number}.png").write_bytes((folder / f"{number:02d}.png").read_bytes())
        (copies / f"{number}.txt").write_text("a thing\n")
    return copies
