"""Sampling: settings of a call, strategies, guidance and truncation as data, and one loop that runs them."""

from .ancestral import Ancestral, ReferenceFast
from .editing import all_mask_start, composite, first_timestep_of, inpainting_start, noised_start, outpaint, token_mask
from .entropy_bound import EntropyBound
from .fewer_tokens import FewerTokens, PurityPrior
from .fields import check_fields, setting
from .guidance import Guidance, combine
from .infer_speed import strategy_from_infer_speed
from .loop import denoise, paired_logits, pairs, predictor
from .maskgit import MaskGIT
from .noise import KeyNoise, Noise, RecordedNoise, image_keys
from .registry import STRATEGIES
from .remask import Remask
from .reveal import default_counts, even_counts, reference_counts
from .settings import SamplingSettings
from .step_schedule import best_timesteps, bound_of
from .strategy import Plan, Strategy, noise_level
from .truncation import TopK, TopR, Truncation

__all__ = [
    "Ancestral",
    "EntropyBound",
    "FewerTokens",
    "Guidance",
    "KeyNoise",
    "MaskGIT",
    "Noise",
    "Plan",
    "PurityPrior",
    "RecordedNoise",
    "ReferenceFast",
    "Remask",
    "STRATEGIES",
    "SamplingSettings",
    "Strategy",
    "TopK",
    "TopR",
    "Truncation",
    "all_mask_start",
    "best_timesteps",
    "bound_of",
    "check_fields",
    "combine",
    "composite",
    "default_counts",
    "denoise",
    "even_counts",
    "first_timestep_of",
    "image_keys",
    "inpainting_start",
    "noise_level",
    "noised_start",
    "outpaint",
    "paired_logits",
    "pairs",
    "predictor",
    "reference_counts",
    "setting",
    "strategy_from_infer_speed",
    "token_mask",
]
