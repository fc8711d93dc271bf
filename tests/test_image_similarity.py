"""PSNR and SSIM against formulas written out pixel by pixel."""

import numpy as np
import pytest

from vqdiffusion_jax.image_similarity import psnr, ssim


def pair(height=14, width=17):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return a, np.clip(a.astype(int) + rng.integers(-40, 41, a.shape), 0, 255).astype(np.uint8)


def test_psnr_is_its_formula():
    a, b = pair()
    expected = [20 * np.log10(255) - 10 * np.log10(np.mean((x.astype(float) - y) ** 2)) for x, y in zip(a, b)]
    np.testing.assert_allclose(psnr(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(psnr(np.zeros((1, 2, 2, 3)), np.full((1, 2, 2, 3), 25.5)), 20.0, rtol=1e-6)
    assert np.isinf(psnr(a, a)).all()


def test_ssim_is_the_mean_over_every_window():
    a, b = pair()
    window = np.exp(-0.5 * (np.arange(-5, 6)[:, None] ** 2 + np.arange(-5, 6) ** 2) / 1.5**2)
    window /= window.sum()
    for number in range(2):
        values = []
        for channel in range(3):
            for row in range(14 - 10):
                for column in range(17 - 10):
                    x, y = (p[number, row : row + 11, column : column + 11, channel].astype(float) for p in (a, b))
                    mx, my = (window * x).sum(), (window * y).sum()
                    vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                    covariance = (window * (x - mx) * (y - my)).sum()
                    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                    values.append((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        np.testing.assert_allclose(ssim(a, b)[number], np.mean(values), rtol=2e-5)
    np.testing.assert_allclose(ssim(a, a), 1.0, rtol=1e-6)


def test_floats_and_bytes_agree_and_mistakes_are_told():
    a, b = pair()
    np.testing.assert_array_equal(ssim(a, b), ssim(a.astype(np.float32), b.astype(np.float32)))
    with pytest.raises(ValueError, match=r"\(2, 14, 17, 3\) and \(1, 14, 17, 3\)"):
        psnr(a, b[:1])
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(a[:, :10], b[:, :10])
