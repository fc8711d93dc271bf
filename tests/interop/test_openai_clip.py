"""OpenAI's CLIP files: both towers, fused projections, float16 kept or widened."""

import jax
import numpy as np
import pytest

from tests.interop.files import perturbed, same_leaves, save
from tests.networks import random_network
from vqdiffusion_jax.config import CLIPTextConfig, CLIPVisionConfig
from vqdiffusion_jax.errors import CheckpointError, ConfigError
from vqdiffusion_jax.interop.clip.openai import load_openai_clip
from vqdiffusion_jax.interop.clip.openai_rules import text_rules, vision_rules
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.models.clip import CLIPTextEncoder, CLIPVisionEncoder

TEXT = CLIPTextConfig(
    vocab_size=40, context_length=6, width=128, num_layers=3, num_heads=2, mlp_ratio=2, projection_width=7
)
VISION = CLIPVisionConfig(
    image_size=12, patch_size=4, width=64, num_layers=2, num_heads=1, mlp_ratio=3, projection_width=7
)
SETTINGS = {
    "logit_scale": np.float32(4.6),
    "input_resolution": np.int64(12),
    "context_length": np.int64(6),
    "vocab_size": np.int64(40),
}
HALVED = ("in_proj", "out_proj", "c_fc", "c_proj", "text_projection", "visual.proj", "visual.conv1")


def towers():
    return perturbed(random_network(CLIPTextEncoder, TEXT)), perturbed(
        random_network(CLIPVisionEncoder, VISION, seed=1), seed=4
    )


def tensors_of(text, vision):
    tensors = {**unapply(text_rules(), text), **unapply(vision_rules(), vision)}
    tensors |= {name: np.asarray(value) for name, value in SETTINGS.items()}
    return {k: v.astype(np.float16) if any(part in k for part in HALVED) else v for k, v in tensors.items()}


def test_both_towers(tmp_path):
    text, vision = towers()
    tensors = {**unapply(text_rules(), text), **unapply(vision_rules(), vision)}
    loaded_text, loaded_vision, report = load_openai_clip(save(tmp_path / "clip.pt", tensors))
    assert (loaded_text.config, loaded_vision.config) == (TEXT, VISION)
    same_leaves(loaded_text, text)
    same_leaves(loaded_vision, vision)
    assert len({entry.foreign for entry in report.mapped}) == len(tensors)


def test_text_tower_alone(tmp_path):
    text, _ = towers()
    loaded, vision, _ = load_openai_clip(save(tmp_path / "clip.pt", {"state_dict": unapply(text_rules(), text)}))
    assert vision is None
    same_leaves(loaded, text)


def test_half_precision_is_widened_or_kept(tmp_path):
    path = save(tmp_path / "clip.pt", tensors_of(*towers()))
    widened, _, report = load_openai_clip(path)
    assert {leaf.dtype for leaf in jax.tree.leaves(widened)} == {np.dtype(np.float32)}
    assert {key for key, _ in report.ignored} == set(SETTINGS)
    kept, _, _ = load_openai_clip(path, clip_dtype="float16")
    assert kept.blocks.attention.query.kernel[...].dtype == np.float16 and kept.text_projection[...].dtype == np.float16
    assert kept.blocks.norm1.scale[...].dtype == kept.token_embedding.embedding[...].dtype == np.float32
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a, np.float32), b), kept, widened)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_torchscript_archives(tmp_path):
    torch = pytest.importorskip("torch")
    text, vision = towers()

    def nest(tensors):
        root = torch.nn.Module()
        for name, value in tensors.items():
            *path, last = name.split(".")
            node = root
            for part in path:
                if part not in dict(node.named_children()):
                    node.add_module(part, torch.nn.Module())
                node = getattr(node, part)
            node.register_parameter(last, torch.nn.Parameter(torch.from_numpy(np.array(value)), requires_grad=False))
        return root

    path = tmp_path / "ViT.pt"
    torch.jit.save(torch.jit.script(nest(tensors_of(text, vision))), str(path))
    loaded, pictures, _ = load_openai_clip(path)
    assert (loaded.config, pictures.config) == (TEXT, VISION)
    expected = np.asarray(vision.blocks.attention.key.kernel[...]).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(pictures.blocks.attention.key.kernel[...], expected)


def test_errors_say_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match="not an OpenAI CLIP"):
        load_openai_clip(save(tmp_path / "a.pt", {"weight": np.zeros(2)}))
    with pytest.raises(ConfigError, match="allowed: float32, float16"):
        load_openai_clip(save(tmp_path / "b.pt", tensors_of(*towers())), clip_dtype="int8")
