"""The reference's training checkpoints (.pth) and its yaml files."""
