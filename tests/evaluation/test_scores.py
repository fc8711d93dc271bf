"""KID, precision, recall, Inception Score, quality and diversity against independent formulas."""

import itertools

import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation import neighbours
from vqdiffusion_jax.evaluation.gaussian_mixture import fit_mixture, log_likelihood
from vqdiffusion_jax.evaluation.inception_score import inception_score
from vqdiffusion_jax.evaluation.kid import kid, polynomial_mmd2
from vqdiffusion_jax.evaluation.precision_recall import precision_recall
from vqdiffusion_jax.evaluation.quality_diversity import Projection, gmm_scores, knn_scores, quality_diversity


def normal(count, width=4, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1.0, (count, width))


def test_kid_is_the_sum_over_pairs_and_unbiased():
    a, b = normal(7, seed=1), normal(5, seed=2, mean=0.5)

    def kernel(x, y):
        return (np.dot(x, y) / 4 + 1) ** 3

    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(s, 2)]) for s in (a, b)]
    expected = sum(within) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert polynomial_mmd2(a, b) == pytest.approx(expected, rel=1e-12)
    # With unbiased terms equal distributions give 0 on average, which a biased estimate (always above) does not.
    same = [polynomial_mmd2(normal(20, seed=2 * i), normal(20, seed=2 * i + 1)) for i in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20
    mean, deviation = kid(a[:5], b, subsets=3, subset_size=100)  # every subset is all there is
    assert mean == pytest.approx(polynomial_mmd2(a[:5], b), rel=1e-9) and deviation == pytest.approx(0.0, abs=1e-9)
    assert kid(normal(50), normal(50, seed=1), subsets=5, subset_size=10) == kid(
        normal(50), normal(50, seed=1), subsets=5, subset_size=10
    )


def test_precision_and_recall_on_a_line(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 2)  # several chunks
    reference = np.arange(10.0)[:, None]  # the third neighbour lies 2 away, 3 at the ends
    samples = np.array([[0.5], [1.5], [2.5], [3.5], [30.0], [40.0]])
    # reference balls cover [-3, 12]: 4 of 6 samples; sample balls: 0.5: 3, 1.5: 2, 2.5: 2, 3.5: 3, 30: 28.5, 40: 37.5
    assert precision_recall(samples, reference) == (pytest.approx(4 / 6), 1.0)
    assert precision_recall(samples[:4], reference) == (1.0, pytest.approx(0.7))
    brute = _brute_share(normal(40, seed=1), normal(30, seed=2, mean=1.0), 3)
    assert precision_recall(normal(40, seed=1), normal(30, seed=2, mean=1.0))[0] == pytest.approx(brute)


def _brute_share(points, manifold, k):
    radii = [sorted(np.linalg.norm(x - y) for y in manifold)[k] for x in manifold]  # place 0 is the row itself
    return np.mean([any(np.linalg.norm(p - x) <= r for x, r in zip(manifold, radii)) for p in points])


def test_inception_score_of_known_predictions():
    sure = np.where(np.eye(5), 40.0, 0.0)
    assert inception_score([np.tile(sure, (4, 1))], 20, splits=2)[0] == pytest.approx(5.0, rel=1e-9)
    assert inception_score([np.zeros((20, 5))], 20, splits=2) == (pytest.approx(1.0), pytest.approx(0.0))
    logits = normal(23, 6)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    parts = [p[23 * i // 3 : 23 * (i + 1) // 3] for i in range(3)]
    expected = [np.exp(np.mean(np.sum(q * np.log(q / q.mean(0)), axis=1))) for q in parts]
    for sizes in ([23], [1] * 23, [10, 13]):
        found = inception_score(np.split(logits, np.cumsum(sizes)[:-1]), 23, splits=3)
        assert found == (pytest.approx(np.mean(expected), rel=1e-12), pytest.approx(np.std(expected), rel=1e-9))
    with pytest.raises(EvaluationError, match="in 10 parts needs as many pictures; there are 4"):
        inception_score([logits[:4]], 4)
    with pytest.raises(EvaluationError, match="23 rows of logits where 24"):
        inception_score([logits], 24, splits=3)


def test_mixture_finds_known_gaussians():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-4, 0.5, (3000, 2)), rng.normal(4, 2.0, (1000, 2))])
    found = fit_mixture(x, 2)
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.weights[order], [0.75, 0.25], atol=0.01)
    np.testing.assert_allclose(found.means[order], [[-4, -4], [4, 4]], atol=0.15)
    deviations = np.stack([np.diag(found.cholesky[i]) for i in order])
    np.testing.assert_allclose(deviations, [[0.5, 0.5], [2, 2]], rtol=0.08)
    at = np.array([[-4.0, -4.0]])
    assert log_likelihood(found, at)[0] == pytest.approx(np.log(0.75 / (2 * np.pi * 0.25)), abs=0.05)


def test_one_gaussian_is_the_sample_mean_and_covariance():
    scipy = pytest.importorskip("scipy.stats")
    x = normal(200, 3) @ np.diag([1.0, 2.0, 0.5])
    expected = scipy.multivariate_normal(x.mean(0), np.cov(x, rowvar=False, ddof=0) + 1e-6 * np.eye(3)).logpdf(x[:9])
    np.testing.assert_allclose(log_likelihood(fit_mixture(x, 1), x[:9]), expected, rtol=1e-8)


def test_quality_and_diversity_see_what_they_should():
    reference = np.concatenate([normal(200, 3, 1, -5.0), normal(200, 3, 2, 5.0)])
    good, noisy = np.concatenate([normal(100, 3, 3, -5.0), normal(100, 3, 4, 5.0)]), normal(200, 3, 5) * 6
    one_mode = normal(200, 3, 6, -5.0)
    for model in ("gmm", "knn"):
        scores = {
            name: quality_diversity(s, reference, model=model)
            for name, s in (("good", good), ("noisy", noisy), ("one", one_mode))
        }
        assert scores["good"][0] > scores["noisy"][0], model
        assert scores["good"][1] > scores["one"][1], model
    assert scores["one"][0] > scores["noisy"][0]
    with pytest.raises(EvaluationError, match="'svm'; allowed: gmm, knn"):
        quality_diversity(good, reference, model="svm")


def test_nearest_neighbour_score_is_its_formula():
    a, b = normal(6, 5, 1), normal(30, 5, 2)
    axes = Projection.of(b).axes
    expected = [np.mean(sorted(1 / np.sum(((x - y) @ axes) ** 2) for y in b)[-2:]) for x in a]
    np.testing.assert_allclose(knn_scores(a, b, k=2), expected, rtol=1e-9)
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-12)
    assert gmm_scores(a, b, components=2).shape == (6,)


def test_projection_keeps_the_variance_it_says():
    x = normal(4000, 4) * np.sqrt([90.0, 4.0, 4.0, 2.0])
    assert Projection.of(x, 0.89).axes.shape == (4, 1) and Projection.of(x, 0.95).axes.shape == (4, 3)
    with pytest.raises(EvaluationError, match="all pictures of a set have the same features"):
        Projection.of(np.ones((5, 3)))


def test_mistakes_are_one_line():
    broken = normal(6)
    broken[2] = np.inf
    for score in (polynomial_mmd2, kid, precision_recall, quality_diversity):
        with pytest.raises(EvaluationError, match="not finite, first row 2"):
            score(normal(6), broken)
        with pytest.raises(EvaluationError, match="from the same network"):
            score(normal(6), normal(6, 3))
    with pytest.raises(EvaluationError, match="more than k = 3 pictures on each side; there are 6 and 3"):
        precision_recall(normal(6), normal(3))
