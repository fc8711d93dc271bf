r"""The embedded model: emoji on coloured backgrounds, single and in pairs, drawn from composed captions.

    python -m vqdiffusion_jax.data.emoji --out=data/emoji
    python main.py --mode=train_vqgan --config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji
    python main.py --mode=tokenize --config=configs/emoji.py --codec=runs/vqgan_emoji/model \
        --out=runs/scene_tokens --split=train
    python main.py --mode=tokenize --config=configs/emoji.py --codec=runs/vqgan_emoji/model \
        --out=runs/scene_tokens --split=validation --config.data.options.length=256
    python main.py --mode=train --config=configs/emoji.py --codec=runs/vqgan_emoji/model \
        --config.data.cache=runs/scene_tokens --workdir=runs/emoji

Denoiser and text tower learn together.  ``concepts`` is how many of data/scenes/concepts.txt there are: 16 is what
two CPU cores can be taught in an hour or two; with an accelerator take them all (0), and a wider denoiser.  Muon
learns the text several times as fast as AdamW, whose steps drown the small gradients of rare words.
"""

from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config():
    return train_config_dict(
        model="emoji",
        train_text_encoder=True,
        data=dict(
            source="scenes",
            root="data/emoji",
            options=dict(concepts=16, complete_rate=0.5, length=61_440),
            cache="",
            drop_rate=0.1,
        ),
        batch_size=32,
        accumulation=4,  # activations of 8 pictures stay in a core's cache
        steps=4000,
        optimizer=dict(name="muon", b2=0.99, clip_norm=1.0, decayed="matrices"),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=1.5e-3, floor=1.0e-5, warmup_steps=100, total_steps=4000
        ),
        ema=dict(decay=0.99, interval=5),
        compute=dict(dtype="float32", remat=False),
        checkpoint=dict(every=500),
        watch=dict(
            log_every=50,
            eval_every=1000,
            eval_batches=2,
            sample_every=500,
            prompts=(
                "a red apple",
                "a cat face on a blue background",
                "a rocket to the left of a star on a black background",
                "a small panda in the top left corner, yellow background",
            ),
        ),
        workers=0,
    )
