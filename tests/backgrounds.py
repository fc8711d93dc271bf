"""The background of a picture that an embedded model drew."""

import numpy as np

from vqdiffusion_jax.data.scenes.words import COLOURS

ASKED = ("red", "yellow", "green", "blue", "black", "white", "pink", "purple")


def background(picture: np.ndarray) -> np.ndarray:
    """Return the commonest colour along the edge, which drawings leave free."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.median(edge, axis=0)


def check_backgrounds(pictures) -> None:
    """Check that the pictures lie on the colours of ``ASKED``."""
    for picture, colour in zip(pictures, ASKED, strict=True):
        distances = {name: np.abs(background(picture) - np.array(rgb)).mean() for name, rgb in COLOURS.items()}
        assert min(distances, key=distances.get) == colour, distances
        assert distances[colour] < 16
