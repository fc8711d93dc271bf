"""The number of pictures drawn together when nobody says it."""

import pytest

from vqdiffusion_jax import VQDiffusionPipeline, pipeline, preset
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


@pytest.fixture(scope="module")
def tiny():
    return VQDiffusionPipeline(shapes_of(VQDiffusionModel, preset("tiny_unconditional")))


@pytest.mark.parametrize(
    ("backend", "devices", "count", "together"),
    [
        ("cpu", 1, 5, 1),
        ("cpu", 8, 3, 8),
        ("gpu", 1, 5, 5),
        ("gpu", 1, 30000, 16),
        ("gpu", 8, 3, 8),
        ("gpu", 8, 9, 16),
        ("gpu", 8, 30000, 128),
    ],
)
def test_default_batch(tiny, monkeypatch, backend, devices, count, together):
    monkeypatch.setattr(pipeline.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(pipeline, "batch_devices", lambda mesh: devices)
    assert tiny.pictures_together(count) == together
    assert tiny.pictures_together(count, 3) == -(-3 // devices) * devices


def test_a_codec_sees_no_more_than_a_batch_at_a_time(tiny):
    sizes = []
    out = tiny._in_batches(lambda model, rows, nothing: (sizes.append(len(rows)), rows)[1], pipeline.np.arange(3), None)
    assert sizes == [1, 1, 1] and out.tolist() == [0, 1, 2]
