"""The judge: a network, trained on real composed pictures, that tells whether drawn ones follow their text."""

from .files import load_judge, save_judge
from .model import Judge, JudgeConfig
from .verdict import Verdicts, agreement, judge_features, judge_pictures

__all__ = [
    "Judge",
    "JudgeConfig",
    "Verdicts",
    "agreement",
    "judge_features",
    "judge_pictures",
    "load_judge",
    "save_judge",
]
