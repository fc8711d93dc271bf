"""A run of minutes on two CPU cores: 64 x 64 emoji and their names.

    python main.py --mode=train --config=configs/emoji_tiny.py --workdir=runs/emoji

For tokens that mean something give a codec (--init_from, or data.cache made with
one); without it codec and text tower keep random weights, which is enough to
see a loss fall and a run resume.
"""

from configs._table import table
from vqdiffusion_jax.config import to_dict
from vqdiffusion_jax.presets import preset


def get_config():
    model = to_dict(preset("tiny_text"))
    model["codec"] |= dict(image_size=64, codebook_size=256, channels=16, norm_groups=8)
    model["codec"] |= dict(channel_multipliers=(1, 2, 2, 2), attention_levels=(3,))
    model["denoiser"] |= dict(num_codes=256, grid=(8, 8), width=64, num_layers=4, num_heads=4, num_timesteps=50)
    model["denoiser"] |= dict(condition_width=64, condition_length=16)
    model["schedule"] |= dict(num_codes=256, num_timesteps=50)
    model["text_encoder"] |= dict(width=64, num_layers=2, num_heads=4, context_length=16)
    model["tokenizer"] |= dict(context_length=16)
    return table(
        model=model,
        data=dict(source="npz", root="../shared/data/emoji64", options={}, cache="", drop_rate=0.1, validation_fraction=0.05),
        batch_size=32,
        steps=2000,
        learning_rate=dict(start=1.0e-4, peak=2.0e-3, warmup_steps=100, patience=500),
        ema=dict(decay=0.9, interval=10),
        compute=dict(dtype="float32", remat=False),
        checkpoint=dict(every=200),
        watch=dict(log_every=20, eval_every=500, eval_batches=2, sample_every=500, prompts=("red heart", "grinning face", "yellow star")),
        untrained_towers=True,
        workers=0,
    )
