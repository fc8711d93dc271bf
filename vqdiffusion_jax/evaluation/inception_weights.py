"""The Inception network from pytorch-fid's file, and what that file is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import EvaluationSettingError
from ..interop.engine import Ignore, Rule, apply, conv_kernel, dense, key, unapply
from ..interop.files.torch_zip import open_checkpoint, state_dict
from ..models.shapes import shapes_of
from .inception import Inception

FILE = "pt_inception-2015-12-05-6726825d.pth"
WHERE = "a release file of mseitzer/pytorch-fid, kept by PyTorch in ~/.cache/torch/hub/checkpoints"

# Their name of a module: ours.  Inside a block the branches are named alike.
_STEM = {
    "Conv2d_1a_3x3": "stem1a",
    "Conv2d_2a_3x3": "stem2a",
    "Conv2d_2b_3x3": "stem2b",
    "Conv2d_3b_1x1": "stem3b",
    "Conv2d_4a_3x3": "stem4a",
}
_BLOCKS = {
    "Mixed_5b": "mixed5.0",
    "Mixed_5c": "mixed5.1",
    "Mixed_5d": "mixed5.2",
    "Mixed_6a": "mixed6a",
    "Mixed_6b": "mixed6.0",
    "Mixed_6c": "mixed6.1",
    "Mixed_6d": "mixed6.2",
    "Mixed_6e": "mixed6.3",
    "Mixed_7a": "mixed7a",
    "Mixed_7b": "mixed7b",
    "Mixed_7c": "mixed7c",
}
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}


def _conv_norm(foreign: str, ours: str) -> list[Rule]:
    """``foreign`` is a pattern, ``ours`` may use its groups."""
    return [
        Rule(rf"{foreign}\.conv\.weight", f"{ours}.conv.kernel", conv_kernel),
        *(Rule(rf"{foreign}\.bn\.{theirs}", f"{ours}.{name}") for theirs, name in _NORM.items()),
    ]


RULES = [
    *(rule for theirs, ours in _STEM.items() for rule in _conv_norm(theirs, ours)),
    *(
        rule
        for theirs, ours in _BLOCKS.items()
        for rule in _conv_norm(rf"{theirs}\.(?P<branch>\w+)", f"{ours}.{{branch}}")
    ),
    *dense("fc", "head"),
]
IGNORES = (
    Ignore(r".*\.num_batches_tracked", "a counter of training"),
    Ignore(key("AuxLogits.") + ".*", "the auxiliary classifier, which is used in training alone"),
)


def load_inception(path: str | Path) -> Inception:
    """Return the network from pytorch-fid's file (or a state dict of the same names).

    Raises EvaluationSettingError, which names the right file, if nothing is there; CheckpointError or ConversionError
    for another file.
    """
    path = Path(path)
    if not path.exists():
        raise EvaluationSettingError(
            "{inception}={value} does not exist; the file is {file}, {where}", value=path, file=FILE, where=WHERE
        )
    return from_tensors(state_dict(open_checkpoint(path)), what=str(path))


def from_tensors(tensors: Mapping[str, Any], *, what: str = "the file") -> Inception:
    """Return the network from pytorch-fid's names.  Raises ConversionError for other keys."""
    model, _ = apply(RULES, IGNORES, tensors, shapes_of(Inception), what=what)
    return jax.tree.map(jax.numpy.asarray, model)


def to_tensors(model: Inception) -> dict[str, np.ndarray]:
    """Return the network under pytorch-fid's names, without its counters."""
    return unapply(RULES, model)
