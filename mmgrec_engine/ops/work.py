"""What an op has to do: the numbers that benches and profiles hold against the machine's roof."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Floating-point operations (a multiply-add counts two), and bytes that must move.

    ``bytes`` is the floor: every input read once, every output written once.
    """

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.flops / max(self.bytes, 1)

    def floor_seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Return the least time on a machine with these two roofs."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)
