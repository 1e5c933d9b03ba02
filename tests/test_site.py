"""The documentation's site: what is converted for it, and that its pages are complete."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from benchmark.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def extension(name):
    """A module of docs/_ext; they are Sphinx's and lie outside the packages."""
    pytest.importorskip("sphinx", reason="sphinx is not installed (extra docs)")
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(docstring):
    """A docstring as docutils shows it: text without markup, and what warnings there were."""
    rst = "\n".join(extension("plain_docstrings").to_rst(docstring.splitlines()))
    from docutils.core import publish_doctree

    warnings = []
    settings = {"report_level": 1, "halt_level": 5, "warning_stream": _Collect(warnings)}
    return publish_doctree(rst, settings_overrides=settings), warnings


class _Collect:
    def __init__(self, into):
        self.write = into.append


@pytest.mark.parametrize(
    "text",
    [
        "Shapes [B, L, D | M | M] and [*G, B, L]; names such as u_, delta_, __all__ and x_1.",
        "u *times* v, a ** b, `code`, |x - y|^2 and <factory>, .. and :: and [1]_.",
        "A trailing colon:",
    ],
)
def test_text_is_shown_as_it_is_written(text):
    """Nothing of it is markup but single backticks, which are dropped."""
    tree, warnings = rendered(text)
    assert warnings == []
    assert tree.astext() == text.replace("`", "")


def test_blocks_are_kept_and_lists_are_lists():
    docstring = (
        "First line.\n\n    B   users *in* a_ batch\n\n    L   positions\n\nRules (with `code`)\n"
        "    * one, over\n      two lines\n    * another\n\nLast line."
    )
    tree, warnings = rendered(docstring)
    assert warnings == []
    kinds = [type(node).__name__ for node in tree.children]
    assert kinds == ["paragraph", "literal_block", "paragraph", "bullet_list", "paragraph"]
    assert tree.children[1].astext() == "B   users *in* a_ batch\n\nL   positions"
    assert [item.astext() for item in tree.children[3].children] == [
        "one, over\ntwo lines",
        "another",
    ]


def test_parameters_are_paragraphs_and_go_on_indented():
    docstring = "Text\nthat goes on.\n\nx, y: [n, D] of\n    one dtype;\nmask: which are real.\n"
    tree, warnings = rendered(docstring)
    assert warnings == []
    shown = [node.astext().replace("\n", " ") for node in tree.children]
    assert shown == ["Text that goes on.", "x, y: [n, D] of one dtype;", "mask: which are real."]


def test_signatures_lose_constraints_and_factories():
    plain = extension("plain_docstrings").plain_signature
    text = (
        "(a: list[Annotated[X[int] | Y, Info(of=[(1, 2)])]], "
        "b: ~typing.Annotated[int, Ge(0)], c=<factory>)"
    )
    assert plain(text) == "(a: list[X[int] | Y], b: int, c=...)"


def test_links_out_of_the_docs_lead_to_the_repository():
    rewritten = extension("repository_links").rewritten
    text = "[a](../findrec/model.py) [b](tuning.md#log) [c](https://x.org) `../d`"
    url = "https://host/name/blob/main"
    assert rewritten(text, "protocol", url) == text.replace("../findrec", f"{url}/findrec")
    below = "[a](../audit.md) [b](../../results/t.md)"
    assert rewritten(below, "comparison/README", url) == (
        f"[a](../audit.md) [b]({url}/results/t.md)"
    )
    assert rewritten(below, "comparison/README", "") == (
        "[a](../audit.md) [b](path:../../results/t.md)"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_links_lead_to_files(page):
    """As a reader of the repository follows them."""
    missing = [
        to for to in LINK.findall(page.read_text("utf-8")) if not (page.parent / to).exists()
    ]
    assert missing == []


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text("utf-8")
    listed = {name for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
              for name in block.splitlines() if name and not name.startswith(":")}  # fmt: skip
    assert listed == {str(page.relative_to(DOCS))[:-3] for page in PAGES} - {"index"}


def test_the_page_of_commands_names_every_command_and_option():
    page = (DOCS / "commands.md").read_text("utf-8")
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*|[a-z]+(?:-[a-z]+)*\d?)(?![\w-])", page))
    named |= {f"table{at}" for at in range(2, 9)}  # "table1 ... table9"
    command = typer.main.get_command(app)
    missing = {
        f"{name} {option}"
        for name, its in command.commands.items()
        for parameter in its.params
        for option in parameter.opts[:1]
        if option.startswith("--") and option not in named
    }
    assert missing | (set(command.commands) - named) == set()
