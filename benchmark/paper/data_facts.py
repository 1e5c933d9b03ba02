"""Facts about the public data that the audit compares the paper with, and how to recompute them.

`data_facts.yaml` was written by `python -m benchmark.paper.data_facts --raw DIR`, from raw files in
the layout of the data sources: `beauty/sequences.txt` (5-core, one user a line),
`ml-100k/ml-100k.inter` (RecBole's atomic file, which the wheel recbole==1.2.1 contains) and
`microlens-50k/MicroLens-50k_pairs.tsv`. Datasets whose files are absent keep their stored facts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from benchmark.errors import InputError

STORED = Path(__file__).with_name("data_facts.yaml")
# Table 4's labels, half-open; the last one has no upper end.
BUCKETS: tuple[tuple[str, int, int | None], ...] = (
    ("5-10", 5, 10),
    ("10-30", 10, 30),
    (">30", 30, None),
)


class Counts(BaseModel):
    """Size of a set of interaction sequences and how many held-out items its users have.

    relevant_items: m -> users with m test items under a split of 8:1:1 per user (`test_items`);
        empty where the sequences are not at hand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: int
    items: int
    interactions: int
    relevant_items: dict[int, int] = {}

    @property
    def sparsity(self) -> float:
        """One minus the share of filled cells, as a fraction."""
        return 1.0 - self.interactions / (self.users * self.items)

    @property
    def average_length(self) -> float:
        """Interactions per user."""
        return self.interactions / self.users

    @property
    def shares(self) -> tuple[tuple[int, float], ...]:
        """(m, share of users with m held-out items), for `Protocol.relevant`."""
        return tuple((m, n / self.users) for m, n in sorted(self.relevant_items.items()))


class DatasetFacts(BaseModel):
    """One dataset: where it comes from, how it was filtered, and its counts.

    recomputed: False for counts taken from publications, without the files.
    stated: counts after the filter that the paper states, where that is another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    filter: str
    recomputed: bool
    counts: Counts
    stated: Counts | None = None
    buckets: dict[str, Counts] = {}


class DataFacts(BaseModel):
    """Facts per dataset; `microlens-50k` stands in for the relevant items of `microlens`.

    `microlens` itself holds published counts of the 100k set after a 5-core.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: dict[str, DatasetFacts]


def load_data_facts() -> DataFacts:
    """The committed facts."""
    return DataFacts.model_validate(yaml.safe_load(STORED.read_text(encoding="utf-8")))


def test_items(length: int) -> int:
    """Held-out items of a user with `length` interactions under 8:1:1, rounded as RecBole does.

    A tenth rounded down, but at least one (RecBole's `_calcu_split_ids`).
    """
    return max(1, length // 10)


def k_core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """Drop users and items with fewer than k rows until all have k; columns user, item."""
    while True:
        users = interactions["user"].map(interactions["user"].value_counts())
        items = interactions["item"].map(interactions["item"].value_counts())
        keep = (users >= k) & (items >= k)
        if keep.all():
            return interactions
        interactions = interactions[keep]


def count(interactions: pd.DataFrame) -> Counts:
    """Counts of a table of interactions (columns user, item)."""
    lengths = interactions["user"].value_counts()
    relevant = Counter(test_items(int(n)) for n in lengths)
    return Counts(
        users=len(lengths),
        items=int(interactions["item"].nunique()),
        interactions=len(interactions),
        relevant_items=dict(sorted(relevant.items())),
    )


def bucket_counts(interactions: pd.DataFrame) -> dict[str, Counts]:
    """Counts per length bucket of Table 4."""
    lengths = interactions["user"].map(interactions["user"].value_counts())
    return {
        name: count(interactions[(lengths >= low) & (lengths < (high or float("inf")))])
        for name, low, high in BUCKETS
    }


def recompute(raw: Path) -> dict[str, DatasetFacts]:
    """Facts of every dataset whose raw file lies under `raw`.

    Raises InputError if none does.
    """
    found: dict[str, DatasetFacts] = {}
    beauty = raw / "beauty" / "sequences.txt"
    if beauty.is_file():
        source = _read_sequences(beauty)
        core = k_core(source, 7)
        found["beauty"] = DatasetFacts(
            source="Amazon reviews 2014, Beauty, 5-core",
            filter="iterative 7-core of users and items",
            recomputed=True,
            counts=count(core),
            stated=count(source),
            buckets=bucket_counts(core),
        )
    movies = raw / "ml-100k" / "ml-100k.inter"
    if movies.is_file():
        table = pd.read_csv(movies, sep="\t").iloc[:, :2].set_axis(["user", "item"], axis=1)
        found["ml-100k"] = DatasetFacts(
            source="MovieLens-100k ratings",
            filter="iterative 5-core of users and items",
            recomputed=True,
            counts=count(k_core(table, 5)),
        )
    videos = raw / "microlens-50k" / "MicroLens-50k_pairs.tsv"
    if videos.is_file():
        found["microlens-50k"] = DatasetFacts(
            source="MicroLens-50k pairs",
            filter="iterative 5-core of users and items",
            recomputed=True,
            counts=count(k_core(_read_sequences(videos), 5)),
        )
    if not found:
        raise InputError(
            f"{raw}: none of {beauty.relative_to(raw)}, {movies.relative_to(raw)}, "
            f"{videos.relative_to(raw)} is there; point --raw at the folder that holds them"
        )
    return found


def _read_sequences(path: Path) -> pd.DataFrame:
    """One user a line: the user, then items, separated by white space."""

    def pairs() -> Iterable[tuple[str, str]]:
        for line in path.read_text(encoding="utf-8").splitlines():
            user, *items = line.split()
            yield from ((user, item) for item in items)

    return pd.DataFrame(pairs(), columns=["user", "item"])


def main() -> None:
    """Rewrite data_facts.yaml from raw files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of raw data")
    facts = load_data_facts() if STORED.exists() else DataFacts(datasets={})
    merged = DataFacts(datasets={**facts.datasets, **recompute(parser.parse_args().raw)})
    STORED.write_text(
        yaml.safe_dump(merged.model_dump(exclude_none=True), sort_keys=False), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
