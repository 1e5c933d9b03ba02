"""Top lists as TREC run and qrels, so that outside tools (trec_eval, ranx) can check our metrics.

A query goes by the name that is given for it, else by its row; a document by the name of the item,
else by the item's number. Scores fall by one from place to place, because tools break ties in
orders of their own. Where scores tied, a list holds one order of them (smaller numbers first) and
an outside metric is of that order, ours the mean over all; elsewhere the two agree. Lists are of
the full ranking, with the history kept or left out.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.errors import InputError
from benchmark.files import atomic_file
from benchmark.runs.ranks import Ranks


def write_qrels(
    path: Path,
    target: npt.NDArray[np.integer],
    queries: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> None:
    """One line a query: the held-out item is the only relevant one.

    target: [Q] item numbers, 1 ... N. queries: [Q] names. items: [N + 1] names, by number.
    """
    names = queries or list(map(str, range(len(target))))
    lines = (
        f"{query} 0 {item if items is None else items[item]} 1\n"
        for query, item in zip(names, target.tolist(), strict=True)
    )
    _write(path, lines)


def write_run(
    path: Path,
    ranks: Ranks,
    tag: str,
    *,
    masked: bool = False,
    queries: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> None:
    """The stored top lists, best first; masked: those without the history. queries, items: names,
    as of `write_qrels`. Raises InputError where no lists were kept or the tag has spaces, which
    would split the line."""
    top = ranks.top_masked if masked else ranks.top
    if top is None:
        raise InputError(
            f"{path}: this run's top lists were not kept (the references keep none); export a "
            "fresh run instead"
        )
    if not tag or any(character.isspace() for character in tag):
        raise InputError(f"the tag {tag!r} of a TREC run must be one word")
    length = top.shape[1]
    names = queries or list(map(str, range(len(top))))
    lines = (
        f"{query} Q0 {item if items is None else items[item]} {place + 1} {length - place} {tag}\n"
        for query, best in zip(names, top.tolist(), strict=True)
        for place, item in enumerate(best)
        if item
    )
    _write(path, lines)


def _write(path: Path, lines: Iterable[str]) -> None:
    try:
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(lines)
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot write {path}: {reason}; give another path") from error
