"""The models that diffusers can hold, and the published ITHQ folder by its keys and configs alone."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from vqdiffusion_jax.config import TextEmbeddingConfig
from vqdiffusion_jax.errors import ConversionError
from vqdiffusion_jax.interop.clip.huggingface import text_config_json
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.interop.diffusers.config import obstacles, part_configs, read_model_config
from vqdiffusion_jax.interop.diffusers.rules import IGNORES, NOT_IN_FORMAT, NULL, pipeline_rules
from vqdiffusion_jax.interop.engine import apply
from vqdiffusion_jax.interop.files.json_options import write_json
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.presets import PRESETS, preset


def test_writing_refuses_models_that_diffusers_cannot_hold():
    model = shapes_of(VQDiffusionModel, preset("tiny_class"))
    with pytest.raises(ConversionError) as error:
        write_diffusers(model, "nowhere")
    for reason in ("condition='class'", "mlp='conv'", "reduced_codebook_size=16", "position_grid=(8, 8)"):
        assert reason in str(error.value)
    assert "\n" not in str(error.value) and not Path("nowhere").exists()
    released = {name: obstacles(config) for name, config in PRESETS.items() if not name.startswith("tiny")}
    assert [name for name, reasons in released.items() if not reasons] == ["ithq"]
    other = dataclasses.replace(preset("ithq"), text_embedding=TextEmbeddingConfig(normalize=False))
    assert "normalize=False" in obstacles(other)[0]


def ithq_as_diffusers():
    config = preset("ithq")
    return dataclasses.replace(config, codec=dataclasses.replace(config.codec, quantizer="vq"))


def test_ithq_config_survives_the_folder(tmp_path):
    config = ithq_as_diffusers()
    for name, values in part_configs(config).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_json(tmp_path / name, values)
    (tmp_path / "text_encoder").mkdir()
    write_json(
        tmp_path / "text_encoder/config.json", text_config_json(config.text_encoder, start=49406, end=49407, pad=0)
    )
    assert read_model_config(tmp_path, config.tokenizer) == config
    transformer = json.loads((tmp_path / "transformer/config.json").read_text())
    assert (transformer["attention_head_dim"], transformer["num_vector_embeds"]) == (88, 4097)


def test_published_key_tables(reference_root):
    """Every key of the published folder finds its place, by shape, and fills everything it should."""
    tensors = {}
    for part in ("transformer", "vqvae"):
        for line in (reference_root / "tables" / f"keys_diffusers_ithq_{part}.tsv").read_text().splitlines()[1:]:
            name, shape = line.split("\t")
            tensors[f"{part}.{name}"] = jax.ShapeDtypeStruct(tuple(map(int, shape.split("x"))), np.float32)
    assert len(tensors) == 1015 + 303
    tensors[f"{NULL}.embeddings"] = jax.ShapeDtypeStruct((77, 512), np.float32)
    module = shapes_of(VQDiffusionModel, ithq_as_diffusers())
    rules, optional = pipeline_rules(num_levels=4), (*NOT_IN_FORMAT, r"text_encoder\..*")
    _, report = apply(rules, IGNORES, tensors, module, optional=optional)
    assert report.ok and len(report.mapped) == len(tensors) and not report.ignored
    assert all(path.startswith("text_encoder.") for path in report.left)
