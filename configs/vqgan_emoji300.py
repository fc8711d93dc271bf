r"""The codec of configs/emoji300.py: 64 x 64 pixels to 8 x 8 tokens of 4096 codes, on two CPU cores.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

A token is made of 8 x 8 pixels, so a drawing has the same tokens wherever it lies on a grid of 8 pixels.  Encoder and
codebook are principal components and k-means of those squares (benchmarks/_emoji_codebook.py), which take minutes and
fix all tokens; then the decoder is trained, which makes a square from nine tokens and so tells apart what shares a
code.  It can go on learning beside and after the denoiser.  By hand, once the codebook is there:

    python main.py --mode=train_vqgan --config=configs/vqgan_emoji300.py --init_from=runs/emoji300/codebook \
        --workdir=runs/emoji300/decoder
"""

from vqdiffusion_jax.config import VQGANConfig
from vqdiffusion_jax.training.config_dict import vqgan_config_dict

# The first style that has a drawing that shows on white; one drawing a concept.
STYLES = ("fluent-flat", "fluent-3d", "fluent-color", "emojione", "noto", "plain")
CONCEPTS = 369  # of vocabulary.txt: 357 things and 12 plain shapes; letters and digits follow
# Drawings that look like themselves in any colour, as people ask for it.
RECOLOURED = (
    *("red apple", "red heart", "star", "balloon", "fish", "t-shirt", "umbrella", "dress", "frog", "bird", "rose"),
    *("tulip", "necktie", "bell pepper", "backpack", "crab", "whale", "automobile", "tractor", "wrapped gift"),
    *("butterfly", "cat face", "dog face", "house", "mushroom", "billed cap", "handbag", "high-heeled shoe", "scarf"),
    *("gem stone", "key", "crown", "octopus", "teapot", "candle", "leaf fluttering in wind", "gloves", "jeans"),
    *("pencil", "crayon", "turtle", "dolphin", "sauropod", "fire", "chair", "door", "locked", "hibiscus"),
    *("cherry blossom", "sunflower", "ribbon", "droplet", "coat", "yarn", "magnet", "egg", "owl", "bear", "spider"),
    *("snowflake", "delivery truck", "snake", "jack-o-lantern", "sailboat"),
)
CODEC = VQGANConfig(
    quantizer="ema",
    codebook_size=4096,
    embed_dim=64,
    image_size=64,
    channels=512,
    channel_multipliers=(1, 1, 1, 1),
    num_res_blocks=2,
    attention_levels=(),
    z_channels=64,
    norm_groups=8,
    encoder_window=8,
    network="linear",
)
OPTIONS = dict(concepts=CONCEPTS, styles=STYLES, one_style_each=True, recoloured=RECOLOURED)
GRAMMAR = dict(colour_rate=0.5, kinds_held_out=("background", "relation"))


def data(**options):
    return dict(source="compositions", root="data/emoji128", options=OPTIONS | options, cache="")


def get_config():
    # Much to draw: a square of background teaches nothing.
    shares = dict(large=0.55, small=0.0, pair=0.15, count=0.3, mixed=0.0, white_rate=0.5)
    return vqgan_config_dict(
        codec=CODEC,
        data=data(grammar=GRAMMAR | shares),
        decoder_only=True,
        reconstruction=dict(l1=0.5, l2=4.0),
        batch_size=64,
        steps=5000,
        optimizer=dict(b1=0.9, b2=0.99),
        learning_rate=dict(
            schedule="cosine", start=1.0e-5, peak=1.5e-3, floor=1.0e-5, warmup_steps=100, total_steps=5000
        ),
        ema=dict(decay=0.99, interval=1),
        compute=dict(dtype="bfloat16", remat=False),
        checkpoint=dict(every=100),
        watch=dict(log_every=25, eval_every=500, eval_batches=4, sample_every=250, num_samples=16),
        workers=0,
    )
