r"""The last part of the embedded model's training: all that people ask for, colours and backgrounds above all.

    python -m benchmarks.emoji_cpu --out=runs/emoji300

trains this after configs/emoji300_pairs.py, from its weights: where things lie is known by then, and some of what the
many pairs have made it forget comes back.
"""

from configs import emoji300

STEPS = 400
EXAMPLES = 65_536
SHARES = dict(
    large=0.46, small=0.04, pair=0.22, count=0.2, mixed=0.08, vertical_rate=0.6, white_rate=0.45, colour_rate=0.8
)


def get_config():
    return emoji300.later_part(SHARES, EXAMPLES, STEPS, peak=1.2e-3)
