"""How cases and figures of a report are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgrec.profiling.bench_schema import Report, Row

SKIPPED = {"constrained_topk": ("items", "children", "level")}
"""Parts of a case that follow from the others."""

BENCHES = {
    "relation_attention": "relation-aware attention",
    "rq_assign": "residual quantisation",
    "constrained_topk": "one constrained step",
    "constrained_search": "a search over given logits",
    "filter_prepare": "preparing denied items",
    "trie_build": "building a trie",
    "trie_memory": "memory of a trie",
    "trie_edits": "edits",
    "trie_compaction": "compaction",
    "engine_latency": "a request of one user",
    "engine_batch": "a batch of 64 users",
    "filtered_request": "a request with denied items",
    "retrieval_growth": "ten items of a growing catalogue",
    "serve_load": "serving over HTTP",
    "beam_self_attention": "self-attention of beams",
    "cross_attention_beams": "cross-attention of beams",
    "linear_norm": "linear map and norm",
    "feed_forward_norm": "feed-forward net and norm",
    "device_search": "requests on the GPU",
}


def by_bench(report: Report) -> dict[str, list[Row]]:
    """Group a report's rows."""
    found: dict[str, list[Row]] = {}
    for row in report["rows"]:
        found.setdefault(row["bench"], []).append(row)
    return found


def case_parts(row: Row) -> dict[str, str]:
    """Return what tells a case from others of its bench, in words."""
    skipped = SKIPPED.get(row["bench"], ())
    parts = {name: value for name, value in row["case"].items() if name not in skipped}
    parts = {name: value for name, value in parts.items() if not isinstance(value, list)}
    parts |= {name: row[name] for name in ("threads", "device") if name in row}
    return {name: count(value) for name, value in parts.items()}


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the names of the parts of a case that are not the same in all rows."""
    cases = [case_parts(row) for row in rows]
    names = dict.fromkeys(name for case in cases for name in case)
    return [name for name in names if len({case.get(name) for case in cases}) > 1]


def count(value: Any) -> str:  # noqa: ANN401 - what a case holds
    """Write a number of a case; large ones with separators."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Write seconds with three digits and a fitting unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            break
    return f"{three_digits(seconds * factor)} {unit}"


def three_digits(value: float) -> str:
    """Write a number with three digits, without exponents."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
