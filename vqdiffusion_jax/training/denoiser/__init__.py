"""Training of the denoiser, and of a small text tower with it."""
