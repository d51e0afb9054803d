"""The ops: one name everywhere, one module each, with its contract and its reference."""
