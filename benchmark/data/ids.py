"""Ids are text: which of two files' ids are equal, and which only look so."""

import re
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from pathlib import PurePosixPath
from unicodedata import category, normalize

from benchmark.errors import InputError

_ENDING = re.compile(
    r"\.(jpe?g|jfif|png|gif|webp|bmp|tiff?|avif|heic|mp4|txt|npy|pt|json)$", re.IGNORECASE
)
_BYTES = re.compile(r"b(['\"])(.*)\1")
_FLOAT = re.compile(r"([0-9]+)\.0*")
_SHORTENED = re.compile(r"[0-9]\.[0-9]+E\+[0-9]{2}")
_SCIENTIFIC = re.compile(r"[0-9]+(\.[0-9]+)?[eE]\+?[0-9]{1,2}")


def _decimal(text: str) -> str:
    if match := _FLOAT.fullmatch(text):
        return match[1]
    if _SCIENTIFIC.fullmatch(text) and (value := Decimal(text)) == value.to_integral_value():
        return str(int(value))
    return text


def _visible(text: str) -> str:
    """Without characters that show nothing: controls, zero-width ones, byte order marks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if category(c) not in ("Cc", "Cf"))


STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("bytes are read as text", lambda t: m[2] if (m := _BYTES.fullmatch(t)) else t),
    ("characters that show nothing are dropped", _visible),
    ("blanks around them are dropped", str.strip),
    ("folders before them are dropped", lambda t: PurePosixPath(t.replace("\\", "/")).name or t),
    ("file endings are dropped", lambda t: _ENDING.sub("", t)),
    ("decimal places are dropped", _decimal),
    ("leading zeros are dropped", lambda t: t.lstrip("0") or "0" if t.isdigit() else t),
    ("case is ignored", str.casefold),
    ("accents are composed alike", lambda t: normalize("NFC", t)),
)
"""Ways in which programs change ids without being asked, in the order in which they are undone."""


def bare(text: str) -> str:
    """An id without what such programs add or drop."""
    for _, step in STEPS:
        text = step(text)
    return text


def match_ids(
    known: Collection[str], given: Sequence[str], *, known_from: str, given_from: str
) -> int:
    """How many of `given` are among `known`.

    Raises InputError where one that is not would be, were it written otherwise, and where none is.
    """
    exact = set(known)
    matched = set(given) & exact
    waiting = {bare(k): k for k in known if k not in matched}
    alike = [(g, k) for g in given if g not in exact and (k := waiting.get(bare(g))) is not None]
    if alike:
        one, other = alike[0]
        raise InputError(
            f"{given_from}: {len(alike):,} of {len(given):,} ids match only if {_how(one, other)}: "
            f"{one!r} here, {other!r} in {known_from}; write ids alike in both files, as text; if "
            "these are two different ones, rename one of them"
        )
    if not matched:
        raise InputError(
            f"{given_from}: none of its {len(given):,} ids occurs in {known_from}; do both files "
            f"use the same ids? ({next(iter(given), '')!r} against {next(iter(known), '')!r})"
        )
    return len(matched)


def look_alikes(ids: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of different ids that differ only by blanks, quotes, characters that show nothing,
    decimal places or the composition of accents."""
    seen: dict[str, str] = {}
    pairs = []
    for item in ids:
        key = normalize("NFC", _decimal(_visible(item).strip().strip(" \t\"'")))
        if seen.setdefault(key, item) != item:
            pairs.append((seen[key], item))
    return pairs


def look_rounded(ids: Collection[str]) -> list[str]:
    """Those that read as 9.78014E+12 does, which is how spreadsheets show long numbers."""
    return [item for item in ids if _SHORTENED.fullmatch(item)]


_MISSING = frozenset(
    ("nan", "none", "null", "na", "n/a", "<na>", "nat", "nil", "undefined", "#n/a")
)


def missing_alike(values: Sequence[str]) -> list[str]:
    """Those of the values, which are text, that programs write for a missing one."""
    return [value for value in values if value.strip().casefold() in _MISSING]


def _how(one: str, other: str) -> str:
    for name, step in STEPS:
        if step(one) == step(other):
            return name
    return "written alike"
