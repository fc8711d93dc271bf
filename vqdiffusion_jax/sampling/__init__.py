"""Sampling: strategies, guidance and truncation as data, and one loop that runs them."""

from .editing import all_mask_start, composite, first_timestep_of, inpainting_start, noised_start, outpaint, token_mask
from .guidance import Guidance, combine
from .loop import denoise, paired_logits, predictor
from .noise import KeyNoise, Noise, RecordedNoise, image_keys
from .reveal import default_counts, even_counts, reference_counts
from .steppers import Ancestral, FewerTokens, Plan, PurityPrior, ReferenceFast, Strategy, strategy_from_infer_speed
from .truncation import TopK, TopR, Truncation

__all__ = [
    "Ancestral",
    "FewerTokens",
    "Guidance",
    "KeyNoise",
    "Noise",
    "Plan",
    "PurityPrior",
    "RecordedNoise",
    "ReferenceFast",
    "Strategy",
    "TopK",
    "TopR",
    "Truncation",
    "all_mask_start",
    "combine",
    "composite",
    "default_counts",
    "denoise",
    "even_counts",
    "first_timestep_of",
    "image_keys",
    "inpainting_start",
    "noised_start",
    "outpaint",
    "paired_logits",
    "predictor",
    "reference_counts",
    "strategy_from_infer_speed",
    "token_mask",
]
