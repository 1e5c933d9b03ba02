"""Our side of the comparison with RecTools: the exported split, our rows, and both side by side.

    python docs/comparison/rectools_ours.py split --scratch DIR
    python docs/comparison/rectools_ours.py train --scratch DIR --dataset beauty --model SASRec
    python docs/comparison/rectools_ours.py compare --scratch DIR --trials runs

`split` writes what is trained on and the validation targets, and no test item. `train` runs one
row of this project on the same split (one validation target a user) with a trial seed that no table
reports, as a trial: it is never ranked on test. `compare` reads both sides' ranks from DIR,
computes metrics, standard errors over users and paired differences with this project's code, checks
the means that RecTools's script computed against them, and writes figures/rectools.json.

`--trials` adds rows from a store of the tuning (docs/tuning.md), those of the longest budget. They
are ranked on the same target of every user, given the same history, but were trained on fewer
items, since a trial holds out several targets a user: ours has that disadvantage.

Needs this project's own environment, from its root.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures_files import FIGURES, Split, read_split, split_path, write_json, write_split

from benchmark.core import compute
from benchmark.core import split as split_of
from benchmark.data.bundle import load_bundle
from benchmark.evaluate.metrics import PROTOCOLS, per_user
from benchmark.plan import spec_of
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunRecord
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile

SEED = 1000
DATASETS = ("ml-100k", "beauty")
MODELS = ("SASRec", "BERT4Rec")
TOLERANCE = 1e-9
"""Between two float64 computations of one mean of at most 4,322 values below 1."""


def export(scratch: Path) -> None:
    """The training part and the validation targets of both datasets."""
    for dataset in DATASETS:
        bundle = load_bundle(dataset)
        protocol = spec_of("SASRec", dataset, get_profile("quick")).protocol
        sequences = split_of(bundle, protocol)
        asked, trained = sequences.validation, sequences.histories
        # What stands before a validation target is what is trained on.
        np.testing.assert_array_equal(asked.seen_items, trained.items)
        np.testing.assert_array_equal(asked.seen_offsets, trained.offsets)
        np.testing.assert_array_equal(asked.user, np.arange(len(asked.user)))
        exported = Split(
            n_items=bundle.catalogue().items,
            items=trained.items,
            offsets=trained.offsets,
            windows=sequences.train.items,
            first_target=sequences.train.first_target,
            target=asked.target,
        )
        path = split_path(scratch, dataset)
        write_split(exported, path)
        print(f"{path}: {len(asked.target)} users, {len(trained.items)} items to train on")


def train(arguments: argparse.Namespace) -> None:
    """One row of ours, its ranks to the scratch folder."""
    dataset, model = arguments.dataset, arguments.model
    spec = spec_of(model, dataset, get_profile("quick"))
    spec = spec.with_protocol(trial=True, validation_targets=1)
    assert spec.training is not None
    given = {"lr": arguments.lr, "steps": arguments.steps}
    changed = {name: value for name, value in given.items() if value is not None}
    spec = spec.with_training(**changed, eval_every=arguments.steps or spec.training.steps)
    if arguments.dropout is not None:
        spec = spec.model_copy(update={"config": spec.config | {"dropout": arguments.dropout}})
    assert spec.training is not None
    tag = f"lr{spec.training.lr:g}-d{spec.config['dropout']:g}-{spec.training.steps}"
    path = arguments.scratch / f"ours-{dataset}-{model}-{tag}.npz"
    if path.exists():
        print(f"{path.name} is there")
        return
    started = time.process_time()
    (outcome,) = compute(spec, load_bundle(dataset), [SEED], device=torch.device("cpu"))
    ranks = outcome.validation
    if ranks is None:
        raise SystemExit(f"{model} on {dataset} failed: {outcome.failure}")
    settings = {
        "dataset": dataset,
        "model": model,
        "seed": SEED,
        **spec.training.model_dump(),
        "config": spec.config,
        "cpu_s": round(time.process_time() - started, 1),
    }
    counts = {name: getattr(ranks, name) for name in ("above", "equal")}
    counts |= {f"{name}_masked": getattr(ranks, f"{name}_masked") for name in counts}
    np.savez(path, settings=json.dumps(settings), candidates=ranks.n_candidates_masked, **counts)
    values = [float(per_user(ranks, "NDCG@10", masked=p == "left out").mean()) for p in PROTOCOLS]
    print(path.name, *(f"{p} {v:.4f}" for p, v in zip(PROTOCOLS, values, strict=True)), settings)


def ndcg(split: Split, above: np.ndarray, equal: np.ndarray) -> np.ndarray:
    """[U] NDCG@10 by this project's code, of ranks that are all of one protocol."""
    zeros = np.zeros_like(above)
    ranks = Ranks(above, equal, zeros, zeros, zeros + 1, split.n_items)
    return per_user(ranks, "NDCG@10")


def ours(scratch: Path, dataset: str, split: Split) -> list[dict[str, Any]]:
    """Our rows on a dataset, each with its values of every user under both protocols."""
    found = []
    for path in sorted(scratch.glob(f"ours-{dataset}-*.npz")):
        with np.load(path) as stored:
            values = {
                "kept": ndcg(split, stored["above"], stored["equal"]),
                "left out": ndcg(split, stored["above_masked"], stored["equal_masked"]),
            }
            found.append({"run": path.stem, **json.loads(str(stored["settings"]))} | {"of": values})
    return found


