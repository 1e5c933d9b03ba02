"""Table 1 from the bundles."""

import pandas as pd
import pytest

from benchmark.data.config import Counts
from benchmark.data.content import Bundle
from benchmark.data.statistics import STATISTICS, statistics, table1


def test_by_hand() -> None:
    found = statistics(Counts(users=4, items=5, interactions=10))
    assert found == {
        "users": 4,
        "items": 5,
        "interactions": 10,
        "sparsity": 50.0,
        "average_length": 2.5,
    }


def test_the_papers_table(beauty: Bundle, ml_100k: Bundle) -> None:
    """Beauty agrees in every column once the padding ids are taken off; ML-100k in users alone."""
    table = table1([beauty, ml_100k]).set_index(["dataset", "statistic"])
    assert table.loc["beauty", "agrees"].all()
    assert table.loc[("beauty", "users"), "printed"] == 4_323
    assert table.loc[("beauty", "users"), "decoded"] == 4_322
    assert table.loc["ml-100k", "agrees"].tolist() == [True, False, False, False, False]
    assert table.loc[("ml-100k", "items"), "difference"] == 16
    assert table.loc[("ml-100k", "interactions"), "difference"] == 678
    # the printed length is of the true counts, the printed sparsity of the padded ones
    for name in ("beauty", "ml-100k"):
        lengths = table.loc[(name, "average_length")]
        assert lengths["decoded"] == pytest.approx(lengths["printed"], abs=0.005)
        users, items, interactions = (
            table.loc[(name, column), "printed"] for column in STATISTICS[:3]
        )
        padded = statistics(
            Counts(users=int(users), items=int(items), interactions=int(interactions))
        )
        assert padded["sparsity"] == pytest.approx(
            table.loc[(name, "sparsity"), "printed"], abs=0.005
        )


def test_a_dataset_that_the_paper_lacks(beauty: Bundle) -> None:
    nothing = pd.DataFrame({"table": [], "dataset": [], "metric": [], "value": []})
    table = table1([beauty], printed=nothing)
    assert table["ours"].notna().all()
    assert table[["printed", "decoded", "difference", "agrees"]].isna().all(axis=None)
