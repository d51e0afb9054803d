"""From code tuples to Rec-IDs: k-means, collision tokens, health."""
