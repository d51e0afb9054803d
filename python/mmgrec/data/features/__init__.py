"""Features from what items carry: text and images."""
