"""Training checkpoints of the reference: every key of every released model, and small files converted whole."""

import csv
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest

from tests.interop.files import (
    codec_config,
    codec_module,
    model_config,
    perturbed,
    same_leaves,
    save,
    schedule_buffers,
    tensors_of,
)
from tests.networks import random_network
from vqdiffusion_jax.errors import CheckpointError, ConfigError, ConversionError
from vqdiffusion_jax.interop.clip.openai_rules import text_rules
from vqdiffusion_jax.interop.codecs import read_reduction
from vqdiffusion_jax.interop.codecs.rules import codec_rules
from vqdiffusion_jax.interop.engine import apply, unapply
from vqdiffusion_jax.interop.load import load_reference
from vqdiffusion_jax.interop.reference.checkpoint import read_weights
from vqdiffusion_jax.interop.reference.plan import plan
from vqdiffusion_jax.interop.reference.yaml_file import config_from_yaml
from vqdiffusion_jax.loading import open_model
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.presets import preset

RELEASED = {  # key table: (preset, codes kept if not all)
    "text_coco_cub_cc": ("coco", 2887),
    "text_coco_learnable": ("coco_cf", 2887),
    "ithq": ("ithq", None),
    "imagenet": ("imagenet", 974),
    "imagenet_cf1001": ("imagenet_cf", 974),
    "ffhq": ("ffhq", None),
}


def key_table(path) -> dict[str, jax.ShapeDtypeStruct]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        row["key"]: jax.ShapeDtypeStruct(tuple(int(n) for n in row["shape"].split("x") if n), row["dtype"])
        for row in rows
    }


@pytest.mark.parametrize("name", RELEASED)
def test_every_released_key_is_accounted_for(reference_root, name):
    expected, kept = RELEASED[name]
    tensors = key_table(reference_root / "tables" / f"keys_model_{name}.tsv")
    reduction = read_reduction(reference_root / "codebooks" / f"taming_vqvae_{kept}.pt") if kept else None
    made = plan(tensors, reduction=reduction)
    assert made.config == preset(expected) and not made.guesses
    abstract = shapes_of(VQDiffusionModel, made.config)
    model, report = apply(made.rules, made.ignores, made.tensors, abstract)
    shapes, expected_shapes = (
        {path: leaf.shape for path, leaf in leaves_by_path(m).items()} for m in (model, abstract)
    )
    assert shapes == expected_shapes
    seen = {entry.foreign for entry in report.mapped} | {key for key, _ in report.ignored}
    assert seen >= set(tensors)
    ignored = {key.rsplit(".", 1)[-1] for key, _ in report.ignored if "dec.quantize." not in key}
    assert all(key == "mask" or key.startswith(("log_", "Lt_")) for key in ignored)
    assert len(report.table().splitlines()) < 420


class Saved:
    """A small checkpoint whose averaged weights differ from the trained ones."""

    def __init__(self, folder, condition: str, **denoiser):
        self.config = model_config(condition, **denoiser)
        self.trained = perturbed(random_network(VQDiffusionModel, self.config), seed=5)
        self.averaged = perturbed(self.trained, seed=6)
        self.averaged.codec = self.trained.codec
        if condition == "text":
            self.averaged.text_encoder = self.trained.text_encoder
        reduction = self.trained.codec.full_to_reduced[...] if self.config.codec.reduced_codebook_size else None
        self.mapping = (
            save(folder / "mapping.pt", np.asarray(reduction).astype(np.int64)) if reduction is not None else None
        )
        self.model = tensors_of(self.trained)
        ema = tensors_of(self.averaged)
        self.ema = {
            key.removeprefix("transformer."): value for key, value in ema.items() if key.startswith("transformer.")
        }
        self.folder = folder

    @property
    def path(self):
        optimizer = {"state": {0: {"exp_avg": np.ones((3, 3), np.float32)}}}
        tree = {
            "last_epoch": 1,
            "model": self.model,
            "ema": self.ema,
            "optimizer_and_scheduler": {"none": {"optimizer": optimizer}},
        }
        return save(self.folder / "checkpoint.pth", tree)

    def load(self, **options):
        return load_reference(self.path, **{"mapping": self.mapping, **options})


