"""Configurations for somebody's own pictures, chosen from what a folder holds and from the machine."""

from .choice import Choice, Machine, choose
from .configuration import codec_config, denoiser_config

__all__ = ["Choice", "Machine", "choose", "codec_config", "denoiser_config"]
