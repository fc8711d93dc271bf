"""Legal values of the reference's yaml files beyond the released ones, and what its classes take for keys left out."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from tests.interop.test_reference import COCO_TUNE, Saved, same_leaves
from vqdiffusion_jax.errors import ConfigError, ConversionError
from vqdiffusion_jax.interop.files.yaml_table import YamlTable
from vqdiffusion_jax.interop.reference.yaml_file import codec_files, config_from_yaml
from vqdiffusion_jax.presets import preset


def written(path, tree):
    path.write_text(yaml.safe_dump(tree))
    return path


def coco(tmp_path):
    """The released file as a tree."""
    (tmp_path / "coco.yaml").write_text(COCO_TUNE.replace("!!python/tuple ", ""))
    return YamlTable.read(tmp_path / "coco.yaml").values


def table(tree, *names):
    tree = tree["model"]["params"]
    for name in names:
        tree = tree[name]
    return tree


TRANSFORMER = ("diffusion_config", "params", "transformer_config", "params")


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        (("diffusion_config", "params", "content_emb_config", "params"), {"spatial_size": 32}),
        (TRANSFORMER, {"content_spatial_size": 7}),  # which no block of the reference reads
        (TRANSFORMER, {"content_spatial_size": None}),
        (TRANSFORMER, {"mlp_hidden_times": 4.0}),
        (TRANSFORMER, {"mlp_type": "linear"}),  # anything but conv_mlp
        (TRANSFORMER, {"timestep_type": "my_adalayernorm"}),  # the reference looks for the word in the name
    ],
)
def test_other_spellings_of_the_released_model(tmp_path, place, changes):
    tree = coco(tmp_path)
    table(tree, *place).update(changes)
    assert config_from_yaml(written(tmp_path / "other.yaml", tree)) == preset("coco_cf")


def test_keys_left_out_take_the_defaults_of_the_reference(tmp_path):
    tree = coco(tmp_path)
    for key in ("n_embd", "n_head", "mlp_hidden_times", "condition_dim", "timestep_type", "attn_pdrop"):
        del table(tree, *TRANSFORMER)[key]
    for key in ("num_tokens", "quantize_number", "config_path"):
        del table(tree, "content_codec_config", "params")[key]
    del table(tree, "diffusion_config", "params")["diffusion_step"]
    assert config_from_yaml(written(tmp_path / "short.yaml", tree)) == preset("coco_cf")
    del table(tree, *TRANSFORMER)["n_layer"], table(tree, "condition_codec_config", "params")["add_start_and_end"]
    for key in ("auxiliary_loss_weight", "adaptive_auxiliary_loss"):
        del table(tree, "diffusion_config", "params")[key]
    config = config_from_yaml(written(tmp_path / "shorter.yaml", tree))
    assert config.denoiser.num_layers == 14 and not config.tokenizer.add_start_and_end
    assert (config.objective.auxiliary_weight, config.objective.auxiliary_weighting) == (0.0, "constant")
    clip = table(tree, "diffusion_config", "params", "condition_emb_config", "params")
    del clip["pick_last_embedding"]  # which is then true
    with pytest.raises(ConfigError, match="pick_last gives no sequence"):
        config_from_yaml(written(tmp_path / "last.yaml", tree))
    clip["keep_seq_len_dim"] = True
    del table(tree, *TRANSFORMER)["condition_seq_len"]
    config = config_from_yaml(written(tmp_path / "kept.yaml", tree))
    assert config.text_embedding.pick_last and config.denoiser.condition_length == 1
    clip["pick_last_embedding"] = clip["keep_seq_len_dim"] = False
    del clip["embed_dim"]  # which is then 1024, so that CLIP's feature is doubled
    table(tree, *TRANSFORMER)["condition_dim"] = 1024
    assert config_from_yaml(written(tmp_path / "double.yaml", tree)).text_embedding.double


def test_files_of_a_codec(tmp_path):
    tree = coco(tmp_path)
    path, codec = tmp_path / "codec.yaml", table(tree, "content_codec_config", "params")
    assert codec_files(written(path, tree))["mapping"] == "./help_folder/statistics/taming_vqvae_2887.pt"
    codec["mapping_path"] = "mine.pt"
    assert codec_files(written(path, tree))["mapping"] == "mine.pt"
    codec["quantize_number"] = 0  # all codes, whatever mapping_path says
    assert set(codec_files(written(path, tree))) == {"codec_config"}


def class_yaml(path, **network):
    network = {"n_embd": 32, "n_layer": 3, "n_head": 16, "class_number": 1001, "content_seq_len": 16} | network
    transformer = {"target": "x.Condition2ImageTransformer", "params": network}
    params = {"auxiliary_loss_weight": 1e-3, "adaptive_auxiliary_loss": True, "transformer_config": transformer}
    return written(path, {"model": {"params": {"diffusion_config": {"params": params}}}})


def test_a_fractional_mlp(tmp_path):
    saved = Saved(tmp_path, "class", mlp_ratio=1.5)
    file = class_yaml(tmp_path / "class.yaml", mlp_hidden_times=1.52)  # int(1.52 * 32) is 48
    for given in ({}, {"config": file}):
        model, _ = saved.load(**given)
        assert replace(model.config, sampling=saved.config.sampling) == saved.config
        assert model.denoiser.blocks.mlp.up.bias.shape == (3, 48)
        np.testing.assert_array_equal(model.denoiser.blocks.mlp.up.bias, saved.averaged.denoiser.blocks.mlp.up.bias)
    with pytest.raises(ConfigError, match="denoiser.mlp_ratio is 2 in the yaml and 1.5 in the weights"):
        saved.load(config=class_yaml(tmp_path / "other.yaml", mlp_hidden_times=2))


@pytest.mark.parametrize(
    ("class_type", "embedding", "norm"),
    [
        ("adalayernorm", "learned", "layer"),
        ("adalayernorm_abs", "sinusoidal", "layer"),
        ("adainsnorm", "learned", "instance"),
        ("adainsnorm_abs", "sinusoidal", "instance"),
    ],
)
def test_class_types(tmp_path, class_type, embedding, norm):
    saved = Saved(tmp_path, "class", class_embedding=embedding, class_norm=norm)
    model, _ = saved.load(config=class_yaml(tmp_path / "class.yaml", class_type=class_type, mlp_hidden_times=2))
    assert replace(model.config, sampling=saved.config.sampling) == saved.config
    model.config = model.denoiser.config = saved.config.denoiser
    same_leaves(model.denoiser.blocks, saved.averaged.denoiser.blocks)
    if embedding == "sinusoidal":
        with pytest.raises(ConversionError, match="does not hold the number of classes; give config"):
            saved.load()


def test_class_types_of_models_without_classes_mean_nothing(tmp_path):
    network = {"n_embd": 32, "n_layer": 3, "class_type": "adainsnorm_abs", "content_seq_len": 16, "mlp_hidden_times": 2}
    transformer = {"target": "x.UnCondition2ImageTransformer", "params": network}
    params = {"auxiliary_loss_weight": 1e-3, "adaptive_auxiliary_loss": True, "transformer_config": transformer}
    tree = {"model": {"params": {"diffusion_config": {"params": params}}}}
    saved = Saved(tmp_path, "none")
    model, _ = saved.load(config=written(tmp_path / "none.yaml", tree))
    assert replace(model.config, sampling=saved.config.sampling) == saved.config


def test_a_codec_may_serve_pictures_of_another_size_than_its_file_says(tmp_path):
    saved = Saved(tmp_path, "none")
    codec = {
        "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 10, "in_channels": 3, "resolution": 256,
        "attn_resolutions": [128],
    }  # fmt: skip
    params = {"n_embed": 24, "embed_dim": 6, "encoder_config": {"params": codec}}
    tree = {"model": {"target": "x.PatchVQGAN", "params": params}}
    file = written(tmp_path / "codec.yaml", tree)
    network = {"n_embd": 32, "n_layer": 3, "content_seq_len": 16}
    transformer = {"target": "x.UnCondition2ImageTransformer", "params": network}
    model_file = written(
        tmp_path / "model.yaml",
        {"model": {"params": {"diffusion_config": {"params": {"transformer_config": transformer}}}}},
    )
    config = saved.load(config=model_file, codec_config=file)[0].config
    assert config.denoiser.grid == (4, 4) and config.codec.image_size == 8 and config.codec.attention_levels == (1,)


def test_what_only_weights_tell_is_named(tmp_path):
    tree = coco(tmp_path)
    del table(tree, "diffusion_config", "params", "content_emb_config", "params")["num_embed"]
    with pytest.raises(ConfigError, match="denoiser lacks num_codes"):
        config_from_yaml(written(tmp_path / "other.yaml", tree))