def trials(root: Path, dataset: str, split: Split) -> list[dict[str, Any]]:
    """Rows of the tuning with each model's longest budget, which no score has a say in, ranked on
    their users' last validation target: the one that all rows here have.

    A trial has several targets a user, in the order of time, the last of which is that of the
    leave-one-out split; each is ranked given the true history before it.
    """
    found = []
    for path in sorted(root.glob(f"quick/{dataset}/*/trial-*/seed-{SEED}.json")):
        record = RunRecord.model_validate_json(path.read_text())
        spec = record.spec
        if spec.model not in MODELS or spec.training is None:
            continue
        ranks = Store(root).read(spec.key, SEED).validation
        if ranks is None or ranks.user is None or not spec.protocol.trial:
            raise SystemExit(f"{path}: not a finished trial with several targets a user")
        last = np.flatnonzero(np.diff(ranks.user, append=-1))
        np.testing.assert_array_equal(ranks.user[last], np.arange(len(split.target)))
        # The items that are left are those that the whole training part leaves, so the history and
        # the target are those of the split here.
        met = np.diff(split.offsets) - [
            (split.items[a:b] == t).sum()
            for a, b, t in zip(split.offsets, split.offsets[1:], split.target, strict=False)
        ]
        np.testing.assert_array_equal(ranks.n_candidates_masked[last], split.n_items - met)
        values = {
            "kept": ndcg(split, ranks.above[last], ranks.equal[last]),
            "left out": ndcg(split, ranks.above_masked[last], ranks.equal_masked[last]),
        }
        found.append(
            {
                "run": f"ours-{spec.model}-{spec.variant}",
                "model": spec.model,
                "seed": SEED,
                "trained on fewer items a user": spec.protocol.validation_targets - 1,
                "lr": spec.training.lr,
                "dropout": spec.config["dropout"],
                "steps": spec.training.steps,
                "of": values,
            }
        )
    longest = {
        model: max(r["steps"] for r in found if r["model"] == model)
        for model in {row["model"] for row in found}
    }
    return [row for row in found if row["steps"] == longest[row["model"]]]


def theirs(scratch: Path, dataset: str, split: Split) -> list[dict[str, Any]]:
    """RecTools's rows, checked against its script's own metrics; each protocol at its best."""
    found = []
    for path in sorted(FIGURES.glob(f"rectools-{dataset}-*.json")):
        record = json.loads(path.read_text())
        values = {}
        with np.load(scratch / f"{path.stem}.npz") as stored:
            for protocol in PROTOCOLS:
                own = ndcg(split, stored[f"{protocol} above"], stored[f"{protocol} equal"])
                difference = abs(own.mean() - record["best"][protocol]["ndcg@10"])
                if difference > TOLERANCE:
                    raise SystemExit(f"{path.name}: the two formulas differ by {difference}")
                values[protocol] = own
        last = record["curve"][-1]
        found.append(
            {
                "run": path.stem,
                "model": record["settings"]["model"],
                "ended": record["status"],
                "epochs": last["epoch"],
                "best_step": {p: record["best"][p]["step"] for p in PROTOCOLS},
                "steps": last["step"],
                "cpu_s": round(last["train_cpu_s"] + last["eval_cpu_s"], 1),
                "of": values,
            }
        )
    return found


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean and its standard error over users."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": round(float(values.mean()), 5), "se": round(float(error), 5)}


def shown(dataset: str, row: dict[str, Any], rivals: list[dict[str, Any]]) -> dict[str, Any]:
    """A row as it is written: means in place of values, and its differences from the rivals'."""
    values = row["of"]
    facts = {name: fact for name, fact in row.items() if name != "of"}
    written = {"dataset": dataset, **facts, "ndcg@10": {p: summary(values[p]) for p in PROTOCOLS}}
    if rivals:
        written["less ours"] = {
            rival["run"]: {p: summary(values[p] - rival["of"][p]) for p in PROTOCOLS}
            for rival in rivals
        }
    return written


def compare(scratch: Path, store: Path | None) -> None:
    """Writes and prints every row with what RecTools's have less ours, paired over users."""
    result = []
    for dataset in DATASETS:
        split = read_split(scratch, dataset)
        own, peers = ours(scratch, dataset, split), theirs(scratch, dataset, split)
        if store is not None:
            own += trials(store, dataset, split)
        result += [shown(dataset, row, []) for row in own]
        for row in peers:
            rivals = [other for other in own if other["model"] == row["model"]]
            result.append(shown(dataset, row, rivals))
    write_json(FIGURES / "rectools.json", {"rows": result})
    for row in result:
        cells = [f"{p} {m['mean']:.4f} ± {m['se']:.4f}" for p, m in row["ndcg@10"].items()]
        print(row["dataset"], row["run"], *cells, f"{row.get('cpu_s', '?')} CPU s")
        for other, difference in row.get("less ours", {}).items():
            signed = [f"{p} {m['mean']:+.4f} ± {m['se']:.4f}" for p, m in difference.items()]
            print("   less", other, *signed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("split", "train", "compare"))
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--trials", type=Path, help="a store with trials of the tuning")
    parser.add_argument("--dataset", choices=DATASETS, default="ml-100k")
    parser.add_argument("--model", choices=MODELS, default="SASRec")
    parser.add_argument("--lr", type=float, help="the rest are those of the profile quick")
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "split":
        export(arguments.scratch)
    elif arguments.what == "train":
        train(arguments)
    else:
        compare(arguments.scratch, arguments.trials)


if __name__ == "__main__":
    main()
