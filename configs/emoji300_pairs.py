r"""The second part of the embedded model's training: two things, most of them one above the other.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

trains this after configs/emoji300.py, from its weights: names are known by then, and which of two things lies where is
not.
"""

from configs import emoji300

STEPS = 1000
EXAMPLES = 131_072
SHARES = dict(large=0.15, small=0.05, pair=0.6, count=0.12, mixed=0.08, vertical_rate=0.7, white_rate=0.55)


def get_config():
    return emoji300.later_part(SHARES, EXAMPLES, STEPS, peak=1.5e-3)
