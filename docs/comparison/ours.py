"""Our side of the comparison: quality and steps to the threshold, and seconds in short windows.

    python docs/comparison/ours.py runs                  from the committed `quick` runs of Table 2
    python docs/comparison/ours.py window                one window, to alternate with throughput.py

Both write figures/ours.json, in the form that compare.py reads. A window has one thread and counts
process CPU seconds, as RecBole's do. Needs this project's own environment, from its root.
"""

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmark.data.bundle import load_bundle
from benchmark.data.sequences import hold_out
from benchmark.evaluate.metrics import per_user
from benchmark.files import atomic_file
from benchmark.plan import spec_of, specs
from benchmark.runs.schema import RunResult
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from benchmark.settings.resolve import resolve
from benchmark.train.engine import TrainingRun

OURS = Path(__file__).resolve().parent / "figures" / "ours.json"
THRESHOLD = 0.10

BESIDE = {"SASRec": "long", "GRU4Rec": "long", "BERT4Rec": "long", "IISAN": "with-ids"}
"""Variants that the comparison needs beside Table 2's rows: quality far past the plateau, and what
IISAN's missing ids cost. One `run --models M --variant V --profile quick` each."""


def summary(result: RunResult) -> dict[str, Any]:
    """One stored run; the threshold is the first of two evaluations in a row that reach it."""
    record, curves = result.record, result.record.curves
    assert result.validation is not None
    steps, values = curves.validation_steps, curves.validation
    reached = next((i for i, pair in enumerate(pairwise(values)) if min(pair) >= THRESHOLD), None)
    return {
        "dataset": record.spec.dataset,
        "model": record.spec.model,
        "variant": record.spec.variant,
        "seed": record.seed,
        "valid_ndcg@10": float(per_user(result.validation, "NDCG@10").mean()),
        "valid_ndcg@10_left_out": float(per_user(result.validation, "NDCG@10", masked=True).mean()),
        "steps": record.steps,
        "convergence": record.spec.convergence,
        "steps_to_threshold": None if reached is None else steps[reached],
        "evaluations_to_threshold": None if reached is None else reached + 1,
        "code": record.hashes.code[:12],
    }


def runs(store: Store) -> list[dict[str, Any]]:
    """Every finished run of Table 2 under the `quick` profile, and those of `BESIDE`."""
    profile = get_profile("quick")
    wanted = [spec for spec in specs(["table2"], profile) if spec.variant == "base"]
    for model, variant in BESIDE.items():
        wanted += [spec_of(model, dataset, profile, variant) for dataset in profile.run_on]
    found = []
    for spec in wanted:
        for seed in range(profile.seeds):
            if store.status(spec.key, seed).status == "complete":
                found.append(summary(store.read(spec.key, seed)))
    return found


def window(dataset: str, model: str, steps: int) -> dict[str, Any]:
    """CPU seconds of a step (mean over `steps`) and of an evaluation (median of three)."""
    resolved = resolve(model, dataset, get_profile("quick"))
    bundle = load_bundle(dataset)
    sequences = hold_out(bundle, resolved.config.max_length)
    run = TrainingRun(
        lambda: resolved.method.cls(resolved.config, bundle.catalogue()),
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
    parser.add_argument("--store", type=Path, default=Path("results/reference"))
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
