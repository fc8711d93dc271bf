"""Foreign checkpoint formats, read and written through key tables."""