@pytest.mark.parametrize("condition", ["text", "class", "none"])
def test_checkpoints_fill_the_model(tmp_path, condition):
    saved = Saved(tmp_path, condition)
    model, report = saved.load()
    assert replace(model.config, sampling=saved.config.sampling) == saved.config
    same_leaves(_with_config(model, saved.config), saved.averaged)
    assert any("divides by K " in note for note in report.notes)
    model, _ = saved.load(weights="model")
    same_leaves(_with_config(model, saved.config), saved.trained)


def _with_config(model, config):
    model.config = config  # they may differ in sampling defaults, which the comparison above leaves out
    return model


def test_deep_models_go_layer_by_layer(tmp_path):
    saved = Saved(tmp_path, "none", num_layers=12)
    model, report = saved.load()
    same_leaves(model.denoiser, saved.averaged.denoiser)
    assert "blocks.N.attn.key.weight" in report.table() and "32x32 x12" in report.table()


def test_without_averaged_weights_the_error_names_the_option(tmp_path):
    saved = Saved(tmp_path, "none")
    path = save(tmp_path / "bare.pth", {"model": saved.model})
    with pytest.raises(CheckpointError, match="weights='model'"):
        load_reference(path)
    same_leaves(load_reference(path, weights="model")[0].denoiser, saved.trained.denoiser)


def test_half_an_average_is_refused(tmp_path):
    saved = Saved(tmp_path, "text")
    del saved.ema["log_at"], saved.ema["transformer.blocks.0.attn2.mask"]
    _, report = saved.load()
    assert any(note.startswith("2 buffers have no averaged copy") for note in report.notes)
    del saved.ema["transformer.to_logits.1.bias"], saved.ema["empty_text_embed"]
    with pytest.raises(
        CheckpointError, match=r"2 of \d+ weights have no averaged copy .*_embed.* give weights='model'"
    ) as caught:
        saved.load()
    assert "\n" not in str(caught.value)
    del saved.ema["condition_emb.positional_embedding"]
    with pytest.raises(CheckpointError, match="positional_embedding.*--clip_weights=model"):
        saved.load(weights="model", clip_weights="ema")
    saved.load(weights="model")


def test_kept_codes_need_their_file(tmp_path):
    saved = Saved(tmp_path, "class")
    with pytest.raises(ConversionError, match="keeps 10 of its codec's 24 codes.*mapping="):
        saved.load(mapping=None)
    other = save(tmp_path / "other.pt", np.minimum(np.arange(24), 11))
    with pytest.raises(ConversionError, match="keeps 12 of 24 codes but this model keeps 10 of 24"):
        saved.load(mapping=other)


def test_a_codec_that_does_not_fit_is_named(tmp_path):
    """Not the table of codes, which is right, and whose absence or size an error would otherwise be about."""
    saved = Saved(tmp_path, "class")
    for sizes, told in (({"codebook_size": 48}, "48 codes"), ({"embed_dim": 8}, "8 numbers a code")):
        tensors = unapply(codec_rules("", "", quantizer="vq"), codec_module(codec_config("vq", **sizes)))
        other = save(tmp_path / f"{told}.pth", {"state_dict": tensors})
        for options in ({}, {"mapping": None}):
            with pytest.raises(ConversionError, match=f"{told}.pth has {told}, the checkpoint's own codec"):
                saved.load(codec=other, **options)
    bare = {name: tensor for name, tensor in saved.model.items() if not name.startswith("content_codec.")}
    path = save(tmp_path / "bare.pth", {"model": bare})
    with pytest.raises(ConversionError, match="48 codes.pth has 48 codes, but .*mapping.pt, which keeps 10 .* of 24"):
        load_reference(path, weights="model", mapping=saved.mapping, codec=tmp_path / "48 codes.pth")


def test_heads_that_are_guessed_are_told(tmp_path, caplog):
    saved = Saved(tmp_path, "none")
    _, report = saved.load()
    assert [note for note in report.notes if "number of heads is a guess, 16" in note]
    with caplog.at_level("WARNING"):
        open_model(saved.path)
    assert "the number of heads is a guess, 16" in caplog.text
    tensors, *_ = read_weights(saved.path)
    assert plan(tensors).guesses and not plan(tensors, yaml={"denoiser": {"num_heads": 8}}).guesses


