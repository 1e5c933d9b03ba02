"""Sphinx configuration: the Markdown pages of this folder, and the public API from docstrings."""

import os
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

project = "FindRec, reproduced"
author = "FindRec benchmark contributors"
project_copyright = f"2025, {author}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "repository_links",
]
exclude_patterns = ["_build", "_ext"]
myst_heading_anchors = 4
highlight_language = "text"

# Where links to files outside docs/ lead: a workflow on GitHub has these variables. Without them
# such a file is copied into the site.
_server, _name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
repository_url = f"{_server}/{_name}/blob/{os.environ.get('GITHUB_SHA', 'main')}" if _name else ""

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Let blocks of CSV, which Pygments has no lexer for, stand as they are."""
    app.add_lexer("csv", TextLexer)
