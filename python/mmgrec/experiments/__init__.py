"""Experiments: a results table from one configuration, beside baselines tuned on the same split."""
