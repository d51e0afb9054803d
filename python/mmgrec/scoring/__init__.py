"""Batch scoring: Parquet with users in, sharded Parquet with their recommended items out."""
