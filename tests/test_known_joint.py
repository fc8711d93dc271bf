"""The closed forms behind ``benchmarks.known_joint``, against enumeration and counting on a smaller process."""

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks._known_joint_draw import draw, schedule_of
from benchmarks._known_joint_figures import BROKEN, NOT_ASKED, figures, outcomes, resamples
from benchmarks._known_joint_process import LOG_MISFIT, UNTOLD, Process, standard
from benchmarks._known_joint_rows import CLAIMS, rows
from vqdiffusion_jax.diffusion.transitions import posterior
from vqdiffusion_jax.sampling import SamplingSettings

CAPTIONS = np.array([[0, 1], [1, UNTOLD], [UNTOLD, 0], [1, 0]])


@pytest.fixture(scope="module")
def small():
    """Four cells, two shapes of two drawings, two colours, two textures: 6**4 pictures."""
    masks = np.array([[[1, 1, 0, 0], [1, 0, 0, 1]], [[0, 1, 1, 1], [0, 0, 1, 0]]], bool)
    steps = np.array([[0.9, 0.1], [0.3, 0.7]])
    return Process(masks, np.array([0.7, 0.3]), np.array([0.6, 0.4]), np.array([0.8, 0.2]), steps)


@pytest.fixture(scope="module")
def every(small):
    """Every picture there is, (6**4, 4)."""
    return np.array(list(product(range(small.num_codes), repeat=small.length)))


def joint(process, pictures, caption, used=1.0):
    """p(picture | caption) by the definition, one picture at a time."""
    belief = process.kinds_given(caption[None], used)[0]
    found = np.zeros(len(pictures))
    for number, picture in enumerate(pictures):
        group, texture = picture // process.textures, picture % process.textures
        chain = process.first[texture[0]]
        for before, after in zip(texture, texture[1:]):
            chain *= process.steps[before, after]
        found[number] = chain * sum(belief[k] for k, cells in enumerate(process.groups) if (cells == group).all())
    return found


@pytest.mark.parametrize("used", [1.0, 0.5])
def test_marginals_are_those_of_all_pictures(small, every, used):
    rng, mask = np.random.default_rng(0), small.num_codes
    for caption in CAPTIONS:
        share = joint(small, every, caption, used)
        assert share.sum() == pytest.approx(1.0)
        x_t = every[rng.choice(len(every), 8, p=share)]
        x_t[rng.random(x_t.shape) < 0.5] = mask
        x_t[0] = mask
        belief = jnp.log(jnp.maximum(small.kinds_given(caption[None], used), 1e-30))
        found = np.exp(small.log_marginals(jnp.asarray(x_t), [belief])[0])
        for row, seen in enumerate(x_t):
            fitting = share * ((every == seen) | (seen == mask)).all(axis=1)
            expected = [[fitting[every[:, cell] == code].sum() for code in range(mask)] for cell in range(4)]
            np.testing.assert_allclose(found[row], np.array(expected) / fitting.sum(), atol=2e-5)


def test_one_step_is_the_posterior_of_the_definition(small, every):
    """p(x_s | x_t) = sum over x_0 of p(x_0 | x_t) q(x_s | x_t, x_0), token by token, for noise that masks alone."""
    schedule, mask = schedule_of(small, 10), small.num_codes
    t, s = 7, 4
    x_t = np.array([[1, mask, 2, mask], [mask] * 4])
    share = joint(small, every, CAPTIONS[1])
    belief = jnp.log(jnp.maximum(small.kinds_given(CAPTIONS[1:2]), 1e-30))
    marginals = small.log_marginals(jnp.asarray(x_t), [belief])[0]
    found = np.exp(posterior(marginals, jnp.asarray(x_t), schedule.jumps(t, s)))
    stays = schedule.cum_mask[s] / schedule.cum_mask[t]  # of a [MASK], by Bayes' rule
    for row in (0, 1):
        fitting = share * ((every == x_t[row]) | (x_t[row] == mask)).all(axis=1)
        for cell in range(4):
            clean = np.array([fitting[every[:, cell] == code].sum() for code in range(mask)]) / fitting.sum()
            if x_t[row, cell] == mask:
                expected = np.append((1.0 - stays) * clean, stays)
            else:
                expected = np.eye(mask + 1)[x_t[row, cell]]
            np.testing.assert_allclose(found[row, cell], expected, atol=2e-5)


