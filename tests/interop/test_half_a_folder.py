"""A diffusers folder that is not complete is refused; one that never had learned embeddings says so."""

import json
import shutil

import pytest

from vqdiffusion_jax.errors import CheckpointError, ConversionError
from vqdiffusion_jax.interop.diffusers.folder import _check_parts, read_configs
from vqdiffusion_jax.interop.diffusers.rules import NULL

PARTS = {
    "transformer": ["diffusers", "Transformer2DModel"],
    "vqvae": ["diffusers", "VQModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "VQDiffusionScheduler"],
    NULL: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}


@pytest.fixture
def folder(tmp_path):
    for part in PARTS:
        (tmp_path / part).mkdir()
    return tmp_path


def test_a_whole_folder_passes(folder):
    _check_parts(folder, PARTS)
    _check_parts(folder, {**PARTS, NULL: [None, None]})
    shutil.rmtree(folder / NULL)
    _check_parts(folder, {name: names for name, names in PARTS.items() if name != NULL})
    _check_parts(folder, {**PARTS, NULL: [None, None]})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_named_must_be_there(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(ConversionError, match=f"lacks the folder {part}, which its model_index.json names"):
        _check_parts(folder, PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_another_class_is_refused(folder, part):
    with pytest.raises(ConversionError, match=f"{part} is a 'UNet2DModel'"):
        _check_parts(folder, {**PARTS, part: ["diffusers", "UNet2DModel"]})
    with pytest.raises(ConversionError, match=f"{part} is 5; it must be two names"):
        _check_parts(folder, {**PARTS, part: 5})


def test_the_class_in_a_parts_own_file_counts_too(folder):
    (folder / "vqvae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(ConversionError, match="vqvae is a 'AutoencoderKL'; it must be a VQModel"):
        _check_parts(folder, PARTS)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"_class_name": "StableDiffusionPipeline"}'])
def test_an_index_that_is_none(folder, content):
    (folder / "model_index.json").write_text(content)
    with pytest.raises((ConversionError, CheckpointError), match="model_index.json"):
        read_configs(folder)
