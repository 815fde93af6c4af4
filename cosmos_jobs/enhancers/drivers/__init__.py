"""Programs of ours that run in a model's own Python; nothing here is imported by the package."""
