"""Tables 1 and 4 from the bundles."""

import numpy as np
import pandas as pd
import pytest

from benchmark.data.config import Counts
from benchmark.data.content import Bundle
from benchmark.data.sequences import hold_out
from benchmark.data.statistics import (
    STATISTICS,
    statistics,
    stored_time_split,
    table1,
    table4,
    time_split,
)


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


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("max_users", [None, 9])
def test_what_a_split_at_one_moment_leaves(targets: int, max_users: int | None) -> None:
    """Counted user by user from the queries and histories that runs would have, and by hand for a
    user who comes after the first moment."""
    rng = np.random.default_rng(8)
    lengths = rng.integers(1, 15, 30)
    frame = pd.DataFrame(
        {
            "user": np.repeat(np.arange(30), lengths),
            "item": rng.integers(1, 400, lengths.sum()),
            "timestamp": np.concatenate(
                [np.sort(rng.integers(90 * (user > 20), 100, n)) for user, n in enumerate(lengths)]
            ),
        }
    )
    found = time_split(frame, targets=targets, max_users=max_users)
    users = 30 if max_users is None else max_users
    ordered = sorted(frame["timestamp"])
    first, second = ordered[len(ordered) * 8 // 10], ordered[len(ordered) * 9 // 10]
    trained: dict[int, list[int]] = {}
    asked: dict[int, list[int]] = {}
    for user in range(users):
        rows = list(frame[frame["user"] == user][["item", "timestamp"]].itertuples(index=False))
        trained[user] = [item for item, at in rows if at < first]
        later = [item for place, (item, at) in enumerate(rows) if at >= second and place > 0]
        asked[user] = later[:targets]
    seen = {item for own in trained.values() for item in own}
    assert found.users == users
    assert found.trained_users == sum(map(bool, trained.values()))
    assert found.test_users == sum(map(bool, asked.values()))
    assert found.unseen_users == sum(bool(asked[u]) and not trained[u] for u in range(users))
    assert found.targets == sum(map(len, asked.values()))
    assert found.unseen_targets == sum(i not in seen for own in asked.values() for i in own)
    assert found.items == frame["item"].nunique()
    assert found.unseen_items == frame["item"].nunique() - len(seen)
    assert max_users or min(found.unseen_users, found.unseen_targets, found.unseen_items) > 0


def test_the_split_at_one_moment_of_movielens(ml_100k: Bundle) -> None:
    """The users and targets that a run is asked for."""
    found = stored_time_split("ml-100k", None)
    sequences = hold_out(ml_100k, 50, split="global-time")
    assert found is not None
    assert found.test_users == len(np.unique(sequences.test.user)) == found.targets
    assert found.trained_users == (np.diff(sequences.histories.offsets) > 0).sum()
    frequency = sequences.histories.frequency(ml_100k.n_items)
    assert found.unseen_items == (frequency[1:] == 0).sum()
    assert found.unseen_targets == (frequency[sequences.test.target] == 0).sum()
