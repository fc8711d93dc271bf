r"""The second part of the embedded model's training: two things, most of them one above the other.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

trains this after configs/emoji300.py, from its weights: names are known by then, and which of two things lies where is
not.
"""

from configs import emoji300
from configs.vqgan_emoji300 import GRAMMAR

STEPS = 1000
EXAMPLES = 131_072
SHARES = dict(large=0.15, small=0.05, pair=0.6, count=0.12, mixed=0.08, vertical_rate=0.7, white_rate=0.55)


def get_config():
    config = emoji300.get_config()
    config.data.options.grammar = GRAMMAR | SHARES
    config.data.options.length = EXAMPLES
    config.steps = config.learning_rate.total_steps = STEPS
    config.learning_rate.peak = 1.5e-3
    config.learning_rate.warmup_steps = 20
    return config
