"""Standalone codec files in every layout they come in, with and without their yaml, and the tables of kept codes."""

import numpy as np
import pytest

from tests.interop.files import codec_config, codec_module, same_leaves, save
from tests.networks import random_network
from vqdiffusion_jax.errors import CheckpointError, ConfigError, ConversionError
from vqdiffusion_jax.interop.codecs import load_codec, read_reduction
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.codecs.yaml_file import codec_fields_of_yaml
from vqdiffusion_jax.interop.engine import unapply
from vqdiffusion_jax.models.codebook_reduction import first_codes_kept
from vqdiffusion_jax.models.vqgan import VQGAN

LOSSES = {"loss.perceptual_loss.lin0.model.1.weight": np.zeros((1, 4, 1, 1), np.float32)}


def written(config, encoder="", decoder=""):
    module = codec_module(config)
    return module, unapply(codec_rules(encoder, decoder, quantizer=config.quantizer), module)


@pytest.mark.parametrize("quantizer", ["gumbel", "vq", "ema"])
def test_bare_codec_files(tmp_path, quantizer):
    config = codec_config(quantizer)
    module, tensors = written(config)
    layout = {"model": tensors} if quantizer == "ema" else {"state_dict": {**tensors, **LOSSES}, "epoch": 3}
    loaded, report = load_codec(save(tmp_path / "codec.pth", layout), image_size=8)
    assert loaded.config == config
    same_leaves(loaded, module)
    assert len(report.mapped) == len(tensors)
    assert {key for key, _ in report.ignored} == (set() if quantizer == "ema" else set(LOSSES))


def test_codec_inside_a_prior(tmp_path):
    config = codec_config("vq")
    module, tensors = written(config, "first_stage_model.", "first_stage_model.")
    others = {
        "transformer.tok_emb.weight": np.zeros((24, 8), np.float32),
        "first_stage_model.loss.x": np.zeros(1, np.float32),
    }
    loaded, report = load_codec(save(tmp_path / "codec.pth", {"state_dict": {**tensors, **others}}), image_size=8)
    same_leaves(loaded, module)
    assert {key for key, _ in report.ignored} == set(others)


def test_codec_inside_a_training_checkpoint(tmp_path):
    config = codec_config("gumbel")
    module, tensors = written(config, "content_codec.enc.", "content_codec.dec.")
    doubled = {key.replace(".enc.", ".dec."): value for key, value in tensors.items() if ".quantize." in key}
    model = {**tensors, **doubled, "transformer.log_at": np.zeros(3, np.float32)}
    loaded, report = load_codec(save(tmp_path / "all.pth", {"model": model, "ema": {}}), image_size=8)
    same_leaves(loaded, module)
    assert {key for key, _ in report.ignored} == {*doubled, "transformer.log_at"}


def test_uneven_levels_are_read_from_shapes(tmp_path):
    config = codec_config(
        "vq", channel_multipliers=(2, 1, 3), num_res_blocks=2, attention_levels=(1, 2), image_size=256
    )
    _, tensors = written(config)
    assert load_codec(save(tmp_path / "codec.pth", tensors))[0].config == config


YAML = """
model:
  target: taming.models.vqgan.{target}
  params:
    embed_dim: 6
    n_embed: 24
    ddconfig: {{double_z: {double}, z_channels: 10, resolution: 8, in_channels: 3, out_ch: 3, ch: {ch}, ch_mult: [1, 2],
      num_res_blocks: 1, attn_resolutions: [4], dropout: 0.25}}
"""


def yaml_file(tmp_path, target="VQModel", double=False, ch=32):
    path = tmp_path / "codec.yaml"
    path.write_text(YAML.format(target=target, double=str(double).lower(), ch=ch))
    return path


def test_yaml_adds_what_shapes_do_not_tell(tmp_path):
    _, tensors = written(codec_config("vq"))
    loaded, _ = load_codec(save(tmp_path / "codec.pth", tensors), config=yaml_file(tmp_path))
    assert loaded.config == codec_config("vq", dropout=0.25)


