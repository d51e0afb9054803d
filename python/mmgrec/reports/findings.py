"""What the figures say, in sentences: good, worth a look, or trouble, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DEAD_SHARE = 0.2
"""Share of codes without items from which a codebook counts as badly used."""
FEW_ALONE = 0.25
"""Share of the items with codes of their own below which the codes count as coarse."""
LARGE_GROUP_SHARE = 0.02
"""Share of the catalogue in one collision group from which it counts as crowded."""
BEAM_LOSS = 0.02
"""Share of the exact Recall@20 that beam search may lose."""
UNUSED = 0.01
"""Share of Recall@20 by which hiding a modality has to change it to count as used."""

Finding = dict[str, str]


def findings(figures: dict[str, Any]) -> list[Finding]:
    """Return ``{"kind": "good" | "look" | "trouble", "text": ...}``, the most important first."""
    found = [
        *_baselines(figures),
        *_training(figures),
        *_search(figures),
        *_codes(figures),
        *_catalogue(figures),
        *_modalities(figures),
    ]
    order = ("trouble", "look", "good")
    return sorted(found, key=lambda finding: order.index(finding["kind"]))


def _finding(kind: str, text: str) -> Finding:
    return {"kind": kind, "text": text}


def _baselines(figures: dict[str, Any]) -> Iterator[Finding]:
    for name, label in (("popular", "the most popular items"), ("itemknn", "ItemKNN")):
        found = figures["metrics"][name]["ours_minus_this"]["ndcg@20"]
        how = f"NDCG@20 {found['mean']:+.4f}, 95 % interval {found['low']:+.4f} to "
        how += f"{found['high']:+.4f}"
        if found["low"] > 0:
            yield _finding("good", f"Better than {label}: {how}.")
        elif found["high"] < 0:
            remedy = "Try another preset, more epochs or other levels with mmgrec experiment."
            yield _finding("trouble", f"Worse than {label}: {how}. {remedy}")
        else:
            yield _finding("look", f"Not told apart from {label} on these users: {how}.")


def _training(figures: dict[str, Any]) -> Iterator[Finding]:
    if not figures["training"]:
        yield _finding(
            "look",
            "The run has no training logs, so whether it was trained to the end cannot be told.",
        )
    for stage in figures["training"]:
        scores = stage["validation"]
        if len(scores) > 1 and scores[-1][1] == max(score for _, score in scores):
            yield _finding(
                "look",
                f"The last validation of the stage {stage['stage']} was its best: more epochs "
                "could help.",
            )


def _search(figures: dict[str, Any]) -> Iterator[Finding]:
    beam, exact = (figures["recall_curve"][name][19] for name in ("mmgrec", "exact"))
    width, proven = figures["beam_width"], figures["certified"]["mmgrec"]
    if beam < (1 - BEAM_LOSS) * exact:
        yield _finding(
            "trouble",
            f"{width} beams lose Recall@20: {beam:.4f} against {exact:.4f} of the exact search. "
            "Search with more beams, or exactly.",
        )
    else:
        yield _finding(
            "good",
            f"{width} beams suffice: Recall@20 {beam:.4f}, exact search {exact:.4f}; "
            f"{proven:.0%} of the lists of {len(figures['recall_curve']['mmgrec'])} are proven.",
        )


def _codes(figures: dict[str, Any]) -> Iterator[Finding]:
    items = figures["run"]["data"]["items"]
    dead = [
        level
        for level in figures["codes"]
        if level["dead_codes"] > DEAD_SHARE * min(level["codes"], items)
    ]
    for level in dead:
        yield _finding(
            "trouble",
            f"Level {level['level'] + 1}: {level['dead_codes']} of {level['codes']} codes have no "
            "item. A smaller codebook, or k-means codes, would use them better.",
        )
    yield _collisions(figures["collisions"], items, bool(dead))


def _collisions(collisions: dict[str, Any], items: int, dead: bool) -> Finding:
    largest, alone = collisions["largest"], f"{collisions['alone_share']:.0%}"
    if largest > max(LARGE_GROUP_SHARE * items, 20):
        return _finding(
            "trouble",
            f"{largest} items share one tuple of codes, so that only the collision token tells "
            "them apart. More codes or one more level would.",
        )
    if collisions["alone_share"] < FEW_ALONE:
        return _finding(
            "look",
            f"Only {alone} of the items have a tuple of codes of their own; the others are told "
            "apart by their rank by popularity. More codes or one more level would tell more.",
        )
    used = "" if dead else "The codes are well used, and "
    share = f"{alone} of the items have a tuple of their own before the collision token."
    return _finding("good", used + share)


def _catalogue(figures: dict[str, Any]) -> Iterator[Finding]:
    ours, knn = (figures["metrics"][name]["coverage@20"] for name in ("mmgrec", "itemknn"))
    if ours < 0.5 * knn:
        yield _finding(
            "look",
            f"{ours:.0%} of the catalogue is recommended to anybody, {knn:.0%} by ItemKNN: rare "
            "items get little.",
        )
    unseen = [bucket for bucket in figures["by_training_count"] if bucket["to"] == 0]
    for bucket in unseen:
        share = bucket["recall@20"]["mmgrec"]
        if share == 0:
            yield _finding(
                "look",
                f"None of the {bucket['interactions']} held-out interactions with items that "
                "nobody had in training is found. docs/results.md tells how to measure new items.",
            )


def _modalities(figures: dict[str, Any]) -> Iterator[Finding]:
    rows = figures["modalities"] or []
    whole = rows[0]["recall@20"]["mmgrec"] if rows else 0.0
    for row in rows[1:]:
        change = row["recall@20"]["mmgrec"] - whole
        if abs(change) < UNUSED * whole:
            yield _finding(
                "look",
                f"The trained model does as well {row['case']}: it hardly uses "
                f"{'them' if row['case'] == 'without any' else 'it'} for items that have "
                "interactions.",
            )