def test_a_model_of_all_codes_takes_no_mapping(tmp_path):
    saved = Saved(tmp_path, "none")
    with pytest.raises(ConversionError, match="leave the codebook reduction out"):
        saved.load(mapping=save(tmp_path / "mapping.pt", np.arange(24)))


def test_old_schedules_are_recognised(tmp_path):
    saved = Saved(tmp_path, "none")
    old = replace(saved.config.schedule, denominator="num_codes_plus_one")
    saved.model |= schedule_buffers(old)
    saved.ema |= {key.removeprefix("transformer."): value for key, value in schedule_buffers(old).items()}
    model, report = saved.load()
    assert model.config.schedule.denominator == "num_codes_plus_one"
    assert any("K + 1" in note for note in report.notes)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rounded", [np.float16, ml_dtypes.bfloat16])
def test_schedules_in_half_precision_are_rounded(tmp_path, rounded, stored):
    saved = Saved(tmp_path, "none")
    for tensors in (saved.model, saved.ema):
        for name, values in tensors.items():
            tensors[name] = values.astype(rounded).astype(stored)
    model, report = saved.load()
    assert model.config.schedule.denominator == "num_codes"
    assert any(note.startswith("noise schedule: ") for note in report.notes)
    saved.model["transformer.log_ct"] = saved.ema["log_ct"] = saved.model["transformer.log_ct"] + stored(0.5)
    with pytest.raises(ConversionError, match="noise schedule is not the released one"):
        saved.load()


def test_other_schedules_are_refused(tmp_path):
    saved = Saved(tmp_path, "none")
    saved.model["transformer.log_ct"] = saved.ema["log_ct"] = saved.model["transformer.log_ct"] + np.float32(0.1)
    with pytest.raises(ConversionError, match="noise schedule is not the released one"):
        saved.load()


def test_an_unused_null_embedding_in_a_class_model_is_ignored(tmp_path):
    saved = Saved(tmp_path, "class")
    saved.model["transformer.empty_text_embed"] = saved.ema["empty_text_embed"] = np.zeros((77, 512))
    _, report = saved.load()
    assert "transformer.empty_text_embed" in dict(report.ignored)


def test_faults_are_listed_together(tmp_path):
    saved = Saved(tmp_path, "class")
    for tensors, prefix in ((saved.model, "transformer."), (saved.ema, "")):
        del tensors[f"{prefix}transformer.blocks.1.attn.key.bias"], tensors[f"{prefix}transformer.to_logits.0.weight"]
        tensors[f"{prefix}transformer.blocks.2.extra"] = np.zeros(2, np.float32)
        tensors[f"{prefix}transformer.to_logits.1.bias"] = np.zeros(11, np.float32)
    with pytest.raises(ConversionError) as caught:
        saved.load()
    for part in (
        "denoiser.blocks.self_attention.key.bias[1]",
        "denoiser.final_norm.scale",
        "blocks.2.extra",
        "to_logits.1.bias",
    ):
        assert part in str(caught.value)


def test_other_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="load_codec"):
        load_reference(save(tmp_path / "a.pth", {"state_dict": {"encoder.conv_in.weight": np.zeros(1)}}))
    with pytest.raises(CheckpointError, match="no denoiser"):
        load_reference(save(tmp_path / "b.pth", {"model": {"encoder.conv_in.weight": np.zeros(1)}, "ema": {}}))
    with pytest.raises(ConfigError, match="allowed: ema, model"):
        load_reference(tmp_path / "c.pth", weights="raw")


def test_codec_and_clip_can_be_replaced(tmp_path):
    saved = Saved(tmp_path, "text")
    other = perturbed(saved.trained, seed=9)
    codec = save(
        tmp_path / "codec.pth", {"state_dict": unapply(codec_rules(quantizer="gumbel"), other.codec, skip=[".*_to_.*"])}
    )
    clip = save(tmp_path / "clip.pt", unapply(text_rules(), other.text_encoder))
    model, report = saved.load(codec=codec, clip=clip)
    same_leaves(model.text_encoder, other.text_encoder)
    same_leaves(model.codec, other.codec)
    same_leaves(model.denoiser, saved.averaged.denoiser)
    reasons = {reason for _, reason in report.ignored}
    assert {"replaced by the codec file given", "replaced by the CLIP file given"} <= reasons
    assert "codec.pth: encoder.conv_in.weight" in report.table()
    (tmp_path / "class").mkdir()
    without_text = Saved(tmp_path / "class", "class")
    with pytest.raises(ConfigError, match="no text tower"):
        without_text.load(clip=clip)


