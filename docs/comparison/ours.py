"""Our side of the comparison: steps to the threshold and quality, and seconds in short windows.

    python docs/comparison/ours.py train --seed 0        one run to its plateau, from the root
    python docs/comparison/ours.py window                one window, to alternate with throughput.py

Both add to figures/ours.json, in the form that compare.py reads. One thread, the same allocator
settings as RecBole's runs (run_all.sh), process CPU seconds. Needs this project's own environment.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from benchmark.data.bundle import load_bundle
from benchmark.data.files import atomic_file
from benchmark.data.sequences import leave_one_out
from benchmark.registry import get_profile, resolve
from benchmark.train.engine import TrainingRun

OURS = Path(__file__).resolve().parent / "figures" / "ours.json"
THRESHOLD = 0.10


def build(dataset: str, model: str, seed: int) -> TrainingRun:
    """A run of the row under the `quick` profile, with evaluations as often as RecBole's."""
    resolved = resolve(model, dataset, get_profile("quick"))
    training = resolved.training.model_copy(update={"steps": 2000})
    bundle = load_bundle(dataset)
    sequences = leave_one_out(bundle, resolved.config.max_length)
    make = lambda: resolved.row.cls(resolved.config, bundle.catalogue())  # noqa: E731
    device = torch.device("cpu")
    return TrainingRun(
        make, training, sequences.train, sequences.validation, [seed], device, None, _quiet, None
    )


def train(dataset: str, model: str, seed: int) -> dict[str, object]:
    """Train to the plateau; the threshold is the first of two evaluations in a row."""
    started = time.process_time()
    run = build(dataset, model, seed)
    curve = run.run().curves[0]
    values = curve.validation
    reached = next(
        (i for i in range(len(values) - 1) if min(values[i], values[i + 1]) >= THRESHOLD), None
    )
    return {
        "dataset": dataset,
        "model": model,
        "seed": seed,
        "steps_to_threshold": None if reached is None else curve.steps[reached],
        "evaluations_to_threshold": None if reached is None else reached + 1,
        "valid_ndcg@10": curve.best,
        "best_step": curve.best_step,
        "steps": curve.stopped_at,
        "plateau": curve.plateau,
        "cpu_s": time.process_time() - started,
        "curve": [list(point) for point in zip(curve.steps, values, strict=True)],
    }


def window(dataset: str, model: str, steps: int = 60) -> dict[str, object]:
    """CPU seconds of a step (mean over `steps`) and of an evaluation (median of three)."""
    run = build(dataset, model, 0)
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
        "cpu_s_per_step": per_step,
        "cpu_s_per_evaluation": statistics.median(evaluations),
    }


def _quiet(_: object) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("train", "window"))
    parser.add_argument("--dataset", default="beauty")
    parser.add_argument("--model", default="SASRec")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "train":
        kind, entry = "runs", train(arguments.dataset, arguments.model, arguments.seed)
    else:
        kind, entry = "windows", window(arguments.dataset, arguments.model)
    record = json.loads(OURS.read_text()) if OURS.exists() else {"runs": [], "windows": []}
    record[kind].append(entry)
    with atomic_file(OURS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print({key: value for key, value in entry.items() if key != "curve"})


if __name__ == "__main__":
    main()
