"""Docstrings of this project as reStructuredText.

They are written to be read in the source: paragraphs, lists, indented blocks (glossaries, formulas)
and code between backticks. Read as reStructuredText, a shape such as [B, L, D | M] or a name such
as `u_` would be markup. So text is escaped, code becomes a literal, and an indented block that is
not a list is kept as it stands. A parameter's line ("name: what it is") may go on indented.
"""

import re
import textwrap
from itertools import groupby
from typing import Any

from sphinx.application import Sphinx

BULLET = re.compile(r"\s*(?:[*-]|\d+\.) ")
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
ANNOTATED = re.compile(r"(?:~?\w+\.)?Annotated\[")
PARAMETER = re.compile(r"[\w, ]+: \S")
SPECIAL = re.compile(r"[\\*`|_]")


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a dedented docstring as reStructuredText."""
    kinds = _kinds(lines)
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
        elif kind.startswith("text"):
            rst += _escaped(re.sub(r"\n +", "\n", block)).splitlines()
        rst.append("")
    return rst


def _kinds(lines: list[str]) -> list[str]:
    """Of each line: "" (blank), "list", "block" or "text", numbered so that paragraphs differ."""
    kinds: list[str] = []
    kind, paragraph, parameter, hanging = "", 0, False, False
    for line in lines:
        indented = line.startswith(" ")
        if not line.strip():
            kind = ""
        elif BULLET.match(line):
            kind = "list"
        elif indented and (kind == "list" or (kind.startswith("text") and parameter)):
            hanging = True
        elif indented:
            kind = "block"
        else:
            if not kind.startswith("text") or hanging:
                paragraph += 1
            kind, hanging = f"text {paragraph}", False
            parameter = bool(PARAMETER.match(line))
        kinds.append(kind)
    return kinds


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


def plain_signature(text: str) -> str:
    """A signature without what Sphinx cannot parse or a reader does not need.

    A field's default_factory is shown as `<factory>`, and pydantic's constraints make
    `Annotated[type, constraint]` of a type.
    """
    text = text.replace("<factory>", "...")
    while found := ANNOTATED.search(text):
        depth, comma, at = 1, -1, found.end()
        while depth:
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(text[at], 0)
            if depth == 1 and text[at] == "," and comma < 0:
                comma = at
            at += 1
        text = text[: found.start()] + text[found.end() : comma] + text[at:]
    return text


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both conversions with Sphinx."""

    def docstring(
        _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
    ) -> None:
        lines[:] = to_rst(lines)

    def signature(
        _app: Sphinx,
        _what: str,
        _name: str,
        _obj: Any,
        _options: Any,
        arguments: str | None,
        result: str | None,
    ) -> tuple[str | None, str | None]:
        return arguments and plain_signature(arguments), result and plain_signature(result)

    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
