"""HTTP serving: FastAPI over the native engine, micro-batches, live edits, hot reload."""