def test_clip_may_come_from_the_trained_copy_and_keep_its_dtype(tmp_path):
    saved = Saved(tmp_path, "text")
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    exact = saved.model[f"transformer.condition_emb.{name}"].astype(np.float16)
    saved.model[f"transformer.condition_emb.{name}"] = exact
    saved.model[f"transformer.condition_emb.{name.replace('.0.', '.1.')}"] = exact
    saved.ema[f"condition_emb.{name}"] = saved.ema[f"condition_emb.{name.replace('.0.', '.1.')}"] = (
        exact * 1.01
    ).astype(np.float16)
    model, report = saved.load()
    assert any("averaged copy differs" in note for note in report.notes)
    assert model.text_encoder.blocks.mlp.up.kernel[...].dtype == np.float32
    model, _ = saved.load(clip_weights="model", clip_dtype="float16")
    np.testing.assert_array_equal(model.text_encoder.blocks.mlp.up.kernel[...][0], exact.T)
    assert model.text_encoder.blocks.mlp.up.kernel[...].dtype == np.float16
    same_leaves(model.denoiser, saved.averaged.denoiser)


YAML = """
model:
  target: image_synthesis.modeling.models.dalle.DALLE
  params:
    content_codec_config:
      target: image_synthesis.modeling.codecs.image_codec.taming_gumbel_vqvae.TamingGumbelVQVAE
      params: {{num_tokens: 24, quantize_number: 10, token_shape: [4, 4]}}
    condition_codec_config:
      params: {{context_length: 9, pad_value: 0, add_start_and_end: true,
        tokenizer_config: {{params: {{end_idx: 344}}}}}}
    diffusion_config:
      params:
        diffusion_step: 12
        alpha_init_type: {alpha}
        auxiliary_loss_weight: 1.0e-3
        adaptive_auxiliary_loss: false
        mask_weight: [1, 2]
        learnable_cf: true
        condition_emb_config:
          params: {{num_embed: 600, normalize: false, pick_last_embedding: false, embed_dim: 512}}
        content_emb_config: {{params: {{num_embed: 10, spatial_size: !!python/tuple [4, 4], embed_dim: {width}}}}}
        transformer_config:
          target: image_synthesis.modeling.transformers.transformer_utils.Text2ImageTransformer
          params: {{n_layer: 3, n_embd: {width}, n_head: 4, mlp_hidden_times: 2, attn_pdrop: 0.1, resid_pdrop: 0.0,
            block_activate: GELU,
            timestep_type: adalayernorm, mlp_type: fc, content_seq_len: 16, condition_dim: 64, condition_seq_len: 9}}
"""


def yaml_file(tmp_path, width=32, alpha="alpha1", tail=""):
    path = tmp_path / "config.yaml"
    path.write_text(YAML.format(width=width, alpha=alpha) + tail)
    return path


def test_yaml_adds_what_shapes_do_not_tell(tmp_path):
    config = Saved(tmp_path, "text").load(config=yaml_file(tmp_path))[0].config
    assert (config.denoiser.num_heads, config.denoiser.activation, config.denoiser.attention_dropout) == (
        4,
        "gelu",
        0.1,
    )
    assert (config.objective.auxiliary_weight, config.objective.auxiliary_weighting) == (1e-3, "constant")
    assert config.objective.unmasked_weight == 2.0 and not config.text_embedding.normalize
    assert config.denoiser.learnable_null


def test_yaml_of_another_model_is_one_error(tmp_path):
    saved = Saved(tmp_path, "text")
    with pytest.raises(ConfigError, match="denoiser.width is 64 in the yaml and 32 in the weights") as caught:
        saved.load(config=yaml_file(tmp_path, width=64))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="alpha_init_type is 'cosine'; supported: alpha1"):
        saved.load(config=yaml_file(tmp_path, alpha="cosine"))


