"""Configurations by name: the released ones, and tiny ones for tests.

``preset("ithq")`` gives the ModelConfig whose weights the authors released;
widths, depths and codebooks are those of the reference's yaml files.
"""

from __future__ import annotations

from dataclasses import replace

from .config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    VQGANConfig,
)
from .errors import ConfigError, did_you_mean

CODECS = {
    "openimages_f8_8192": VQGANConfig(quantizer="gumbel", codebook_size=8192, embed_dim=256),
    "imagenet_f16_16384": VQGANConfig(
        quantizer="vq", codebook_size=16384, embed_dim=256, channel_multipliers=(1, 1, 2, 2, 4), attention_levels=(4,)
    ),
    "ffhq_f16_1024": VQGANConfig(
        quantizer="vq", codebook_size=1024, embed_dim=256, channel_multipliers=(1, 1, 2, 2, 4), attention_levels=(4,)
    ),
    "ithq_f8_4096": VQGANConfig(
        quantizer="ema", codebook_size=4096, embed_dim=128, channels=64, channel_multipliers=(1, 2, 4, 8)
    ),
    # With a window of one token, a drawing has the same tokens anywhere, so that little training can tell them apart.
    "emoji_f8_1024": VQGANConfig(
        quantizer="ema",
        codebook_size=1024,
        embed_dim=32,
        image_size=64,
        channels=16,
        channel_multipliers=(1, 1, 2, 4),
        num_res_blocks=1,
        attention_levels=(),
        z_channels=64,
        norm_groups=8,
        encoder_window=8,
    ),
}


def _model(denoiser: DenoiserConfig, codec: VQGANConfig, auxiliary_weight: float = 5.0e-4, **text) -> ModelConfig:
    return ModelConfig(
        denoiser=denoiser,
        codec=codec,
        schedule=ScheduleConfig(num_codes=denoiser.num_codes, num_timesteps=denoiser.num_timesteps),
        objective=ObjectiveConfig(auxiliary_weight=auxiliary_weight),
        **text,
    )


def _text(denoiser: DenoiserConfig, codec: VQGANConfig) -> ModelConfig:
    return _model(
        denoiser,
        codec,
        text_encoder=CLIPTextConfig(),
        text_embedding=TextEmbeddingConfig(),
        tokenizer=TokenizerConfig(),
    )


def _with_null(model: ModelConfig, guidance_scale: float, truncation_rate: float = 1.0) -> ModelConfig:
    return replace(
        model,
        denoiser=replace(model.denoiser, learnable_null=True),
        sampling=SamplingDefaults(guidance_scale=guidance_scale, truncation_rate=truncation_rate),
    )


_OPENIMAGES = replace(CODECS["openimages_f8_8192"], reduced_codebook_size=2887)

_COCO = _text(
    DenoiserConfig(condition="text", num_codes=2887, grid=(32, 32), width=1024, num_layers=19, num_heads=16),
    _OPENIMAGES,
)

_CUB200_SMALL = _text(  # VQ-Diffusion-S
    DenoiserConfig(
        condition="text", num_codes=2887, grid=(32, 32), width=192, num_layers=18, num_heads=16, mlp="conv", mlp_ratio=2
    ),
    _OPENIMAGES,
)

_ITHQ = _with_null(
    _text(
        DenoiserConfig(condition="text", num_codes=4096, grid=(32, 32), width=1408, num_layers=36, num_heads=16),
        CODECS["ithq_f8_4096"],
    ),
    guidance_scale=5.0,
)


def _imagenet(num_classes: int) -> ModelConfig:
    return _model(
        DenoiserConfig(
            condition="class",
            num_codes=974,
            grid=(16, 16),
            width=512,
            num_layers=24,
            num_heads=16,
            mlp="conv",
            num_classes=num_classes,
        ),
        replace(CODECS["imagenet_f16_16384"], reduced_codebook_size=974),
        auxiliary_weight=1.0e-3,
    )


_FFHQ = replace(
    _model(
        DenoiserConfig(
            condition="none", num_codes=1024, grid=(16, 16), width=512, num_layers=20, num_heads=16, mlp="conv"
        ),
        CODECS["ffhq_f16_1024"],
        auxiliary_weight=1.0e-3,
    ),
    sampling=SamplingDefaults(truncation_rate=1.0),  # the reference truncates nothing here
)


def _emoji() -> ModelConfig:
    """Return the embedded model: as small as pictures of 64 x 64 allow, its text tower trained with it."""
    words, merges = 32, 8192  # tokens of a caption; the commonest of CLIP's merges, so that the token table stays small
    model = _model(
        DenoiserConfig(
            condition="text",
            num_codes=1024,
            grid=(8, 8),
            position_grid=(8, 8),
            width=192,
            num_layers=6,
            num_heads=6,
            condition_width=128,
            condition_length=words,
        ),
        CODECS["emoji_f8_1024"],
        auxiliary_weight=1.0,  # far more than the bound, whose few heavy samples drown the text in a short run
        text_encoder=CLIPTextConfig(
            vocab_size=2 * 256 + merges + 2,
            context_length=words,
            width=128,
            num_layers=2,
            num_heads=4,
            projection_width=128,
        ),
        text_embedding=TextEmbeddingConfig(normalize=False),
        tokenizer=TokenizerConfig(end_index=256 + 2 + merges, context_length=words),
    )
    return _with_null(model, guidance_scale=1.5)


def _tiny(condition: str, quantizer: str) -> ModelConfig:
    """Return a model that is structurally complete and small enough to trace in a second."""
    codec = VQGANConfig(
        quantizer=quantizer,
        codebook_size=24,
        embed_dim=8,
        image_size=16,
        channels=8,
        channel_multipliers=(1, 2, 2),
        num_res_blocks=1,
        attention_levels=(2,),
        z_channels=8,
        norm_groups=4,
        reduced_codebook_size=16 if quantizer != "ema" else None,
    )
    denoiser = DenoiserConfig(
        condition=condition,
        num_codes=codec.num_codes,
        grid=codec.grid,
        position_grid=(8, 8),
        width=16,
        num_layers=2,
        num_heads=2,
        num_timesteps=10,
        mlp="dense" if condition == "text" else "conv",
        condition_width=16,
        condition_length=8,
        num_classes=5 if condition == "class" else 0,
        learnable_null=condition == "text",
    )
    if condition != "text":
        return _model(denoiser, codec)
    return _model(
        denoiser,
        codec,
        text_encoder=CLIPTextConfig(context_length=8, width=16, num_layers=2, num_heads=2, projection_width=16),
        text_embedding=TextEmbeddingConfig(),
        tokenizer=TokenizerConfig(context_length=8),
    )


PRESETS = {
    "coco": _COCO,
    "coco_cf": _with_null(_COCO, guidance_scale=3.0),
    "cub200": _COCO,
    "cub200_small": _CUB200_SMALL,
    "cc": _COCO,
    "laion_human": _COCO,
    "ithq": _ITHQ,
    "imagenet": _imagenet(1000),
    "imagenet_cf": _with_null(_imagenet(1001), guidance_scale=1.5, truncation_rate=0.94),
    "ffhq": _FFHQ,
    "emoji": _emoji(),
    "tiny_text": _tiny("text", "ema"),
    "tiny_class": _tiny("class", "vq"),
    "tiny_unconditional": _tiny("none", "gumbel"),
}


def preset(name: str) -> ModelConfig:
    """Return the ModelConfig of that name.  Raises ConfigError, naming the nearest one, if there is none."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{did_you_mean(name, PRESETS) or ';'} known: {', '.join(PRESETS)}")
    return PRESETS[name]
