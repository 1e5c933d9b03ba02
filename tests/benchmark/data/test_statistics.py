"""Tables 1 and 4 from the bundles."""

import pandas as pd
import pytest

from benchmark.data.config import Counts
from benchmark.data.content import Bundle
from benchmark.data.statistics import STATISTICS, statistics, table1, table4


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
    table = table1([beauty.meta, ml_100k.meta]).set_index(["dataset", "statistic"])
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
    table = table1([beauty.meta], printed=nothing)
    assert table["ours"].notna().all()
    assert table[["printed", "decoded", "difference", "agrees"]].isna().all(axis=None)


def test_table_4_counts_user_by_user(ml_100k: Bundle) -> None:
    """Against a loop over users; ML-100k's third bucket holds users of exactly 30 items too."""
    buckets = {"5-30": (5, 30), ">30": (30, None), ">10000": (10_000, None)}
    found = table4([ml_100k.meta], buckets, root=ml_100k.path.parent)
    own = {user: set(f["item"]) for user, f in ml_100k.interactions.groupby("user")}
    for label, holds in (("5-30", lambda n: 5 <= n < 30), (">30", lambda n: n >= 30)):
        inside = [items for items in own.values() if holds(len(items))]
        expected = statistics(
            Counts(
                users=len(inside),
                items=len(set().union(*inside)),
                interactions=sum(map(len, inside)),
            )
        )
        rows = found[found["length"] == label].set_index("statistic")["ours"]
        assert rows.to_dict() == {name: expected[name] for name in STATISTICS[:4]}
    assert list(dict.fromkeys(found["length"])) == ["5-30", ">30", "Total"]
    total = found[found["length"] == "Total"].set_index("statistic")
    assert total.loc["users", "ours"] == ml_100k.meta.counts.users
    assert (found["verdict"] == "")[found["length"] == "5-30"].all()  # the paper has no such bucket
