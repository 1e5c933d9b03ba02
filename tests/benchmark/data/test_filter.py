"""The k-core against its definition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.filter import k_core
from benchmark.errors import InputError


def _one_by_one(rows: list[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    """Remove one offending interaction at a time: slow, and in another order than the function."""
    rows = list(rows)
    while True:
        for row in reversed(rows):
            if sum(r[0] == row[0] for r in rows) < k or sum(r[1] == row[1] for r in rows) < k:
                rows.remove(row)
                break
        else:
            return rows


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), unique=True, max_size=40))
def test_equals_removal_one_by_one(rows: list[tuple[int, int]]) -> None:
    expected = _one_by_one(rows, 3)
    frame = pd.DataFrame(rows, columns=["user", "item"])
    if not expected:
        with pytest.raises(InputError, match="3-core is empty"):
            k_core(frame, 3)
    else:
        assert list(k_core(frame, 3).itertuples(index=False, name=None)) == expected


def test_one_pass_is_not_enough() -> None:
    """Removing user 2 takes item 9 below two, which takes user 1 below two, and so on."""
    rows = [(0, 7), (0, 8), (3, 7), (3, 8), (1, 8), (1, 9), (2, 9)]
    kept = k_core(pd.DataFrame(rows, columns=["user", "item"]), 2)
    assert np.array_equal(kept.to_numpy(), rows[:4])