def test_drawn_pictures_have_the_true_likelihood(small, every):
    for caption in CAPTIONS:
        expected = joint(small, every, caption)
        found = np.exp(small.log_likelihood(every, np.repeat(caption[None], len(every), axis=0)))
        np.testing.assert_allclose(found, expected, atol=1e-12)
    chains = np.exp([small.log_texture(np.array([picture]))[0] for picture in product((0, 1), repeat=4)])
    assert small.texture_entropy == pytest.approx(-(chains * np.log(chains)).sum())
    drawn = small.draw(np.repeat(CAPTIONS[:1], 4000, axis=0), np.random.default_rng(1))
    numbers = (drawn * small.num_codes ** np.arange(3, -1, -1)).sum(axis=1)
    counted = np.bincount(numbers, minlength=len(every)) / len(drawn)
    assert np.abs(counted - joint(small, every, CAPTIONS[0])).sum() / 2 < 0.05


def test_a_caption_given_a_picture_is_bayes_rule(small, every):
    """Whole pictures are of the caption or not; a mixture is shared among the drawings that it nearly is."""
    for caption in CAPTIONS:
        found = small.caption_given(every, np.repeat(caption[None], len(every), axis=0))
        for picture, value in list(zip(every, found, strict=True))[::37]:
            group = picture // small.textures
            weights = small.prior * np.exp(LOG_MISFIT * (small.groups != group).sum(axis=1))
            fits = [all(a in (UNTOLD, b) for a, b in zip(caption, kind[[0, 2]])) for kind in small.kinds]
            assert value == pytest.approx(weights[fits].sum() / weights.sum())


def test_figures_are_counts(small):
    rng = np.random.default_rng(2)
    captions = small.draw_captions(300, rng)
    tokens = small.draw(captions, rng)
    tokens[:30] = small.num_codes - 1  # no drawing covers every cell
    captions[30:60, 0] = 1 - small.kinds[small.kind_of(tokens[30:60]), 0]  # another shape
    found = outcomes(small, tokens, captions)
    assert (found["outcome"][:30] == BROKEN).all() and (found["outcome"][30:60] == NOT_ASKED).all()
    value = {name: one[0] for name, one in figures(small, found).items()}
    counts = np.array([(found["outcome"] == number).sum() for number in (0, 1)])
    assert value["whole"] == pytest.approx(0.9) and value["right"] == pytest.approx(0.8)
    assert value["distance"] == pytest.approx((np.abs(counts / 300 - small.weights).sum() + 0.2) / 2)
    assert value["variety"] == pytest.approx(np.abs(counts / 240 - small.weights).sum() / 2)
    smoothed = (counts + 0.5) / 241
    assert value["divergence"] == pytest.approx((small.weights * np.log(small.weights / smoothed)).sum())
    assert value["entropy"] == pytest.approx(-(smoothed * np.log(smoothed)).sum())
    assert value["likelihood"] == pytest.approx(small.log_likelihood(tokens, captions)[60:].mean())
    weights = resamples(300)
    assert (weights.sum(axis=1) == 300).all()
    again = {key: np.repeat(values, weights[0].astype(int)) for key, values in found.items()}
    for name, one in figures(small, again).items():
        assert one[0] == pytest.approx(figures(small, found, weights)[name][0], abs=1e-9), name


def test_exact_marginals_with_one_token_a_call_draw_the_truth(small, every):
    """A token at a time from the exact marginals is an exact sampler: what is drawn is distributed as the truth."""
    captions = np.repeat(CAPTIONS[:1], 4000, axis=0)
    settings = SamplingSettings.of(strategy="fewer_tokens", tokens_per_call=1, guidance_scale=1.0, truncation_rate=1.0)
    drawn = draw(small, settings, captions, seed=0)
    numbers = (drawn.astype(int) * small.num_codes ** np.arange(3, -1, -1)).sum(axis=1)
    counted = np.bincount(numbers, minlength=len(every)) / len(drawn)
    assert np.abs(counted - joint(small, every, CAPTIONS[0])).sum() / 2 < 0.05


def test_the_rows_that_claims_compare_are_there():
    assert len({row.key for row in rows()}) == len(rows())
    for claim in CLAIMS:
        for network in (True,) if claim.networks_only else (False, True):
            names = [row.name for row in rows() if row.table == claim.table and row.network == network]
            assert claim.better in names and claim.worse in names, claim
    process = standard()
    assert len({tuple(cells) for cells in process.groups}) == len(process.prior) == 72
    assert process.num_codes == 32 and process.length == 36