def test_yaml_of_another_codec_is_one_error(tmp_path):
    _, tensors = written(codec_config("vq"))
    path = save(tmp_path / "codec.pth", tensors)
    with pytest.raises(ConfigError, match="codec.channels is 64 in the yaml and 32 in the weights") as caught:
        load_codec(path, config=yaml_file(tmp_path, target="GumbelVQ", ch=64))
    assert "codec.quantizer" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="double_z"):
        load_codec(path, config=yaml_file(tmp_path, double=True))
    with pytest.raises(ConfigError, match="VQSegmentationModel.*supported: GumbelVQ"):
        load_codec(path, config=yaml_file(tmp_path, target="VQSegmentationModel"))


def test_patch_vqgan_yaml(tmp_path):
    path = tmp_path / "codec.yaml"
    path.write_text("""
model:
  target: image_synthesis.modeling.codecs.image_codec.patch_vqgan.PatchVQGAN
  params:
    embed_dim: 128
    n_embed: 4096
    encoder_config:
      params: {z_channels: 256, resolution: [256, 256], in_channels: 3, ch: 64, ch_mult: [1, 2, 4, 8],
        num_res_blocks: 2,
        attn_resolutions: [[32, 32]], dropout: 0.0}
""")
    facts = codec_fields_of_yaml(path)
    assert facts["quantizer"] == "ema" and facts["attention_levels"] == (3,) and facts["image_size"] == 256


def test_missing_weights_are_all_listed(tmp_path):
    _, tensors = written(codec_config("vq"))
    del tensors["encoder.conv_in.bias"], tensors["decoder.up.1.upsample.conv.weight"]
    with pytest.raises(ConversionError, match="2 missing") as caught:
        load_codec(save(tmp_path / "codec.pth", tensors), image_size=8)
    assert "encoder.conv_in.bias" in str(caught.value) and "decoder.up.1.resample.kernel" in str(caught.value)


def test_files_that_are_no_codec(tmp_path):
    with pytest.raises(CheckpointError, match="no weights"):
        load_codec(save(tmp_path / "a.pth", {"epoch": 1}))
    with pytest.raises(CheckpointError, match="no weights"):
        load_codec(save(tmp_path / "b.pth", np.arange(3)))
    with pytest.raises(ConversionError, match="not of the expected kind"):
        load_codec(save(tmp_path / "c.pth", {"weight": np.zeros(3)}))


def test_a_codec_with_kept_codes(tmp_path):
    config = codec_config("vq", reduced_codebook_size=7)
    module, tensors = random_network(VQGAN, codec_config("vq")), None
    tensors = unapply(codec_rules(quantizer="vq"), module)
    table = first_codes_kept(24, 7)
    mapping = save(tmp_path / "mapping.pt", table.full_to_reduced.astype(np.int64))
    loaded, _ = load_codec(save(tmp_path / "codec.pth", tensors), mapping=mapping, image_size=8)
    assert loaded.config == config
    np.testing.assert_array_equal(loaded.full_to_reduced[...], table.full_to_reduced)
    np.testing.assert_array_equal(loaded.reduced_to_full[...], table.reduced_to_full)


def test_reductions_that_do_not_fit(tmp_path):
    _, tensors = written(codec_config("vq"))
    codec = save(tmp_path / "codec.pth", tensors)
    with pytest.raises(CheckpointError, match="codec.pth has 24 codes, but .*short.pt .* 5 entries"):
        load_codec(codec, mapping=save(tmp_path / "short.pt", np.zeros(5, np.int64)))
    with pytest.raises(CheckpointError, match="not a codebook reduction"):
        read_reduction(codec)
    with pytest.raises(CheckpointError, match="integers"):
        read_reduction(save(tmp_path / "floats.pt", np.zeros(24, np.float32)))


@pytest.mark.parametrize(
    ("name", "full", "kept"), [("taming_vqvae_2887.pt", 8192, 2887), ("taming_vqvae_974.pt", 16384, 974)]
)
def test_released_reductions(reference_root, name, full, kept):
    table = read_reduction(reference_root / "codebooks" / name, codebook_size=full, num_codes=kept)
    assert table.full_to_reduced.shape == (full,) and table.reduced_to_full.shape == (kept,)
    assert (table.full_to_reduced == 0).sum() == full - kept + 1
    np.testing.assert_array_equal(table.full_to_reduced[table.reduced_to_full], np.arange(kept))
    assert (np.diff(table.reduced_to_full) > 0).all() and table.reduced_to_full[0] == 0
