"""The FID network against pytorch-fid 0.3.0 itself, random weights shared by state dict."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.evaluation.errors import EvaluationError
from vqdiffusion_jax.evaluation.frechet import frechet_distance
from vqdiffusion_jax.evaluation.inception import Inception
from vqdiffusion_jax.evaluation.inception_weights import fingerprint, from_tensors, load_inception, to_tensors
from vqdiffusion_jax.evaluation.networks import InceptionFeatures
from vqdiffusion_jax.evaluation.resizing import bilinear, prepare
from vqdiffusion_jax.evaluation.statistics import FeatureStatistics


@functools.cache
def random_tensors(seed=0):
    """Weights under pytorch-fid's names that keep activations near 1, every array away from its initial value."""
    rng, tensors = np.random.default_rng(seed), {}
    for name, like in to_tensors(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), _shapes())).items():
        shape = like.shape
        if len(shape) == 4:
            array = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith("running_var") or name.endswith("bn.weight"):
            array = rng.uniform(0.7, 1.4, shape)
        else:
            array = rng.normal(0, 0.1 if "bn" in name else 0.02, shape)
        tensors[name] = array.astype(np.float32)
    return tensors


def _shapes():
    return jax.eval_shape(lambda: Inception(rngs=nnx.Rngs(0)))


def peer_of(tensors, inception):
    """pytorch-fid's InceptionV3 with these weights."""
    import torch

    state = {name: torch.tensor(array) for name, array in tensors.items()}
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in state if name.endswith("running_mean")}
    inception.load_state_dict_from_url = lambda url, progress: state | counters
    return inception.InceptionV3().eval()


def pictures(count, height=70, width=50, seed=0):
    """Noise over broad colours, so that features differ from picture to picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 4, 3)).repeat(-(-height // 3), 1).repeat(-(-width // 4), 2)[:, :height, :width]
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def test_features_are_those_of_pytorch_fid():
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_fid")
    from tests.evaluation.torchvision_stub import pytorch_fid

    tensors, images = random_tensors(), pictures(2)
    with pytorch_fid() as (inception, _):
        peer = peer_of(tensors, inception)
        with torch.no_grad():
            expected = peer(torch.tensor(images.transpose(0, 3, 1, 2).copy()).float() / 255)[0][:, :, 0, 0].numpy()
    found = InceptionFeatures(from_tensors(tensors), batch=2)(images)
    assert found["pool3"].shape == (2, 2048) and expected.std() > 0.05
    np.testing.assert_allclose(found["pool3"], expected, atol=1e-4)
    np.testing.assert_allclose(found["logits"], expected @ tensors["fc.weight"].T, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # of pytorch-fid, whose root is then still good to 1e-3
@pytest.mark.slow
def test_fid_is_that_of_pytorch_fid():
    import torch
    from scipy import linalg

    from tests.evaluation.torchvision_stub import pytorch_fid

    tensors, sets = random_tensors(), [pictures(16, seed=1), pictures(16, seed=2) // 2]
    ours = InceptionFeatures(from_tensors(tensors), batch=16)
    with pytorch_fid() as (inception, fid_score):
        fid_score.linalg = type("linalg", (), {"sqrtm": staticmethod(lambda matrix, disp: (linalg.sqrtm(matrix), 0))})
        peer, statistics = peer_of(tensors, inception), []
        for images in sets:
            with torch.no_grad():
                features = peer(torch.tensor(images.transpose(0, 3, 1, 2).copy()).float() / 255)[0][:, :, 0, 0].numpy()
            statistics += [features.mean(0), np.cov(features, rowvar=False)]
        expected = fid_score.calculate_frechet_distance(*statistics)
    found = frechet_distance(*(FeatureStatistics.of([ours(images)["pool3"]]) for images in sets))
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("size", [(70, 50), (299, 299), (400, 320), (16, 16)])
def test_bilinear_is_pytorchs(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).random((1, *size, 3)).astype(np.float32)
    planes = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.interpolate(planes, size=(299, 299), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bilinear(x, 299), expected.numpy().transpose(0, 2, 3, 1), atol=2e-7)
    if size == (299, 299):
        np.testing.assert_array_equal(bilinear(x, 299), x)


def test_clean_resize_has_a_low_pass_filter_and_keeps_floats():
    from PIL import Image

    images = pictures(2, 600, 450)
    found = np.asarray(prepare(images, "clean_fid")) * 128 + 128
    for channel in range(3):
        alone = Image.fromarray(images[1, :, :, channel].astype(np.float32), mode="F").resize((299, 299), Image.BICUBIC)
        np.testing.assert_allclose(found[1, :, :, channel], np.clip(np.asarray(alone), 0, 255), atol=1e-4)
    assert np.abs(found - np.round(found)).max() > 0.1
    # A board of single pixels is grey to a filter that sees them all, and not to one that looks at four.
    board = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (225, 225))[None, ..., None].repeat(3, -1)
    inside = np.s_[:, 10:-10, 10:-10]
    assert np.asarray(prepare(board, "clean_fid"))[inside].std() < 0.2 < 0.3 < np.asarray(prepare(board, "pytorch_fid"))[inside].std()


def test_weights_are_read_from_a_file_and_told_apart(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = random_tensors()
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, tmp_path / "inception.pth")
    model = load_inception(tmp_path / "inception.pth")
    again = to_tensors(model)
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    before = fingerprint(model)
    assert before == fingerprint(model)
    model.head.bias[...] = model.head.bias[...].at[3].add(1e-6)
    assert fingerprint(model) != before


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(EvaluationError, match=r"does not exist; the file is pt_inception-2015-12-05-6726825d.pth"):
        load_inception(tmp_path / "absent.pth")
    with pytest.raises(EvaluationError, match="'bicubic'; allowed: pytorch_fid, clean_fid"):
        prepare(pictures(1), "bicubic")
    with pytest.raises(EvaluationError, match=r"float64 \(1, 70, 50, 3\)"):
        prepare(pictures(1).astype(float))
