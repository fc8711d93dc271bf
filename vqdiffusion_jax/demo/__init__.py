"""A page to play on: what a visitor asks for, how it is drawn step by step, and the page itself (``view``, which alone knows NiceGUI)."""
