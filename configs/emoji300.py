r"""The embedded model: 369 things as people call them, counted, coloured and in pairs, learned on two CPU cores.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

makes drawings, codec and tokens and trains this; repeated, it goes on where it was stopped.  By hand, once the tokens
are there:

    python main.py --mode=train --config=configs/emoji300.py --codec=runs/emoji300/codebook \
        --config.data.cache=runs/emoji300/tokens --workdir=runs/emoji300/denoiser

Each masked token counts alike, and seven in a hundred of those that are not masked are replaced.
"""

from configs.vqgan_emoji300 import CODEC, GRAMMAR, data
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

WORDS, MERGES, TEXT_WIDTH, REPLACED = 24, 4096, 192, 0.07
STEPS = 6000
EXAMPLES = 204_800


def model():
    return ModelConfig(
        codec=CODEC,
        denoiser=DenoiserConfig(
            condition="text",
            num_codes=CODEC.num_codes,
            grid=CODEC.grid,
            position_grid=CODEC.grid,
            width=256,
            num_layers=6,
            num_heads=8,
            timestep_embedding="sinusoidal",
            condition_width=TEXT_WIDTH,
            condition_length=WORDS,
            learnable_null=True,
        ),
        schedule=ScheduleConfig(
            num_codes=CODEC.num_codes,
            keep_start=(1 - REPLACED) * (1 - 9.0e-6),
            keep_end=(1 - REPLACED) * 1.0e-5,
        ),
        objective=ObjectiveConfig(name="masked_cross_entropy", options=dict(label_smoothing=0.0, unmasked_weight=0.1)),
        sampling=SamplingDefaults(
            strategy="maskgit", strategy_options=dict(num_inference_steps=20), truncation_rate=0.5
        ),
        text_encoder=CLIPTextConfig(
            vocab_size=2 * 256 + MERGES + 2,
            context_length=WORDS,
            width=TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            projection_width=TEXT_WIDTH,
        ),
        text_embedding=TextEmbeddingConfig(normalize=False),
        tokenizer=TokenizerConfig(end_index=256 + 2 + MERGES, context_length=WORDS),
    )


def get_config():
    shares = dict(large=0.5, small=0.05, pair=0.2, count=0.2, mixed=0.05, white_rate=0.55)
    return train_config_dict(
        model=to_dict(model()),
        train_text_encoder=True,
        data=data(grammar=GRAMMAR | shares, length=EXAMPLES) | dict(drop_rate=0.1),
        batch_size=128,
        accumulation=4,  # activations of 32 pictures: more at once is slower
        steps=STEPS,
        optimizer=dict(name="muon", b2=0.99, clip_norm=1.0, decayed="matrices"),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=2.0e-3, floor=2.0e-5, warmup_steps=100, total_steps=STEPS
        ),
        ema=dict(decay=0.99, interval=1),  # a thousand steps before the end 0.999 is better (--config.ema.decay=0.999)
        compute=dict(dtype="bfloat16", remat=False, scan_layers=False),  # unrolled layers are half as fast again
        checkpoint=dict(every=50),
        watch=dict(
            log_every=10,
            eval_every=0,
            sample_every=100,
            prompts=("a red apple", "three cats", "a blue car", "a cat to the left of a dog", "sun on black", "rocket"),
            num_samples=2,
        ),
        workers=0,
    )


def later_part(shares, examples, steps, peak):
    """The configuration of a part that comes after this one: other shares of pictures, another number of steps."""
    config = get_config()
    config.data.options.grammar = GRAMMAR | shares
    config.data.options.length = examples
    config.steps = config.learning_rate.total_steps = steps
    config.learning_rate.peak = peak
    config.learning_rate.warmup_steps = 20
    return config
