"""YAML files with the line of every value, so that an error and `explain` can name it."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, PrivateAttr, ValidationError

from benchmark.errors import InputError
from benchmark.files import read_text

ROOT = Path(__file__).resolve().parents[1]
"""Files below it are named by their path from it."""

Keys = tuple[str | int, ...]
"""Keys and list indices that lead to a value, from the top of the file."""


@dataclass(frozen=True)
class Location:
    """A line of a file; without a line, the file as a whole."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @classmethod
    def of(cls, path: Path, line: int | None = None) -> "Location":
        """Of a path, which is shortened where it lies in the repository."""
        path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        return cls(path.as_posix(), line)


@dataclass(frozen=True)
class YamlFile:
    """What a YAML file holds, and where."""

    path: Path
    data: Any
    lines: Mapping[Keys, int]

    def where(self, *keys: str | int) -> Location:
        """The line of a value's key; where the file has no such key, of the nearest one around."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return Location.of(self.path, self.lines.get(keys))


class FromFile(BaseModel):
    """A model that knows which file it was read from, if from any."""

    _file: YamlFile | None = PrivateAttr(None)

    def where(self, *keys: str | int) -> Location | None:
        """The line of a value's key; None for a model that was not read from a file."""
        return None if self._file is None else self._file.where(*keys)


M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path) -> YamlFile:
    """Read a file. Raises InputError, naming file and line, for invalid YAML, repeated keys and
    numbers that are infinite or none."""
    text = read_text(path)
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)  # refuses control characters at once
        node = loader.get_single_node()
        lines = {} if node is None else dict(_lines(loader, node, (), path))
        data = None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except ValueError as error:  # "2024-13-45" and "0x_" look like a date and a number
        raise InputError(f"{Location.of(path)}: {error}; quote the value that is meant") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        location = Location.of(path, None if mark is None else mark.line + 1)
        problem = getattr(error, "problem", None) or error
        raise InputError(f"{location}: not valid YAML ({problem}); mend the line") from error
    except RecursionError as error:
        raise InputError(f"{Location.of(path)}: nested too deeply; make it flatter") from error
    finally:
        if loader is not None:
            loader.dispose()
    return YamlFile(path, data, lines)


def read_model(path: Path, kind: type[M]) -> M:
    """A file as a pydantic model. Raises InputError naming the file and line of each fault."""
    file = read_yaml(path)
    try:
        model = kind.model_validate(file.data)
    except ValidationError as error:
        faults = (
            f"{file.where(*e['loc'])}: {'.'.join(map(str, e['loc']))}: {e['msg']}"
            for e in error.errors()
        )
        raise InputError("; ".join(faults)) from error
    if isinstance(model, FromFile):
        model._file = file
    return model


def _lines(
    loader: yaml.SafeLoader, node: yaml.Node, keys: Keys, path: Path
) -> Iterator[tuple[Keys, int]]:
    """The line of every key and list entry below a node, counted from 1."""
    if isinstance(node, yaml.SequenceNode):
        for at, entry in enumerate(node.value):
            yield (*keys, at), entry.start_mark.line + 1
            _refuse_odd_number(entry, path)
            yield from _lines(loader, entry, (*keys, at), path)
    if isinstance(node, yaml.MappingNode):
        first: dict[Hashable, int] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # no key of ours is a list; construct_document refuses it
            key, line = loader.construct_object(key_node), key_node.start_mark.line + 1
            if key in first:
                raise InputError(
                    f"{Location.of(path, line)}: {key!r} stands here a second time, after line "
                    f"{first[key]}; delete one of the two"
                )
            first[key] = line
            yield (*keys, key), line
            _refuse_odd_number(value, path)
            yield from _lines(loader, value, (*keys, key), path)


def _refuse_odd_number(node: yaml.Node, path: Path) -> None:
    """YAML's .nan and .inf: no setting of ours can be one, and comparisons let NaN pass; and what
    it reads in another base than ten: 010 as 8, 1:30 as 90."""
    number = node.tag in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")
    if not number or not isinstance(node, yaml.ScalarNode):
        return
    digits = node.value.strip("+-").lower()
    where = Location.of(path, node.start_mark.line + 1)
    if digits in (".nan", ".inf"):
        raise InputError(f"{where}: {node.value} is no finite number; give one")
    if ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits.isdigit()):
        raise InputError(
            f"{where}: YAML reads {node.value} in base {60 if ':' in digits else 8}; write it "
            "without leading zeros or colons"
        )
