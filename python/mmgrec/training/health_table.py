"""The health of a set of Rec-IDs, laid out for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from mmgrec_engine.rec_ids.health import RecIdHealth


def health_table(health: RecIdHealth, level_sizes: Sequence[int]) -> Table:
    """Lay out code usage per level, and collisions and reconstruction of the whole."""
    table = Table(
        title=f"Rec-IDs of {health.num_items:,} items",
        caption=(
            f"{health.unique_share:.1%} of the tuples are unique before the collision token, which "
            f"has {level_sizes[-1]} values (largest group {health.largest_group}); "
            f"reconstruction error {health.reconstruction_error:.3f} of the variance"
        ),
    )
    for name in ("level", "codes", "perplexity", "dead codes", "undecided"):
        table.add_column(name, justify="right")
    for level in health.levels:
        table.add_row(
            str(level.level),
            str(level.codebook_size),
            f"{level.perplexity:.1f}",
            str(level.dead_codes),
            "-" if level.undecided_share is None else f"{level.undecided_share:.1%}",
        )
    return table
