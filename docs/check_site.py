"""Follows every link and image of the built site: `check_site.py FOLDER`.

Links within the site have to lead to a file and, with a #fragment, to a place in it. Links to other
sites are not opened: a build must not depend on the network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and ids."""
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            if name in ("href", "src") and value is not None:
                self.links.add(value)


def dead_links(site: Path) -> list[str]:
    """Return "page: link" for every link within the site that leads nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            known = pages.get(target)
            if not target.is_file() or (place and known and place not in known.places):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    return dead


def main(folder: str) -> int:
    """Print what is dead; 1 if anything is."""
    site = Path(folder)
    if not (site / "index.html").is_file():
        print(f"{site} holds no site")
        return 1
    dead = dead_links(site)
    print(*dead, sep="\n", end="\n" if dead else "")
    print(f"{sum(1 for _ in site.rglob('*.html'))} pages, {len(dead)} dead links")
    return bool(dead)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
