"""Progress bars of stages."""

from __future__ import annotations

import io

from rich.console import Console

from mmgrec.training.reporter import Reporter


def test_a_resumed_stage_shows_the_best_score_of_all_its_epochs() -> None:
    shown = io.StringIO()
    report = Reporter(Console(file=shown, force_terminal=True, width=120), None)
    with report.stage("graph", 9, done=2, best=0.5) as bar:
        bar.epoch(3, loss=1.0, score=0.4)
    assert "loss 1.0000  best 0.5000" in shown.getvalue()
