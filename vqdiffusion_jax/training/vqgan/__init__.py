"""Training the image codec, stage one of VQ-Diffusion (Esser et al. 2021)."""
