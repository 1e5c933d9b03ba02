"""Where the value of a field comes from: a line of a settings file, or the default of a class."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmark.yaml_files import Location


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the value of one field comes from."""

    value: Any
    layer: str
    """What set it, in words: "profile quick", "default of SASRecConfig"."""
    location: Location | None
    """None where it was read from no file."""
    overrode: "Source | None" = None
    """What would hold without it."""
    derived: str = ""
    """How the value was computed, for one that stands in no file as it is."""

    def chain(self) -> Iterator["Source"]:
        """This one, the one that it overrode, and so on down to the default."""
        source: Source | None = self
        while source is not None:
            yield source
            source = source.overrode


def dataclass_defaults(cls: type) -> dict[str, Source]:
    """Of every field of a dataclass that has a default."""
    found = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            continue
        found[field.name] = _default(cls, field.name, value)
    return found


def model_defaults(kind: type[BaseModel]) -> dict[str, Source]:
    """Of every field of a pydantic model that has a default."""
    return {
        name: _default(kind, name, field.get_default(call_default_factory=True))
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }


@cache
def _field_lines(kind: type) -> dict[str, Location]:
    """The lines of the fields that a class itself declares; a class made at run time has none."""
    try:
        lines, first = inspect.getsourcelines(kind)
        path = Path(inspect.getfile(kind))
    except (OSError, TypeError):
        return {}
    body = getattr(ast.parse(textwrap.dedent("".join(lines))).body[0], "body", ())
    return {
        node.target.id: Location.of(path, first + node.lineno - 1)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _default(kind: type, name: str, value: Any) -> Source:
    """Of a field; a class that inherits it takes the line of the class that declares it."""
    for base in kind.__mro__[:-1]:  # without `object`
        if name in _field_lines(base):
            return Source(value, f"default of {base.__name__}", _field_lines(base)[name])
    return Source(value, f"default of {kind.__name__}", None)
