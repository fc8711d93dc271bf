"""The reference's class on recorded checkpoints: same arguments, same files."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import missing
from tests.golden.cases import find_cases
from vqdiffusion_jax.compat import VQ_Diffusion


def recorded(golden_root, kind: str):
    """Return the folder of a recorded checkpoint of that kind."""
    folders = [case.path for case in find_cases(golden_root) if case.kind == kind]
    return folders[0] if folders else missing(f"golden case of kind {kind}", golden_root)


@pytest.fixture(scope="module")
def text(golden_root):
    folder = recorded(golden_root, "text")
    return VQ_Diffusion(config=str(folder / "config.yaml"), path=str(folder / "checkpoint.pth"))


def test_prompts_go_to_folders(text, tmp_path):
    arguments = {"truncation_rate": 0.9, "save_root": str(tmp_path), "batch_size": 2, "guidance_scale": 3.0, "seed": 1}
    text.inference_generate_sample_with_condition("a red / blue bird", **arguments)
    folder = tmp_path / "a red _ blue bird"
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", "000001.png"]
    first = np.asarray(Image.open(folder / "000000.png"))
    text.inference_generate_sample_with_condition(
        "a red / blue bird", **arguments | {"truncation_rate": 0.3, "learnable_cf": False}
    )
    assert np.any(np.asarray(Image.open(folder / "000000.png")) != first)
    text.inference_generate_sample_with_condition("a red / blue bird", **arguments)  # the calls between left no trace
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "000000.png")), first)


def test_fast_and_purity_modes(text, tmp_path):
    for i, mode in enumerate(({"infer_speed": 3}, {"prior_rule": 2, "prior_weight": 1})):
        text.inference_generate_sample_with_condition("a bird", 0.86, str(tmp_path / str(i)), 1, **mode)
        assert (tmp_path / str(i) / "a bird" / "000000.png").exists()


def test_classes_are_jpegs(golden_root, tmp_path):
    folder = recorded(golden_root, "class")
    model = VQ_Diffusion(config=str(folder / "config.yaml"), path=str(folder / "checkpoint.pth"), imagenet_cf=True)
    model.inference_generate_sample_with_class(
        407, truncation_rate=0.94, save_root=str(tmp_path), batch_size=2, guidance_scale=1.5
    )
    assert sorted(path.name for path in (tmp_path / "407").iterdir()) == ["000000.jpg", "000001.jpg"]


def test_what_scripts_read_from_the_model(text):
    assert (
        text.info["model"] is text.model is text.pipeline.model
        and text.model_name == text.info["model_name"] == "config"
    )
    assert text.epoch == text.info["epoch"] and text.info["parameter"] > text.model.denoiser.logits.kernel[...].size


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_raw_weights_where_there_are_no_averaged_ones(golden_root, tmp_path):
    torch = pytest.importorskip("torch")
    folder = recorded(golden_root, "none")
    tree = torch.load(folder / "checkpoint.pth", weights_only=False)
    place = tmp_path / "OUTPUT" / "my_run" / "checkpoint"
    place.mkdir(parents=True)
    torch.save({"model": tree["model"], "epoch": 7}, place / "last.pth")
    codec = {"codec_config": str(folder / "codec.yaml")} if (folder / "codec.yaml").exists() else {}
    bare = VQ_Diffusion(config=str(folder / "config.yaml"), path=str(place / "last.pth"), **codec)
    whole = VQ_Diffusion(config=str(folder / "config.yaml"), path=str(folder / "checkpoint.pth"), **codec)
    assert bare.epoch == 7 and bare.model_name == "my_run"
    raw = whole.get_model(False, str(folder / "checkpoint.pth"), str(folder / "config.yaml"), False, **codec)["model"]
    kernels = [np.asarray(model.denoiser.logits.kernel[...]) for model in (bare.model, raw, whole.model)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])


def test_imagenet_cf_needs_a_null_class(golden_root):
    folder = recorded(golden_root, "text")
    with pytest.raises(ValueError, match="imagenet_cf is True"):
        VQ_Diffusion(config=str(folder / "config.yaml"), path=str(folder / "checkpoint.pth"), imagenet_cf=True)
