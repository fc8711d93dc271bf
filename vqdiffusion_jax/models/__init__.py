"""Networks: the denoiser, the VQGAN and CLIP, as Flax NNX modules that are plain pytrees."""
