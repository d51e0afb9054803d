"""Training: stages, checkpoints, presets."""
