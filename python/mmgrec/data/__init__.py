"""Data sets: get, import, split, describe."""
