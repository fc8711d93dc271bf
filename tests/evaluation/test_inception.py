"""The FID network against pytorch-fid 0.3.0 itself, random weights shared by state dict."""

import collections
import functools
import sys

import jax
import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.extractors import InceptionFeatures
from vqdiffusion_jax.evaluation.frechet import frechet_distance
from vqdiffusion_jax.evaluation.identity import fingerprint
from vqdiffusion_jax.evaluation.inception import Inception
from vqdiffusion_jax.evaluation.inception_weights import from_tensors, load_inception, to_tensors
from vqdiffusion_jax.evaluation.resizing import bicubic, bilinear, prepare
from vqdiffusion_jax.evaluation.statistics import FeatureStatistics
from vqdiffusion_jax.models.shapes import shapes_of


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
    return shapes_of(Inception)


def peer_of(tensors, inception):
    """pytorch-fid's InceptionV3 with these weights."""
    import torch

    state = {name: torch.tensor(array) for name, array in tensors.items()}
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
        for name in state
        if name.endswith("running_mean")
    }
    inception.load_state_dict_from_url = lambda url, progress: state | counters
    return inception.InceptionV3().eval()


def pictures(count, height=70, width=50, seed=0):
    """Noise over broad colours, so that features differ from picture to picture."""
    rng = np.random.default_rng(seed)
    coarse = (
        rng.integers(0, 256, (count, 3, 4, 3)).repeat(-(-height // 3), 1).repeat(-(-width // 4), 2)[:, :height, :width]
    )
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def features():
    """Our extractor against pytorch-fid's features, with its own resize and equal weights; batches of one shape."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_fid")
    from tests.evaluation.torchvision_stub import pytorch_fid

    with pytorch_fid() as (inception, _):
        peer = peer_of(random_tensors(), inception)

    def of_pytorch_fid(images):
        with torch.no_grad():
            return peer(torch.tensor(images.transpose(0, 3, 1, 2).copy()).float() / 255)[0][:, :, 0, 0].numpy()

    return of_pytorch_fid, InceptionFeatures(from_tensors(random_tensors()), batch_size=2)


def test_features_are_those_of_pytorch_fid(features):
    of_pytorch_fid, ours = features
    images = pictures(2)
    expected, found = of_pytorch_fid(images), ours(images)
    assert found["pool3"].shape == (2, 2048) and expected.std() > 0.05
    np.testing.assert_allclose(found["pool3"], expected, atol=1e-4)
    np.testing.assert_allclose(found["logits"], expected @ random_tensors()["fc.weight"].T, atol=1e-4)


@pytest.fixture(scope="module")
def two_sets(features):
    """Features of two sets of 4 pictures each, about as far apart as sets usually are: theirs and ours, float64."""
    sets = [pictures(4, seed=1), pictures(4, seed=2)]
    of_pytorch_fid, ours = features
    return [of_pytorch_fid(images).astype(np.float64) for images in sets], [
        ours(images)["pool3"].astype(np.float64) for images in sets
    ]


def fid_of_pytorch_fid(sets):
    linalg = pytest.importorskip("scipy.linalg")
    from tests.evaluation.torchvision_stub import pytorch_fid

    moments = [moment for rows in sets for moment in (rows.mean(0), np.cov(rows, rowvar=False))]
    with pytorch_fid() as (_, fid_score):
        # scipy 1.18 has no ``disp`` any more, which pytorch-fid 0.3.0 passes.
        fid_score.linalg = type("linalg", (), {"sqrtm": staticmethod(lambda matrix, disp: (linalg.sqrtm(matrix), 0))})
        return fid_score.calculate_frechet_distance(*moments)


def fid(sets):
    return frechet_distance(*(FeatureStatistics.of([rows]) for rows in sets))


@pytest.mark.filterwarnings("ignore:Matrix is")  # singular, of which pytorch-fid takes the root all the same
def test_fid_is_that_of_pytorch_fid(two_sets):
    """Their resize, network and distance against ours, in the space that all these features span.

    Roots of 2048 x 2048 numbers take a minute of a core, and no distance depends on the coordinates.
    """
    theirs, ours = two_sets
    basis, _ = np.linalg.qr(np.concatenate([*theirs, *ours]).T)
    assert basis.shape == (2048, 16)
    expected = fid_of_pytorch_fid([rows @ basis for rows in theirs])
    assert fid([rows @ basis for rows in ours]) == pytest.approx(expected, abs=1e-3) and 50 < expected < 500


@pytest.mark.filterwarnings("ignore:Matrix is")
@pytest.mark.slow
def test_fid_is_that_of_pytorch_fid_in_all_coordinates(two_sets):
    theirs, ours = two_sets
    assert fid(ours) == pytest.approx(fid_of_pytorch_fid(theirs), abs=1e-3)


@pytest.mark.parametrize("size", [(70, 50), (299, 299), (400, 320), (16, 16)])
def test_bilinear_is_pytorchs(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).random((1, *size, 3)).astype(np.float32)
    planes = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.interpolate(planes, size=(299, 299), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bilinear(x, 299), expected.numpy().transpose(0, 2, 3, 1), atol=2e-7)
    if size == (299, 299):
        np.testing.assert_array_equal(bilinear(x, 299), x)


@pytest.mark.parametrize("size", [(70, 50), (299, 299), (512, 300), (600, 450), (16, 16)])
def test_bicubic_is_clean_fids(size):
    pytest.importorskip("torch")
    resize = pytest.importorskip("cleanfid.resize").build_resizer("clean")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = np.stack([resize(picture) for picture in images])
    assert expected.shape == (2, 299, 299, 3) and expected.std() > 5
    np.testing.assert_allclose(np.stack([bicubic(picture, 299) for picture in images]), expected, atol=1e-3)
    # Its InceptionV3W reads (x - 128) / 128.
    np.testing.assert_allclose(prepare(images, "clean_fid"), (expected - 128) / 128, atol=1e-5)


@pytest.mark.parametrize(
    ("resize", "black", "grey", "white"),
    [("pytorch_fid", -1.0, 256 / 255 - 1, 1.0), ("clean_fid", -1.0, 0.0, 127 / 128)],
)
@pytest.mark.parametrize("size", [(40, 30), (320, 400)])
def test_plain_pictures_stay_plain_and_are_scaled_as_the_networks_read_them(resize, black, grey, white, size):
    images = np.broadcast_to(np.array([0, 128, 255], np.uint8)[:, None, None, None], (3, *size, 3))
    found = prepare(images, resize)
    assert found.shape == (3, 299, 299, 3) and found.dtype == np.float32
    for picture, value in zip(found, (black, grey, white), strict=True):
        np.testing.assert_allclose(picture, value, atol=1e-6)


def test_clean_resize_has_a_low_pass_filter_and_keeps_floats():
    found = np.asarray(prepare(pictures(2, 600, 450), "clean_fid")) * 128 + 128
    assert np.abs(found - np.round(found)).max() > 0.1
    # A board of single pixels is grey to a filter that sees them all, and not to one that looks at four.
    board = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (225, 225))[None, ..., None].repeat(3, -1)
    inside = np.s_[:, 10:-10, 10:-10]
    assert (
        np.asarray(prepare(board, "clean_fid"))[inside].std()
        < 0.2
        < 0.3
        < np.asarray(prepare(board, "pytorch_fid"))[inside].std()
    )


@pytest.mark.parametrize("archive", [True, False])  # the released file is of before PyTorch 1.6, and no archive
def test_weights_are_read_from_a_file_and_told_apart(archive, tmp_path):
    torch = pytest.importorskip("torch")
    tensors, counters = random_tensors(), {"Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(0)}
    state = {name: torch.tensor(array) for name, array in tensors.items()} | counters
    torch.save(collections.OrderedDict(state), tmp_path / "inception.pth", _use_new_zipfile_serialization=archive)
    assert (tmp_path / "inception.pth").read_bytes().startswith(b"PK") == archive
    model = load_inception(tmp_path / "inception.pth")
    again = to_tensors(model)
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    before = fingerprint(model)
    assert before == fingerprint(model)
    model.head.bias[...] = model.head.bias[...].at[3].add(1e-6)
    assert fingerprint(model) != before


def test_a_file_of_before_pytorch_1_6_is_read_without_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "inception.pth", _use_new_zipfile_serialization=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"inception.pth does not fill the model; 471 missing: ") as raised:
        load_inception(tmp_path / "inception.pth")
    assert "\n" not in str(raised.value) and "fc.weight (2,): has 1 axes where 2 are expected" in str(raised.value)


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(EvaluationError, match=r"does not exist; the file is pt_inception-2015-12-05-6726825d.pth"):
        load_inception(tmp_path / "absent.pth")
    with pytest.raises(EvaluationError, match="'bicubic'; allowed: pytorch_fid, clean_fid"):
        prepare(pictures(1), "bicubic")
    with pytest.raises(EvaluationError, match=r"float64 \(1, 70, 50, 3\)"):
        prepare(pictures(1).astype(float))
