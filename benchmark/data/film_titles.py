"""Titles of films as MovieLens writes them, which of two editions mean the same film.

'Matrix, The (1999)' and 'The Matrix (1999)' do; so do titles that differ in an alternative title in
brackets, in accents, in '&' for 'and', in punctuation or in case. The year has to agree.
"""

import re
from collections.abc import Sequence
from unicodedata import combining, normalize

import pandas as pd

from benchmark.errors import InputError

_TITLE = re.compile(r"(.*)\((\d{4})\)\s*", re.DOTALL)
_BRACKETS = re.compile(r"\([^()]*\)")
_ARTICLES = (
    "the a an la le les l' il lo i gli el los las un une una der die das ein eine det den de o"
)
_TURNED = re.compile(rf"(.+), ({'|'.join(_ARTICLES.split())})", re.IGNORECASE | re.DOTALL)


def title_key(title: str) -> tuple[str, str] | None:
    """(name in plain letters with its article first, year); None for a title without a year."""
    match = _TITLE.fullmatch(title)
    if match is None:
        return None
    name, year = match.groups()
    name = _BRACKETS.sub(" ", name).strip()
    if turned := _TURNED.fullmatch(name):
        name = f"{turned[2]} {turned[1]}"
    name = "".join(c for c in normalize("NFKD", name.casefold()) if not combining(c))
    name = re.sub(r"\W+", " ", name.replace("&", " and ")).strip()
    return (name, year) if name else None


def named_by_title(interactions: pd.DataFrame, items: pd.DataFrame, origin: str) -> pd.DataFrame:
    """The interactions whose item, a title, is that of an item, under that item's id.

    interactions: columns user, item (a title with its year), timestamp; rows keep their order.
    items: columns id and title; of several with one title the first counts. origin: file of the
    interactions, for errors. Raises InputError where two titles mean the same item.
    """
    ids: dict[tuple[str, str], str] = {}
    for item, title in zip(items["id"], items["title"], strict=True):
        if (key := title_key(title)) is not None:
            ids.setdefault(key, item)
    found = _match(list(dict.fromkeys(interactions["item"])), ids, origin)
    named = interactions.assign(item=interactions["item"].map(found))
    return named[named["item"].notna()].reset_index(drop=True)


def _match(titles: Sequence[str], ids: dict[tuple[str, str], str], origin: str) -> dict[str, str]:
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for title in titles:
        key = title_key(title)
        if key is None or key not in ids:
            continue
        item = ids[key]
        if item in taken:
            raise InputError(
                f"{origin}: {taken[item]!r} and {title!r} both mean item {item!r}; keep one of them"
            )
        taken[item] = title
        found[title] = item
    return found
