"""LPIPS against the same network written in PyTorch, random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.training.vqgan.perceptual import load_lpips, unit

torch = pytest.importorskip("torch")

PLACES = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
POOLS, TAPS = (4, 9, 16, 23), (3, 8, 15, 22, 29)  # places in torchvision's ``features``


@pytest.fixture(scope="module")
def weights():
    generator, width, vgg = torch.Generator().manual_seed(0), 3, {}
    for place, channels in PLACES.items():
        vgg[f"features.{place}.weight"] = (
            torch.randn(channels, width, 3, 3, generator=generator) * (2 / (9 * width)) ** 0.5
        )
        vgg[f"features.{place}.bias"] = torch.randn(channels, generator=generator) * 0.1
        width = channels
    widths = (64, 128, 256, 512, 512)
    lins = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator) for i, width in enumerate(widths)}
    return vgg | {"classifier.0.weight": torch.zeros(2, 2)}, lins


@pytest.fixture(scope="module")
def files(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lpips")
    torch.save(weights[0], folder / "vgg16.pth")
    torch.save(weights[1], folder / "lins.pth")
    np.savez(folder / "both.npz", **{name: tensor.numpy() for part in weights for name, tensor in part.items()})
    return folder


def oracle(weights, one, other):
    vgg, lins = weights

    def features(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        for place in range(30):
            if place in PLACES:
                x = torch.nn.functional.conv2d(
                    x, vgg[f"features.{place}.weight"], vgg[f"features.{place}.bias"], padding=1
                )
            elif place in POOLS:
                x = torch.nn.functional.max_pool2d(x, 2)
            else:
                x = torch.relu(x)
            if place in TAPS:
                yield x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10)

    total = 0
    for i, (a, b) in enumerate(zip(features(one), features(other), strict=True)):
        total = total + torch.nn.functional.conv2d((a - b) ** 2, lins[f"lin{i}.model.1.weight"]).mean((1, 2, 3))
    return total.numpy()


def test_distances_are_those_of_pytorch(weights, files):
    random = np.random.default_rng(0)
    one, other = (
        random.uniform(-1, 1, (2, 20, 20, 3)).astype(np.float32) for _ in range(2)
    )  # 20: the pools cut a row off
    model = load_lpips(files / "vgg16.pth", files / "lins.pth")
    np.testing.assert_allclose(
        jax.jit(lambda m, a, b: m(a, b))(model, one, other), oracle(weights, one, other), rtol=1e-4
    )
    again = load_lpips(files / "both.npz", files / "both.npz")
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradient_is_finite_where_nothing_fires():
    nothing = jnp.zeros((2, 3))
    assert not np.any(unit(nothing))
    assert np.all(np.abs(jax.grad(lambda x: unit(x).sum())(nothing)) <= 1.0)


def test_wrong_files(files, tmp_path):
    with pytest.raises(ConfigError, match="lins.pth has no features.0.weight"):
        load_lpips(files / "lins.pth", files / "lins.pth")
    with pytest.raises(ConfigError, match="vgg16.pth has no lin0.model.1.weight"):
        load_lpips(files / "vgg16.pth", files / "vgg16.pth")
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="x.npz cannot be read"):
        load_lpips(tmp_path / "x.npz", files / "lins.pth")
