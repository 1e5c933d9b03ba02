"""Stored results for other programs: tidy tables, recommendations, TREC files.

    from benchmark.results import load_results
    frame = load_results("runs")
    frame.query("metric == 'NDCG@10'").groupby(["dataset", "model", "protocol"])["value"].mean()

Everything comes from stored ranks and top lists; no model is loaded. Users and items go by the ids
of the dataset's source.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import InputError
from benchmark.evaluate.metrics import METRICS, PROTOCOLS, History, per_user
from benchmark.evaluate.trec import write_qrels, write_run
from benchmark.runs.ranks import Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunKey, slug
from benchmark.runs.store import Store

COLUMNS = ("profile", "dataset", "model", "variant", "seed", "metric", "protocol", "value")


def load_results(
    path: str | Path,
    *,
    metrics: str | Sequence[str] = METRICS,
    split: str = "test",
    users: bool = False,
    profile: str | None = None,
) -> pd.DataFrame:
    """One row for every finished run, metric and protocol; with `users`, for every user too.

    path: a folder of runs (`runs/`, `results/reference/`). metrics: one or several of NDCG@k, MRR@k
    and HR@k; their values are expectations over ties, full ranking. split: "test" or "validation";
    trials of the tuning have the latter alone, and are left out of the former. profile: whose runs;
    None: all. `protocol` says whether the items of the user's history compete with the target,
    "kept" or "left out".

    Columns: profile, dataset, model, variant, seed, metric, protocol, value (the mean over users);
    with `users` also user, the user's number in the dataset, 0 ... U - 1. Failed runs have no rows;
    `frame.attrs["left_out"]` has a line on each of them and on damaged ones. Raises InputError for
    a folder that is not there, an unknown metric or split, and a profile of which no run is there.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if split not in ("test", "validation"):
        raise InputError(f"split {split!r}: write 'test' or 'validation'")
    metrics = [metrics] if isinstance(metrics, str) else list(dict.fromkeys(metrics))
    if not metrics:
        raise InputError("metrics: names nothing; leave it out for all")
    rows: list[pd.DataFrame] = []
    left_out: list[str] = []
    store = Store(root)
    runs = [one for one in RunSet(store).scan() if store.may_be_of(one.path, profile)]
    if profile is not None and not runs:
        raise InputError(f"{root}: holds no run of profile {profile!r}")
    for stored in runs:
        result = stored.result
        if result is None or stored.status != "complete":
            left_out.append(stored.no_result)
            continue
        ranks = result.test if split == "test" else result.validation
        if ranks is not None:
            rows += _rows(result, ranks, metrics, users)
    columns = list(COLUMNS)
    if users:
        columns.insert(-1, "user")
    frame = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)
    frame.attrs["left_out"] = left_out
    return frame[columns]


def _rows(
    result: RunResult, ranks: Ranks, metrics: Sequence[str], users: bool
) -> list[pd.DataFrame]:
    spec, found = result.record.spec, []
    for metric in metrics:
        for protocol in PROTOCOLS:
            values = per_user(ranks, metric, masked=protocol == "left out")
            number = np.arange(len(values)) if ranks.user is None else np.unique(ranks.user)
            names = dict(
                zip(COLUMNS, (*spec.key, result.record.seed, metric, protocol), strict=False)
            )
            if users:
                found.append(pd.DataFrame({**names, "user": number, "value": values}))
            else:
                found.append(pd.DataFrame({**names, "value": [values.mean()]}))
    return found


# ---------------------------------------------------------------- top lists with the source's ids


