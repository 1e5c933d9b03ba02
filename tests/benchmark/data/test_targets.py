"""Our leave-one-out targets are RecBole's, for every user.

docs/comparison/figures/targets.json was exported from RecBole's own split (recipe:
docs/comparison/recbole_targets.py): SHA-256 over one line "user,valid,test,length" a user, in the
raw files' ids, sorted by user, length being the number of items before the validation target.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark.data.bundle import build_bundle
from benchmark.data.content import Bundle
from benchmark.data.filter import k_core
from benchmark.data.meta import default_root
from benchmark.data.sequences import hold_out
from benchmark.data.ties import shuffled_ties, tie_facts

EXPORTED = Path(__file__).resolve().parents[3] / "docs" / "comparison" / "figures" / "targets.json"
BEAUTY_RENUMBERED = "c58bb5a9251f7ed49625adb09c7c6a6c7f6976f444f93afd15d7f1f78a1693de"
"""The same digest in our own numbers (0-based users, items of the bundle), for machines without the
raw file; equal to RecBole's split wherever the next test runs."""


def digest(bundle: Bundle, users: Iterable[str], items: dict[str, str] | None = None) -> str:
    """users: the raw id of each of our users, in order; items: the source's id -> the raw one."""
    ids = ["", *bundle.items["id"]]
    if items is not None:
        ids = ["", *(items[item] for item in ids[1:])]
    sequences = hold_out(bundle, 50)
    rows = zip(
        users,
        sequences.validation.target.tolist(),
        sequences.test.target.tolist(),
        (sequences.test.length - 2).tolist(),
        strict=True,
    )
    lines = sorted((int(u), f"{u},{ids[v]},{ids[t]},{length}\n") for u, v, t, length in rows)
    return hashlib.sha256("".join(line for _, line in lines).encode("ascii")).hexdigest()


def recbole(name: str) -> dict[str, str]:
    exported: dict[str, str] = json.loads(EXPORTED.read_text(encoding="utf-8"))[name]
    return exported


def ml_100k_users() -> list[str]:
    """Raw user ids in the order of their first appearance after the 5-core."""
    ratings = pd.read_csv(default_root() / "raw/ml-100k/ml-100k.inter", sep="\t", dtype=str)
    ratings.columns = pd.Index(["user", "item", "rating", "timestamp"])
    return list(k_core(ratings, 5)["user"].unique())


def test_ml_100k(ml_100k: Bundle) -> None:
    assert digest(ml_100k, ml_100k_users()) == recbole("ml-100k")["targets"]


def test_exact_timestamps_are_another_order(ml_100k: Bundle) -> None:
    """RecBole compares timestamps in float32 of their range: five users' targets depend on it, so
    the test above would notice the exact rule."""
    frame = ml_100k.interactions.sort_values(["user", "timestamp"], kind="stable")
    exact = replace(ml_100k, interactions=frame)
    assert digest(exact, ml_100k_users()) != recbole("ml-100k")["targets"]
    ours, other = (hold_out(bundle, 50) for bundle in (ml_100k, exact))
    differ = (ours.test.target != other.test.target) | (
        ours.validation.target != other.validation.target
    )
    assert differ.sum() == 5


def test_beauty_from_the_raw_file(raw: Path, tmp_path: Path) -> None:
    bundle = build_bundle("beauty", root=tmp_path, raw=raw)
    lines = (raw / "beauty" / "sequences.txt").read_text(encoding="utf-8").splitlines()
    pairs = [(u, i) for line in lines for u, *items in [line.split()] for i in items]
    users = k_core(pd.DataFrame(pairs, columns=["user", "item"]), 7)["user"].unique()
    numbers = pd.read_csv(raw / "beauty" / "items.csv", dtype=str)
    asin = dict(zip(numbers["asin"], numbers["item"], strict=True))
    assert digest(bundle, users, asin) == recbole("beauty")["targets"]


def test_beauty_as_shipped_is_beauty_from_the_raw_file(
    beauty: Bundle, raw: Path, tmp_path: Path
) -> None:
    built = build_bundle("beauty", root=tmp_path, raw=raw)
    assert built.meta.source == "local file beauty/sequences.txt"
    assert built.meta.data_hash == beauty.meta.data_hash
    pd.testing.assert_frame_equal(
        built.items.drop(columns="text"), beauty.items.drop(columns="text")
    )
    shipped = Path(benchmark.__file__).parent / "data" / "shipped" / "beauty" / "items.parquet"
    assert (pd.read_parquet(shipped)["text"] == "").all()  # title tags are others'


def test_beauty_as_shipped(beauty: Bundle) -> None:
    numbers = {item: str(k) for k, item in enumerate(beauty.items["id"], start=1)}
    found = digest(beauty, map(str, range(beauty.n_users)), numbers)
    assert found == BEAUTY_RENUMBERED


def test_tie_facts(ml_100k: Bundle, beauty: Bundle) -> None:
    """The figures of docs/data.md; Beauty's places are its timestamps, so nothing ties."""
    facts = tie_facts(ml_100k)
    assert facts.interactions == pytest.approx(0.756, abs=5e-4)
    assert facts.last == pytest.approx(0.441, abs=5e-4)
    assert tie_facts(beauty).interactions == 0


def test_shuffled_ties_change_ties_alone(ml_100k: Bundle) -> None:
    first, again, other = (shuffled_ties(ml_100k, seed).interactions for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["item"].equals(other["item"])
    for column in ("user", "position"):
        assert first[column].equals(ml_100k.interactions[column])
    columns = ["user", "timestamp", "item"]
    pd.testing.assert_frame_equal(
        first[columns].sort_values(columns, ignore_index=True),
        ml_100k.interactions[columns].sort_values(columns, ignore_index=True),
    )
    assert first.groupby("user")["timestamp"].is_monotonic_increasing.all()
