"""Key table of a diffusers VQDiffusionPipeline; the part's folder stands in front of each key.

If two foreign names lead to one parameter, the first is written.
"""

from __future__ import annotations

from ..clip.huggingface import POSITION_IDS, text_rules
from ..engine import Rule, conv, dense, embedding, key, norm, pointwise

# Foreign names of the four layers of attention in a codec: today's, and those of files from before 2023.
_ATTENTION = {
    "query": ("to_q", "query"),
    "key": ("to_k", "key"),
    "value": ("to_v", "value"),
    "out": ("to_out.0", "proj_attn"),
}

NULL = "learned_classifier_free_sampling_embeddings"


def pipeline_rules(num_levels: int) -> list[Rule]:
    """Return all rules of a pipeline whose codec has ``num_levels`` resolutions."""
    return [
        *transformer_rules("transformer", "denoiser"),
        Rule(key(f"{NULL}.embeddings"), "denoiser.null_condition"),
        *codec_rules("vqvae", "codec", num_levels),
        *text_rules("text_encoder.text_model", "text_encoder"),
        *text_rules("text_encoder", "text_encoder"),
    ]


IGNORES = [POSITION_IDS]

# Parameters of ours without a place in the format: CLIPTextModel has no projection, VQModel keeps no running means, and
# every pipeline knows the first codes of its codec.
TABLES = (r"codec\.full_to_reduced", r"codec\.reduced_to_full")
NOT_IN_FORMAT = (
    r"text_encoder\.text_projection",
    r"codec\.quantizer\.cluster_size",
    r"codec\.quantizer\.codebook_sum",
    *TABLES,
)


def transformer_rules(foreign: str, ours: str) -> list[Rule]:
    """Return the rules from Transformer2DModel over discrete input to Denoiser with a text condition."""
    theirs, block = f"{foreign}.transformer_blocks.{{layer}}", f"{ours}.blocks"
    rules = [
        *embedding(f"{foreign}.latent_image_embedding.emb", f"{ours}.token_embedding"),
        *embedding(f"{foreign}.latent_image_embedding.height_emb", f"{ours}.height_embedding"),
        *embedding(f"{foreign}.latent_image_embedding.width_emb", f"{ours}.width_embedding"),
    ]
    for number, name in (("1", "self"), ("2", "cross")):
        rules += embedding(f"{theirs}.norm{number}.emb", f"{block}.{name}_norm.embedding")
        rules += dense(f"{theirs}.norm{number}.linear", f"{block}.{name}_norm.linear")
        for layer, (current, _) in _ATTENTION.items():
            rules += dense(f"{theirs}.attn{number}.{current}", f"{block}.{name}_attention.{layer}")
    return [
        *rules,
        *norm(f"{theirs}.norm3", f"{block}.mlp_norm"),
        *dense(f"{theirs}.ff.net.0.proj", f"{block}.mlp.up"),
        *dense(f"{theirs}.ff.net.2", f"{block}.mlp.down"),
        *norm(f"{foreign}.norm_out", f"{ours}.final_norm"),
        *dense(f"{foreign}.out", f"{ours}.logits"),
    ]


def codec_rules(foreign: str, ours: str, num_levels: int) -> list[Rule]:
    """Return the rules from VQModel to VQGAN.

    Theirs counts the decoder's levels in the order they run, ours from the highest resolution.
    """
    rules = [
        *pointwise(f"{foreign}.quant_conv", f"{ours}.quant_conv"),
        *pointwise(f"{foreign}.post_quant_conv", f"{ours}.post_quant_conv"),
        Rule(key(f"{foreign}.quantize.embedding.weight"), f"{ours}.quantizer.codebook"),
    ]
    for half in ("encoder", "decoder"):
        rules += conv(f"{foreign}.{half}.conv_in", f"{ours}.{half}.conv_in")
        rules += norm(f"{foreign}.{half}.conv_norm_out", f"{ours}.{half}.norm_out")
        rules += conv(f"{foreign}.{half}.conv_out", f"{ours}.{half}.conv_out")
        middle, our_middle = f"{foreign}.{half}.mid_block", f"{ours}.{half}.middle"
        rules += _resnet(f"{middle}.resnets.0", f"{our_middle}.block1") + _resnet(
            f"{middle}.resnets.1", f"{our_middle}.block2"
        )
        rules += _attention(f"{middle}.attentions.0", f"{our_middle}.attention")
    rules += _level(f"{foreign}.encoder.down_blocks.{{level}}", f"{ours}.encoder.down.{{level}}", "downsamplers")
    for level in range(num_levels):
        rules += _level(
            f"{foreign}.decoder.up_blocks.{num_levels - 1 - level}", f"{ours}.decoder.up.{level}", "upsamplers"
        )
    return rules


def _level(foreign: str, ours: str, resamplers: str) -> list[Rule]:
    return [
        *_resnet(f"{foreign}.resnets.{{block}}", f"{ours}.blocks.{{block}}"),
        *_attention(f"{foreign}.attentions.{{block}}", f"{ours}.attentions.{{block}}"),
        *conv(f"{foreign}.{resamplers}.0.conv", f"{ours}.resample"),
    ]


def _resnet(foreign: str, ours: str) -> list[Rule]:
    rules = pointwise(f"{foreign}.conv_shortcut", f"{ours}.shortcut")
    for number in ("1", "2"):
        rules += norm(f"{foreign}.norm{number}", f"{ours}.norm{number}") + conv(
            f"{foreign}.conv{number}", f"{ours}.conv{number}"
        )
    return rules


def _attention(foreign: str, ours: str) -> list[Rule]:
    rules = norm(f"{foreign}.group_norm", f"{ours}.norm")
    for layer, names in _ATTENTION.items():
        for name in names:
            rules += dense(f"{foreign}.{name}", f"{ours}.{layer}")
    return rules