@dataclass(frozen=True)
class TopLists:
    """The test queries of one run, with the source's ids."""

    key: RunKey
    seed: int
    ranks: Ranks
    users: list[str]
    """[U]"""
    items: list[str]
    """[N + 1], the first of them no item's."""
    titles: list[str]
    """[N + 1]; empty where the dataset has none."""
    user: np.ndarray
    """[Q], the number of each query's user."""
    target: np.ndarray
    """[Q], the number of the item that was held out."""

    def recommend(
        self, user: str, number: int = 10, *, history: History = "left out"
    ) -> pd.DataFrame:
        """The items that the run ranked highest for a user, best first: place, item, title.

        They are ranked given all of the user's items but those held out: with several test targets,
        given all before the last. history: whether items that the user has met may be among them.
        Raises InputError for a user that the run did not rank.
        """
        top = self.ranks.top_masked if history == "left out" else self.ranks.top
        assert top is not None  # `top_lists` sees to it
        if user not in self.users:
            raise InputError(
                f"user {user!r}: not in {self.key.dataset}, whose users are named as its source "
                f"names them ({', '.join(self.users[:3])}, ...)"
            )
        queries = np.flatnonzero(self.user == self.users.index(user))
        if not len(queries):
            raise InputError(
                f"user {user!r}: not among the {len(np.unique(self.user))} users that this run of "
                f"profile {self.key.profile} ranks"
            )
        best = [int(item) for item in top[queries[-1]][:number] if item]
        return pd.DataFrame(
            {
                "place": np.arange(1, len(best) + 1),
                "item": [self.items[item] for item in best],
                "title": [self.titles[item] for item in best],
            }
        )

    def write_trec(self, folder: Path, *, numbers: bool = False) -> list[Path]:
        """Write the qrels and the run of either protocol; returns the paths.

        A query is a user, by the source's id; where a user has several, "ID/1", "ID/2" and so on. A
        document is an item, by the source's id. numbers: our own numbers instead. Raises InputError
        for ids with blanks, which would split a line, and where the folder cannot be written.
        """
        users = list(map(str, range(len(self.users)))) if numbers else self.users
        items = list(map(str, range(len(self.items)))) if numbers else self.items
        if odd := [name for name in (*users, *items[1:]) if not name or name.split() != [name]]:
            raise InputError(
                f"the id {odd[0]!r} has a blank, which would split a line of a TREC file; export "
                "numbers instead of ids (--numbers)"
            )
        several = np.bincount(self.user, minlength=len(users)) > 1
        place = np.arange(len(self.user)) - np.searchsorted(self.user, self.user)
        names = [
            f"{users[u]}/{k + 1}" if several[u] else users[u]
            for u, k in zip(self.user.tolist(), place.tolist(), strict=True)
        ]
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise InputError(
                f"two queries would be called {twice!r}, which is a user's id and another's with "
                "the number of its query; export numbers instead of ids (--numbers)"
            )
        name = f"{slug(self.key.model)}-{slug(self.key.variant)}-seed-{self.seed}"
        paths = [folder / f"{slug(self.key.dataset)}.qrels"]
        write_qrels(paths[0], self.target, names, items)
        for protocol in PROTOCOLS:
            paths.append(folder / f"{name}.{slug(protocol)}.run")
            masked = protocol == "left out"
            write_run(paths[-1], self.ranks, name, masked=masked, queries=names, items=items)
        return paths


def top_lists(store: Store, key: RunKey, seed: int, *, data: Path | None = None) -> TopLists:
    """The top lists of a finished run.

    data: folder of datasets. Raises InputError where there is no such run, where its top lists were
    not kept, and where the dataset here is not the one that it was made with.
    """
    from benchmark.core import split  # it needs torch, which tidy tables do without
    from benchmark.data.bundle import load_bundle, user_ids

    stored = store.status(key, seed)
    result = stored.result
    if result is None or stored.status != "complete":
        raise InputError(f"{key}, seed {seed}: {stored.problem or stored.status}")
    if result.test is None or result.test.top is None:
        raise InputError(
            f"{key}, seed {seed}: its top lists were not kept (the references, trials and runs "
            "with several test targets a user have none); make one with one target a user by "
            "`run --anew`"
        )
    bundle = load_bundle(key.dataset, root=data)
    if bundle.meta.data_hash != result.record.hashes.data:
        raise InputError(
            f"{key}, seed {seed}: made with another edition of {key.dataset} than that in "
            f"{bundle.path}; its numbers of users and items are not these"
        )
    queries = split(bundle, result.record.spec.protocol).test
    return TopLists(
        key,
        seed,
        result.test,
        [str(name) for name in user_ids(bundle)],
        ["", *bundle.items["id"].astype(str)],
        ["", *bundle.items["title"].astype(str)],
        queries.user,
        queries.target,
    )
