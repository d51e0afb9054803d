"""From hidden vectors to items: constrained beam search."""
