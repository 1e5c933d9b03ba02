"""Docstrings of this project as reStructuredText.

They are written to be read in the source: paragraphs, lists, indented blocks (glossaries, formulas)
and code between backticks. Read as reStructuredText, a shape such as [B, L, D | M] or a name such
as `u_` would be markup. So text is escaped, code becomes a literal, and an indented block that is
not a list is kept as it stands.
"""

import re
import textwrap
from itertools import groupby

from sphinx.application import Sphinx

BULLET = re.compile(r"\s*(?:[*-]|\d+\.) ")
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
SPECIAL = re.compile(r"[\\*`|_]")


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a dedented docstring as reStructuredText."""
    kinds, kind = [], ""
    for line in lines:
        if not line.strip():
            kind = ""
        elif BULLET.match(line):
            kind = "list"
        elif not line.startswith(" "):
            kind = "text"
        elif kind != "list":  # an indented line below an item belongs to it
            kind = "block"
        kinds.append(kind)
    for at in range(1, len(kinds) - 1):  # a blank line within a block belongs to it
        if kinds[at - 1] == "block" and kinds[at] == "" and kinds[at + 1] == "block":
            kinds[at] = "block"
    rst = []
    for kind, group in groupby(zip(kinds, lines, strict=True), key=lambda pair: pair[0]):
        block = textwrap.dedent("\n".join(line for _, line in group))
        if kind == "list":
            rst += [
                part for item in re.split(rf"\n(?={BULLET.pattern})", block) for part in _item(item)
            ]
        elif kind == "block":
            rst += ["::", "", *textwrap.indent(block, "    ").splitlines()]
        elif kind == "text":
            rst += _escaped(block).splitlines()
        rst.append("")
    return rst


def _item(text: str) -> list[str]:
    marker, _, content = text.strip().partition(" ")
    first, *others = (line.strip() for line in _escaped(content).splitlines())
    return [f"{marker} {first}", *(" " * (len(marker) + 1) + line for line in others)]


def _escaped(text: str) -> str:
    parts, end = [], 0
    for code in CODE.finditer(text):
        literal = " ".join(code[2].split())
        parts += [SPECIAL.sub(r"\\\g<0>", text[end : code.start()]), rf"\ ``{literal}``\ "]
        end = code.end()
    return "".join([*parts, SPECIAL.sub(r"\\\g<0>", text[end:])])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the conversion with Sphinx."""

    def convert(
        _app: Sphinx, _what: str, _name: str, _obj: object, _opts: object, lines: list[str]
    ) -> None:
        lines[:] = to_rst(lines)

    def without_factory(
        _app: Sphinx,
        _w: str,
        _n: str,
        _o: object,
        _opts: object,
        signature: str | None,
        result: str,
    ) -> tuple[str | None, str]:
        """A field's default_factory is shown as `<factory>`, which Sphinx cannot parse."""
        return signature and signature.replace("<factory>", "..."), result

    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-process-signature", without_factory)
    return {"parallel_read_safe": True}
