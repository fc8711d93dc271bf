"""Names of settings as the page shows them, and errors in these names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import SettingError, one_line

TITLE = "VQ-Diffusion"
LABELS = {
    "num_images_per_prompt": "Images",
    "class_labels": "Class",
    "guidance_scale": "Guidance",
    "truncation_rate": "Truncation",
    "calls": "Steps",
    "num_inference_steps": "Inference steps",
    "image": "The picture to start from",
    "mask_image": "The mask",
    "outpaint": "Extend by",
}
LONGEST = 300  # characters of a message


def label_of(name: str) -> str:
    """Return the label of a setting's input."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


def told(error: Exception) -> str:
    """Return an error as one line for a visitor."""
    text = error.told(label_of) if isinstance(error, SettingError) else one_line(error)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@contextmanager
def told_to(complain: Callable[[str], None]) -> Iterator[None]:
    """Tell ``complain`` of an error in the block; one that is no ValueError, thus not foreseen, is logged too."""
    try:
        yield
    except ValueError as error:
        complain(told(error))
    except Exception as error:
        logging.exception("an event of the page could not be handled")
        complain(f"that cannot be done ({told(error)})")
