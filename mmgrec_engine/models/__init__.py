"""The neural models: graph encoder, residual quantiser, recommender."""
