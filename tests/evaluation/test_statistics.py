"""Streaming statistics and the Frechet distance against one-shot formulas, closed forms and pytorch-fid."""

import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.frechet import frechet_distance
from vqdiffusion_jax.evaluation.statistics import FeatureStatistics, read_statistics, warn_if_few, write_statistics


def features(count=301, width=6, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    return (mean + rng.normal(size=(count, width)) @ rng.normal(size=(width, width))).astype(np.float32)


def test_streaming_equals_one_shot_whatever_the_batches():
    x = features(mean=1e3)  # a mean far from 0 would cost E[x^2] - E[x]^2 its digits
    whole = x.astype(np.float64)
    for size in (1, 7, 64, 301):
        found = FeatureStatistics.of(x[first : first + size] for first in range(0, len(x), size))
        assert found.count == 301
        np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-13)
        np.testing.assert_allclose(found.covariance, np.cov(whole, rowvar=False), rtol=1e-9)


def test_four_shards_merge_to_one():
    x = features(mean=50.0)
    one = FeatureStatistics.of([x])
    shards = [FeatureStatistics.of([part]) for part in np.array_split(x, 4)]
    shards.insert(2, FeatureStatistics.empty(6))
    merged = shards[0].merge(shards[1]).merge(shards[2].merge(shards[3])).merge(shards[4])
    assert merged.count == one.count
    np.testing.assert_allclose(merged.mean, one.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.covariance, one.covariance, rtol=1e-10)


def test_distance_of_two_gaussians_is_the_closed_form():
    a, b = np.array([2.0, 0.5, 1.0]), np.array([0.1, 3.0, 1.0])  # standard deviations, in a common turned frame
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    step = np.array([1.0, -2.0, 0.5])
    sides = [
        FeatureStatistics(101, mean, 100 * turn @ np.diag(s**2) @ turn.T) for mean, s in ((np.zeros(3), a), (step, b))
    ]
    assert frechet_distance(*sides) == pytest.approx(step @ step + ((a - b) ** 2).sum(), abs=1e-9)
    assert frechet_distance(sides[0], sides[0]) == pytest.approx(0.0, abs=1e-9)


def test_distance_is_that_of_pytorch_fid():
    pytest.importorskip("torch")
    pytest.importorskip("pytorch_fid")
    linalg = pytest.importorskip("scipy.linalg")
    from tests.evaluation.torchvision_stub import pytorch_fid

    sides = [FeatureStatistics.of([features(400, 64, seed, mean)]) for seed, mean in ((1, 0.0), (2, 0.3))]
    with pytorch_fid() as (_, fid_score):
        # scipy 1.18 has no ``disp`` any more, which pytorch-fid 0.3.0 passes.
        fid_score.linalg = type("linalg", (), {"sqrtm": staticmethod(lambda matrix, disp: (linalg.sqrtm(matrix), 0))})
        expected = fid_score.calculate_frechet_distance(*(part for s in sides for part in (s.mean, s.covariance)))
    assert frechet_distance(*sides) == pytest.approx(expected, abs=1e-3) and expected > 10


def test_fewer_samples_than_dimensions_are_warned_about_and_give_a_finite_distance():
    few, many = FeatureStatistics.of([features(5, 12)]), FeatureStatistics.of([features(500, 12, 1)])
    assert np.isfinite(frechet_distance(few, many))
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    with pytest.warns(UserWarning, match="samples: 5 pictures are too few for 12 features"):
        warn_if_few(few.count, few.width, "samples")
    assert warn_if_few(many.count, many.width, "samples") is None


def test_statistics_files_of_ours_and_of_others(tmp_path):
    ours = FeatureStatistics.of([features()], "inception a")
    write_statistics(tmp_path / "ours.npz", ours)
    again = read_statistics(tmp_path / "ours.npz")
    assert (again.count, again.network) == (301, "inception a")
    np.testing.assert_allclose(again.covariance, ours.covariance, rtol=1e-12)
    np.savez(tmp_path / "adm.npz", mu=ours.mean, sigma=ours.covariance, mu_s=np.zeros(3), sigma_s=np.eye(3))
    assert frechet_distance(read_statistics(tmp_path / "adm.npz"), ours) == pytest.approx(0.0, abs=1e-8)


def test_mistakes_are_one_line(tmp_path):
    ours = FeatureStatistics.of([features()], "inception a")
    np.savez(tmp_path / "pictures.npz", images=np.zeros(3))
    (tmp_path / "text.npz").write_text("mu, sigma")
    np.savez(tmp_path / "shape.npz", mu=np.zeros(3), sigma=np.eye(4))
    np.savez(tmp_path / "nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    for name, message in (
        ("pictures", "holds images; reference statistics have mu and sigma"),
        ("text", "it is no .npz file"),
        ("shape", r"mu has shape \(3,\) and sigma \(4, 4\)"),
        ("nan", "not finite"),
        ("absent", "No such file"),
    ):
        with pytest.raises(EvaluationError, match=message) as raised:
            read_statistics(tmp_path / f"{name}.npz")
        assert "\n" not in str(raised.value)
    with pytest.raises(EvaluationError, match="of 6 and of 3 features are of different networks"):
        frechet_distance(ours, FeatureStatistics.of([features(width=3)]))
    with pytest.raises(EvaluationError, match="'inception a' and of 'inception b' cannot be compared"):
        frechet_distance(ours, FeatureStatistics.of([features()], "inception b"))
    broken = features()
    broken[17, 2] = np.nan
    with pytest.raises(EvaluationError, match="1 of 301 rows are not finite, first row 17"):
        ours.update(broken)
    with pytest.raises(EvaluationError, match="at least 2 pictures; there are 1"):
        _ = FeatureStatistics.of([features(1)]).covariance
    with pytest.raises(EvaluationError, match="no features"):
        FeatureStatistics.of([])
