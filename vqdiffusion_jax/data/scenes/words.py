"""The things that a scene can be made of, and the words for them."""

from __future__ import annotations

CANVAS = 64  # pixels a side

COLOURS = {
    "white": (255, 255, 255),
    "black": (16, 16, 16),
    "grey": (128, 128, 128),
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 60),
    "green": (50, 150, 70),
    "blue": (45, 95, 215),
    "purple": (125, 60, 170),
    "pink": (250, 165, 200),
}

# How the drawings are made, with the word for it: five designers, not five filters.
STYLES = {
    "fluent-3d": "3d",
    "noto": "flat shaded",
    "twemoji": "flat",
    "fxemoji": "outlined",
    "fluent-color": "gradient",
}

SIZES = {"small": 28, "medium": 40, "large": 56}  # pixels

# By how many steps a drawing lies right of and below the middle.
POSITIONS = {
    "centre": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}

# A step, in pixels.  Drawings of one size lie alike on a grid of 8 pixels, so that a codec sees each in one way only.
STEPS = {"small": 16, "medium": 8}  # a large drawing fills the canvas and is always in the middle

# Of two drawings in reading order (left before right, above before below).
AXES = {"horizontal": ("left", "right"), "vertical": ("top", "bottom")}
PAIR_SIZE = "small"