def test_a_yaml_executes_nothing(tmp_path):
    for tag in ("!!python/object/apply:os.system [true]", "!!python/name:os.system"):
        with pytest.raises(ConfigError, match="not a yaml file of the reference"):
            config_from_yaml(yaml_file(tmp_path, tail=f"\nevil: {tag}\n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        config_from_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="a table is expected"):
        config_from_yaml(tmp_path / "list.yaml")


def test_a_class_yaml_may_lack_the_null_class(tmp_path):
    saved = Saved(tmp_path, "class")
    path = tmp_path / "config.yaml"
    path.write_text("""
model:
  params:
    diffusion_config:
      params:
        transformer_config:
          target: x.Condition2ImageTransformer
          params: {class_number: 1000, n_head: 2}
""")
    model, report = saved.load(config=path)
    assert model.config.denoiser.num_classes == 1001 and model.config.denoiser.num_heads == 2
    assert any("null class" in note for note in report.notes)


COCO_TUNE = """
model:
  target: image_synthesis.modeling.models.dalle.DALLE
  params:
    learnable_cf: true
    content_codec_config:
      target: image_synthesis.modeling.codecs.image_codec.taming_gumbel_vqvae.TamingGumbelVQVAE
      params: {trainable: false, token_shape: [32, 32], num_tokens: 8192, quantize_number: 2887,
        config_path: OUTPUT/pretrained_model/taming_dvae/taming_f8_8192_openimages.yaml}
    condition_codec_config:
      params: {context_length: 77, add_start_and_end: true, with_mask: true, pad_value: 0,
        tokenizer_config: {params: {end_idx: 49152}}}
    diffusion_config:
      params:
        diffusion_step: 100
        alpha_init_type: alpha1
        auxiliary_loss_weight: 5.0e-4
        adaptive_auxiliary_loss: true
        mask_weight: [1, 1]
        learnable_cf: true
        transformer_config:
          target: image_synthesis.modeling.transformers.transformer_utils.Text2ImageTransformer
          params: {attn_type: selfcross, n_layer: 19, condition_seq_len: 77, content_seq_len: 1024,
            content_spatial_size: [32, 32],
            n_embd: 1024, condition_dim: 512, n_head: 16, attn_pdrop: 0.0, resid_pdrop: 0.0, block_activate: GELU2,
            timestep_type: adalayernorm, mlp_hidden_times: 4}
        condition_emb_config:
          params: {clip_name: ViT-B/32, num_embed: 49408, normalize: true, pick_last_embedding: false,
            keep_seq_len_dim: false, additional_last_embedding: false, embed_dim: 512}
        content_emb_config:
          params: {num_embed: 2887, spatial_size: !!python/tuple [32, 32], embed_dim: 1024, trainable: true,
            pos_emb_type: embedding}
"""


def test_a_yaml_alone_gives_the_released_configuration(tmp_path):
    path = tmp_path / "coco_tune.yaml"
    path.write_text(COCO_TUNE)
    assert config_from_yaml(path) == preset("coco_cf")


def test_text_options_of_a_yaml_are_taken_or_named(tmp_path):
    path = tmp_path / "config.yaml"
    doubled = COCO_TUNE.replace(
        "additional_last_embedding: false, embed_dim: 512", "additional_last_embedding: false, embed_dim: 1024"
    )
    path.write_text(doubled.replace("condition_dim: 512", "condition_dim: 1024"))
    config = config_from_yaml(path)
    assert config.text_embedding.double and (config.text_encoder.width, config.denoiser.condition_width) == (512, 1024)
    for before, after, message in (
        (
            "additional_last_embedding: false",
            "additional_last_embedding: true",
            "additional_last gives a second array.* set it to False",
        ),
        ("pick_last_embedding: false", "pick_last_embedding: true", "pick_last gives no sequence.*keep_seq_len_dim"),
        (
            "pick_last_embedding: false,\n            keep_seq_len_dim: false",
            "pick_last_embedding: true,\n            keep_seq_len_dim: true",
            "condition_seq_len",
        ),
    ):
        path.write_text(COCO_TUNE.replace(before, after))
        with pytest.raises(ConfigError, match=message) as caught:
            config_from_yaml(path)
        assert "\n" not in str(caught.value)
