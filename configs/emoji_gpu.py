r"""All concepts at 128 x 128 pixels on one GPU; benchmarks/emoji_gpu.py runs this and what precedes it.

    python main.py --mode=train --config=configs/emoji_gpu.py --codec=runs/vqgan_emoji_gpu/model \
        --workdir=runs/emoji_gpu

Pictures are composed by worker processes and encoded in the training step, so that no example comes twice.  Of the
tokens that are not masked seven in a hundred are replaced, which teaches the denoiser to mend a wrong one.
"""

from configs.vqgan_emoji_gpu import CODEC, DATA
from vqdiffusion_jax.config import (
    CLIPTextConfig,
    DenoiserConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingDefaults,
    ScheduleConfig,
    TextEmbeddingConfig,
    TokenizerConfig,
    to_dict,
)
from vqdiffusion_jax.training.config_dict import train_config_dict

WORDS, MERGES, TEXT_WIDTH, REPLACED = 32, 8192, 256, 0.07


def model():
    return ModelConfig(
        codec=CODEC,
        denoiser=DenoiserConfig(
            condition="text",
            num_codes=CODEC.num_codes,
            grid=CODEC.grid,
            position_grid=CODEC.grid,
            width=512,
            num_layers=12,
            num_heads=8,
            condition_width=TEXT_WIDTH,
            condition_length=WORDS,
            learnable_null=True,
        ),
        schedule=ScheduleConfig(
            num_codes=CODEC.num_codes,
            keep_start=(1 - REPLACED) * (1 - 9.0e-6),
            keep_end=(1 - REPLACED) * 1.0e-5,
        ),
        objective=ObjectiveConfig(auxiliary_weight=1.0, auxiliary_weighting="constant"),
        sampling=SamplingDefaults(guidance_scale=1.0, truncation_rate=0.86),
        text_encoder=CLIPTextConfig(
            vocab_size=2 * 256 + MERGES + 2,
            context_length=WORDS,
            width=TEXT_WIDTH,
            num_layers=3,
            num_heads=4,
            projection_width=TEXT_WIDTH,
        ),
        text_embedding=TextEmbeddingConfig(normalize=False),
        tokenizer=TokenizerConfig(end_index=256 + 2 + MERGES, context_length=WORDS),
    )


def get_config():
    return train_config_dict(
        model=to_dict(model()),
        train_text_encoder=True,
        data=DATA | dict(drop_rate=0.1),
        batch_size=256,
        steps=10_000,
        optimizer=dict(name="muon", b2=0.99, clip_norm=1.0, decayed="matrices"),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=2.0e-3, floor=2.0e-5, warmup_steps=200, total_steps=10_000
        ),
        ema=dict(decay=0.999, interval=1),
        compute=dict(dtype="bfloat16", remat=False),
        checkpoint=dict(every=2000),
        watch=dict(
            log_every=100,
            eval_every=5000,
            eval_batches=2,
            sample_every=2000,
            prompts=("a red apple", "three cats", "a blue car", "a cat to the left of a dog", "sun on black"),
        ),
        workers=12,
    )
