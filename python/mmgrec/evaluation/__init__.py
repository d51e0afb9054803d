"""Evaluation: metrics, baselines, the protocol."""
