"""Programs of ours that run inside a model's own environment: the standard library alone."""
