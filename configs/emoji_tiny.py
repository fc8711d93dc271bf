"""A run of minutes on two CPU cores: 64 x 64 emoji and their names, as tokens of a small codec.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji
    python main.py --mode=train_vqgan --config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji
    python main.py --mode=tokenize --config=configs/emoji_tiny.py --codec=runs/vqgan_emoji/model --out=runs/emoji_tokens
    python main.py --mode=train --config=configs/emoji_tiny.py --config.data.cache=runs/emoji_tokens \\
        --codec=runs/vqgan_emoji/model --workdir=runs/emoji_tiny

Without a codec (leave out train_vqgan and tokenize, and cache and codec of the last) codec and text tower keep random
weights, which is enough to see a loss fall and a run resume.
"""

from vqdiffusion_jax.config import to_dict
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    model = to_dict(preset("emoji"))
    model["denoiser"] |= dict(
        width=64, num_layers=4, num_heads=4, num_timesteps=50, condition_width=64, condition_length=16
    )
    model["schedule"] |= dict(num_timesteps=50)
    model["text_encoder"] |= dict(width=64, context_length=16)
    model["tokenizer"] |= dict(context_length=16)
    return train_config_dict(
        model=model,
        train_text_encoder=True,
        data=dict(
            source="npz",
            root="data/emoji",
            options=dict(caption_template="{caption}, {style_word}", group_field="codepoint"),
            cache="",
            drop_rate=0.1,
            validation_fraction=0.05,
        ),
        batch_size=32,
        steps=2000,
        learning_rate=dict(start=1.0e-4, peak=2.0e-3, warmup_steps=100, patience=500),
        ema=dict(decay=0.9, interval=10),
        compute=dict(dtype="float32", remat=False),
        checkpoint=dict(every=200),
        watch=dict(
            log_every=20,
            eval_every=500,
            eval_batches=2,
            sample_every=500,
            prompts=("red heart", "grinning face", "yellow star"),
        ),
        untrained_towers=True,
        workers=0,
    )
