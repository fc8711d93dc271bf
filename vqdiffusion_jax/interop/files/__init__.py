"""Containers of weights and settings: PyTorch's archives, safetensors, JSON and yaml tables."""
