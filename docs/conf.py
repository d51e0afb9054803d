"""How Sphinx builds the documentation site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

from mmgrec_engine import __version__

project = "mmgrec-engine"
author = "the mmgrec-engine authors"
copyright = f"{author}, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
    "source_pages",
]
exclude_patterns = ["experiments", "extensions", "static"]

# Headings' anchors and $formulas$ as GitHub shows them, so that a page reads the same there.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "page": "{{path}}"}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Two protocols of one name; this is the one that signatures mean.
autodoc_type_aliases = {"Scorer": "mmgrec.evaluation.baselines.base.Scorer"}
napoleon_google_docstring = False
napoleon_use_rtype = False
# Docstrings name things in single backticks; where that is a documented object, it becomes a link.
default_role = "py:obj"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"mmgrec-engine {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"
# Blocks without a language are commands, output and pseudo-code, not Python.
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "monokai"


def keep_sentences(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Give an attribute an empty type, or napoleon takes what precedes a colon for one."""
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[0] = f": {lines[0]}"


def setup(app: Sphinx) -> None:
    """Come before napoleon."""
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)
