"""Links from pages into the source tree, which work on GitHub, lead to pages of the site here.

::

    reading a page:  ](../csrc/trie/trie.h)  becomes  ](page:source/csrc/trie/trie.h.html)
                     where that file or folder exists and is no page itself;
                     conf.py takes "page:" for a path as it stands
    writing:         one page for each that was linked: highlighted code, or a folder's list
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def link_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links that leave `docs/` to the pages that `pages` writes."""
    folder = (Path(app.srcdir) / docname).parent
    up = "../" * docname.count("/")

    def target(found: re.Match[str]) -> str:
        path = Path(os.path.normpath(folder / found["path"]))
        if path.is_relative_to(app.srcdir) or not path.is_relative_to(ROOT) or not path.exists():
            return found[0]  # a page, or a mistake that the check of links will name
        name = path.relative_to(ROOT).as_posix()
        linked(app.env).setdefault(docname, set()).add(name)
        return f"](page:{up}{page(name)}.html)"

    if app.env.doc2path(docname).suffix == ".md":
        source[0] = LINK.sub(target, source[0])


def linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return what each page links to, kept between builds with the pages themselves."""
    if not hasattr(env, "mmgrec_linked_sources"):
        env.mmgrec_linked_sources = {}
    return env.mmgrec_linked_sources


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop the links of a page that is read again."""
    linked(env).pop(docname, None)


def page(name: str) -> str:
    """Return the page of a file or folder of the tree."""
    return f"source/{name}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield (page, context, template) of everything that is linked."""
    wanted = set().union(*linked(app.env).values())
    # A folder's list leads to its files.
    for name in sorted(wanted):
        if (ROOT / name).is_dir():
            wanted |= {f"{name}/{path.name}" for path in entries(name)}
    for name in sorted(wanted):
        body = folder_list(name, wanted) if (ROOT / name).is_dir() else code(ROOT / name)
        heading = f"<h1><code>{html.escape(name)}</code></h1>"
        yield page(name), {"title": name, "body": heading + body, "parents": []}, "page.html"


def entries(name: str) -> list[Path]:
    """Return what a folder holds, without what tools leave there."""
    found = [p for p in (ROOT / name).iterdir() if not p.name.startswith((".", "__"))]
    return sorted((p for p in found if p.suffix != ".pyc"), key=lambda p: (p.is_file(), p.name))


def folder_list(name: str, wanted: set[str]) -> str:
    """Return the list of a folder's entries as HTML."""
    last = name.rsplit("/", 1)[-1]
    rows = []
    for path in entries(name):
        text = f"<code>{html.escape(path.name)}{'/' if path.is_dir() else ''}</code>"
        if f"{name}/{path.name}" in wanted:
            text = f'<a href="{last}/{path.name}.html">{text}</a>'
        rows.append(f"<li>{text}</li>")
    return f"<ul>{''.join(rows)}</ul>"


def code(path: Path) -> str:
    """Return a file's text as highlighted HTML."""
    text = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name if path.suffix != ".cu" else "x.cpp")
    except ClassNotFound:
        lexer = TextLexer()
    return str(highlight(text, lexer, HtmlFormatter(cssclass="highlight")))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the steps to Sphinx's."""
    app.connect("env-purge-doc", forget)
    app.connect("source-read", link_source)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
