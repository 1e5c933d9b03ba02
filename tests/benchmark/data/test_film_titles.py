"""Which films two editions of MovieLens share."""

import pandas as pd
import pytest

from benchmark.data.film_titles import named_by_title, title_key
from benchmark.errors import InputError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("Beautiful Mind, A (2001)", "A Beautiful Mind (2001)"),
        ("Misérables, Les (1995)", "Les Miserables (1995)"),
        ("Promise, The (La Promesse) (1996)", "The Promise (1996)"),
        ("Shall We Dance? (Shall We Dansu?) (1996)", "Shall We Dance? (1996)"),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)",
         "City of Lost Children, The (1995)"),
        ("Two Friends (1986) ", "Two Friends (1986)"),
        ("Oscar and Lucinda (a.k.a. Oscar & Lucinda) (1997)", "Oscar & Lucinda (1997)"),
        ("What's Love Got to Do with It? (1993)", "What's Love Got to Do with It (1993)"),
        ("M*A*S*H (1970)", "M.A.S.H. (1970)"),
    ],
)  # fmt: skip
def test_one_film(one: str, other: str) -> None:
    assert title_key(one) == title_key(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hamlet (1990)", "Hamlet (1996)"),
        ("Alien (1979)", "Aliens (1986)"),
        ("Toy Story (1995)", "Toy Story 2 (1995)"),
        ("Promesse, La (1996)", "Promise, The (La Promesse) (1996)"),  # alternatives are dropped
        ("Crow: City of Angels, The (1996)", "City of Angels (1996)"),
        ("101 Dalmatians (1961)", "101 Dalmatians (1996)"),
        ("It Takes Two (1995)", "Takes Two, It (1995)"),  # no article
    ],
)
def test_two_films(one: str, other: str) -> None:
    assert title_key(one) != title_key(other)


@pytest.mark.parametrize("title", ["", "unknown", "Land Before Time III (1995) (V)", "(1999)", "?"])
def test_a_title_without_name_or_year_means_no_film(title: str) -> None:
    assert title_key(title) is None


def frame(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(user, title, place) for place, (user, title) in enumerate(rows)],
        columns=["user", "item", "timestamp"],
    )


ITEMS = pd.DataFrame(
    {
        "id": ["7", "8", "9", "1"],
        "title": ["Heat (1995)", "unknown", "Heat (1995)", "The Kid (1921)"],
    }
)


def test_interactions_take_the_items_ids() -> None:
    """Rows in their order; films that are not described go, and of two equal titles the first
    counts."""
    given = frame(("a", "Kid, The (1921)"), ("a", "Jaws (1975)"), ("b", "Heat (1995)"), ("b", ""))
    named = named_by_title(given, ITEMS, "x.inter")
    assert named.to_numpy().tolist() == [["a", "1", 0], ["b", "7", 2]]
    assert named.index.tolist() == [0, 1]


def test_two_titles_of_one_film_are_refused() -> None:
    given = frame(("a", "Kid, The (1921)"), ("a", "Kid (The Kid), The (1921)"))
    with pytest.raises(InputError, match=r"x.inter: 'Kid, The \(1921\)' and .* both mean item '1'"):
        named_by_title(given, ITEMS, "x.inter")
