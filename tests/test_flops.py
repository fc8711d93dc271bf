"""Operations counted from configurations against those counted on the reference (2 a multiply-add)."""

import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.flops import decoder_flops, denoiser_flops
from vqdiffusion_jax.presets import CODECS


@pytest.mark.parametrize(
    ("name", "gflops"),
    [("coco", 668.25), ("ithq", 2295.25), ("imagenet", 248.34), ("ffhq", 206.98), ("cub200_small", 74.35)],
)
def test_denoiser(name, gflops):
    assert denoiser_flops(preset(name).denoiser) / 1e9 == pytest.approx(gflops, abs=0.01)


@pytest.mark.parametrize(
    ("name", "gflops"), [("openimages_f8_8192", 312.1), ("imagenet_f16_16384", 252.7), ("ithq_f8_4096", 230.8)]
)
def test_decoder(name, gflops):
    assert decoder_flops(CODECS[name]) / 1e9 == pytest.approx(gflops, rel=1e-3)
