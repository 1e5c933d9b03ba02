"""Top lists as TREC run and qrels, so that outside tools (trec_eval, ranx) can check our metrics.

A query's id is the user's row, a document's the item's id. Scores fall by one from place to place,
because tools break ties in orders of their own. Where scores tied, a list holds one order of them
(smaller ids first) and an outside metric is of that order, ours the mean over all; elsewhere the
two agree. Lists are of the full ranking, with the history kept or left out.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.errors import InputError
from benchmark.runs.ranks import Ranks


def write_qrels(path: Path, target: npt.NDArray[np.integer]) -> None:
    """One line a query: the held-out item is the only relevant one. target: [Q] item ids."""
    lines = (f"{query} 0 {item} 1\n" for query, item in enumerate(target.tolist()))
    _write(path, "".join(lines))


def write_run(path: Path, ranks: Ranks, tag: str, *, masked: bool = False) -> None:
    """The stored top lists, best first; masked: those without the history. Raises InputError where
    none were kept or the tag has spaces, which would split the line."""
    top = ranks.top_masked if masked else ranks.top
    if top is None:
        raise InputError(
            f"{path}: this run's top lists were not kept (the references keep none); export a "
            "fresh run instead"
        )
    if not tag or any(character.isspace() for character in tag):
        raise InputError(f"the tag {tag!r} of a TREC run must be one word")
    length = top.shape[1]
    lines = (
        f"{query} Q0 {item} {place + 1} {length - place} {tag}\n"
        for query, items in enumerate(top.tolist())
        for place, item in enumerate(items)
        if item
    )
    _write(path, "".join(lines))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another path") from error
