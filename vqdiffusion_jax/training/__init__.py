"""Training: one readable loop, and a task for each kind of network."""
