"""Export RecBole's own leave-one-out split, so that another implementation can prove its own equal.

    python recbole_targets.py --scratch DIR     (rewrites figures/targets.json)

Ids are those of the raw files. Per dataset, SHA-256 of ASCII lines, one per user, sorted by user as
a number, each ended by a newline:

- `targets`:   "user,valid,test,length", length = the number of items before the validation item;
- `sequences`: "user item item ...", the whole sequence, test item last.

They are read off the datasets that RecBole's `build` returns. The script then shows which ordering
rule reproduces them (README.md, "Order of tied timestamps") and fails if none does.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from figures_files import FIGURES, write_json
from recbole_setup import SOURCES, load_dataset

Sequences = dict[str, list[str]]


def recbole_sequences(name: str, scratch: Path, options: dict[str, Any]) -> Sequences:
    """User -> items in RecBole's order; the last two are its validation and test targets."""
    folder = scratch / name
    folder.mkdir(parents=True, exist_ok=True)
    _, dataset = load_dataset(name, "SASRec", folder, seed=1, options=options)
    parts = dataset.build()
    sequences: Sequences = defaultdict(list)
    for part in parts:  # train, valid, test: one row per target, in time order within a user
        users = dataset.id2token("user_id", part.inter_feat["user_id"].numpy())
        items = dataset.id2token("item_id", part.inter_feat["item_id"].numpy())
        firsts = dataset.id2token("item_id", part.inter_feat["item_id_list"][:, 0].numpy())
        lengths = part.inter_feat["item_length"].numpy()
        for user, item, first, length in zip(users, items, firsts, lengths, strict=True):
            if length == 1:  # a user's first item is never a target
                sequences[user].append(first)
            sequences[user].append(item)
    for held in parts[1:]:
        if len(held.inter_feat) != SOURCES[name].users:
            raise SystemExit(f"{name}: not every user has one validation and one test item")
    return dict(sequences)


def filtered_rows(name: str, scratch: Path) -> pd.DataFrame:
    """The rows that RecBole's k-core keeps, in file order, with exact timestamps."""
    config, dataset = load_dataset(name, "SASRec", scratch / name, seed=1, options={})
    rows = pd.read_csv(Path(config["data_path"]) / f"{name}.inter", sep="\t", dtype=str)
    rows.columns = [column.split(":")[0] for column in rows.columns]
    rows["timestamp"] = rows["timestamp"].astype(np.int64)
    users, items = (set(dataset.field2id_token[field][1:]) for field in ("user_id", "item_id"))
    return rows[rows["user_id"].isin(users) & rows["item_id"].isin(items)]


def stable_order(rows: pd.DataFrame, key: np.ndarray) -> Sequences:
    """User -> items by a stable sort of `key` over the file's row order."""
    ordered = rows.iloc[np.argsort(key, kind="stable")]
    groups = ordered.groupby("user_id")["item_id"]
    return {str(user): items.tolist() for user, items in groups}


def targets_digest(sequences: Sequences) -> str:
    return _digest(
        f"{user},{items[-2]},{items[-1]},{len(items) - 2}" for user, items in _sorted(sequences)
    )


def sequences_digest(sequences: Sequences) -> str:
    return _digest(" ".join([user, *items]) for user, items in _sorted(sequences))


def _sorted(sequences: Sequences) -> list[tuple[str, list[str]]]:
    return sorted(sequences.items(), key=lambda pair: int(pair[0]))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("ascii")).hexdigest()


def unlike(a: Sequences, b: Sequences) -> dict[str, Any]:
    """Users whose targets, and how many whose whole order, differ between two orders."""
    targets = [user for user, items in _sorted(a) if items[-2:] != b[user][-2:]]
    return {
        "users_with_other_targets": len(targets),
        "users_with_another_order": sum(items != b[user] for user, items in a.items()),
        "those_with_other_targets": targets if len(targets) <= 20 else "more than 20",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scratch", type=Path, required=True, help="folder for RecBole's files")
    scratch = parser.parse_args().scratch.resolve() / "targets"
    report: dict[str, Any] = {}
    for name, source in SOURCES.items():
        recbole = recbole_sequences(name, scratch, {})
        rows = filtered_rows(name, scratch)
        exact = rows["timestamp"].to_numpy()
        low, high = exact.min(), exact.max()
        rule = stable_order(rows, ((exact - low) / (high - low)).astype(np.float32))
        if rule != recbole:
            raise SystemExit(
                f"{name}: the float32 rule does not give RecBole's order: {unlike(recbole, rule)}"
            )
        report[name] = {
            "users": source.users,
            "items": source.items,
            "interactions": source.interactions,
            "timestamps": [int(low), int(high)],
            "targets": targets_digest(recbole),
            "sequences": sequences_digest(recbole),
            "reproduced_by": "stable sort of float32((t - min) / (max - min)) over the row order",
            "exact_timestamps": {
                "targets": targets_digest(stable_order(rows, exact)),
                "sequences": sequences_digest(stable_order(rows, exact)),
                **unlike(recbole, stable_order(rows, exact)),
            },
            "recbole_without_normalize_all": unlike(
                recbole, recbole_sequences(name, scratch, {"normalize_all": False})
            ),
        }
    write_json(FIGURES / "targets.json", report)


if __name__ == "__main__":
    main()
