"""Training of the denoiser: one jitted step, one readable loop."""
