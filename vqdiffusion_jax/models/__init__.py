"""Networks: the denoiser, the VQGAN and CLIP, all Flax NNX modules used as plain pytrees."""
