"""The check of the built site finds what leads nowhere."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECK = runpy.run_path(str(ROOT / "docs/check_site.py"))


def test_a_dead_link_and_a_dead_place_are_named(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="page.html#here">x</a> <a href="page.html#gone">x</a> <img src="no.png">'
        ' <a href="https://example.org/never-opened">x</a> <a href="#top" id="top">x</a>'
    )
    (tmp_path / "page.html").write_text('<h1 id="here">x</h1> <a href="index.html">x</a>')
    assert CHECK["dead_links"](tmp_path) == ["index.html: no.png", "index.html: page.html#gone"]


def test_a_folder_without_a_site_is_refused(tmp_path: Path) -> None:
    assert CHECK["main"](str(tmp_path)) == 1
