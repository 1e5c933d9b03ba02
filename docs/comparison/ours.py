"""Our side of the comparison: steps to the threshold and quality, and seconds in short windows.

    python docs/comparison/ours.py runs --store runs     from the stored `quick` runs of Table 2
    python docs/comparison/ours.py window                one window, to alternate with throughput.py

Both write figures/ours.json, in the form that compare.py reads. A window has one thread and counts
process CPU seconds, as RecBole's do. Needs this project's own environment, from its root.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmark.data.bundle import load_bundle
from benchmark.data.files import atomic_file
from benchmark.data.sequences import leave_one_out
from benchmark.records import RunRecord, UnitKey
from benchmark.registry import get_profile, resolve
from benchmark.store import Store
from benchmark.train.engine import TrainingRun

OURS = Path(__file__).resolve().parent / "figures" / "ours.json"
THRESHOLD = 0.10


def summary(record: RunRecord) -> dict[str, Any]:
    """One stored run; the threshold is the first of two evaluations in a row that reach it."""
    steps, values = record.curves.validation_steps, record.curves.validation
    reached = next(
        (i for i in range(len(values) - 1) if min(values[i], values[i + 1]) >= THRESHOLD), None
    )
    return {
        "dataset": record.unit.dataset,
        "model": record.unit.model,
        "seed": record.seed,
        "steps_to_threshold": None if reached is None else steps[reached],
        "evaluations_to_threshold": None if reached is None else reached + 1,
        "valid_ndcg@10": max(values),
        "best_step": record.best_step,
        "steps": record.steps,
        "plateau": record.plateau,
        "code": record.hashes.code[:12],
        "curve": [list(point) for point in zip(steps, values, strict=True)],
    }


def runs(store: Store) -> list[dict[str, Any]]:
    """Every finished base run of SASRec and GRU4Rec under the `quick` profile."""
    found = []
    for dataset in ("beauty", "ml-100k"):
        for model in ("SASRec", "GRU4Rec"):
            for seed in range(get_profile("quick").seeds):
                stored = store.status(UnitKey("quick", dataset, model, "base"), seed)
                if stored.status == "complete" and stored.record is not None:
                    found.append(summary(stored.record))
    return found


def window(dataset: str, model: str, steps: int) -> dict[str, Any]:
    """CPU seconds of a step (mean over `steps`) and of an evaluation (median of three)."""
    resolved = resolve(model, dataset, get_profile("quick"))
    bundle = load_bundle(dataset)
    sequences = leave_one_out(bundle, resolved.config.max_length)
    run = TrainingRun(
        lambda: resolved.row.cls(resolved.config, bundle.catalogue()),
        resolved.training,
        sequences.train,
        sequences.validation,
        [0],
        torch.device("cpu"),
        None,
        lambda _: None,
        None,
    )
    for _ in range(10):
        run.train_step()
    started = time.process_time()
    for _ in range(steps):
        run.train_step()
    per_step = (time.process_time() - started) / steps
    evaluations = []
    for _ in range(3):
        started = time.process_time()
        run.validation_values()
        evaluations.append(time.process_time() - started)
    return {
        "dataset": dataset,
        "model": model,
        "steps": steps,
        "cpu_s_per_step": per_step,
        "cpu_s_per_evaluation": statistics.median(evaluations),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("runs", "window"))
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--dataset", default="beauty")
    parser.add_argument("--model", default="SASRec")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(OURS.read_text()) if OURS.exists() else {"runs": [], "windows": []}
    if arguments.what == "runs":
        record["runs"] = runs(Store(arguments.store))
    else:
        record["windows"].append(window(arguments.dataset, arguments.model, arguments.steps))
    with atomic_file(OURS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {OURS}: {len(record['runs'])} runs, {len(record['windows'])} windows")


if __name__ == "__main__":
    main()
