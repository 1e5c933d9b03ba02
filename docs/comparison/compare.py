"""Combine RecBole's figures with ours: time to quality, and quality at the plateau.

    python compare.py                     RecBole's side alone, from figures/
    python compare.py --ours ours.json    beside it ours: the ratio, and how strong every row is

Standard library only. Time to quality = steps x seconds per step + evaluations x seconds per
evaluation: steps and evaluations from the training runs, seconds from the alternated windows of
throughput.py (the median over the windows with the run's allocator settings; without windows the
run's own seconds). `--ours` names
a file written from our engine's records, one entry per seed:

    {"runs": [{"dataset": "beauty", "model": "SASRec", "variant": "base", "seed": 1,
               "steps_to_threshold": 420, "evaluations_to_threshold": 21,
               "valid_ndcg@10": 0.1044, "valid_ndcg@10_left_out": 0.1302,
               "convergence": "gaining"}],
     "windows": [{"dataset": "beauty", "model": "SASRec",
                  "cpu_s_per_step": 0.083, "cpu_s_per_evaluation": 0.4}]}

`evaluations_to_threshold` counts the evaluation that reached it and not the confirming one;
`steps_to_threshold` is null for a run that never reached it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent / "figures"
LIMIT_MINUTES = 45.0  # a threshold reached later counts as not reached
Record = dict[str, Any]

COUNTERPART = {
    "SASRec (MM)": "SASRec",
    "Mamba4Rec (MM)": "Mamba4Rec",
    "NOVA": "BERT4Rec",
    "UniSRec": "SASRec",
    "IISAN": "SASRec",
    "MMMLP": "SMLP4Rec",
    "FindRec": "Mamba4Rec",
}
"""The row with the same encoder and objective that knows ids alone."""


def recbole_runs() -> list[Record]:
    """Every training run with at least one evaluation, by file name."""
    records = (json.loads(path.read_text()) for path in sorted(FIGURES.glob("*-s[0-9]*.json")))
    return [record for record in records if record["curve"]]


def window_seconds(windows: list[Record]) -> tuple[float, float]:
    """Median CPU seconds per step and per evaluation over windows."""
    return (
        statistics.median(window["cpu_s_per_step"] for window in windows),
        statistics.median(window["cpu_s_per_evaluation"] for window in windows),
    )


def recbole_seconds(record: Record) -> tuple[float, float, str]:
    """Seconds per step and per evaluation of one run, and where they come from."""
    settings = record["settings"]
    name = f"{settings['dataset']}-{settings['model']}-b{settings['batch']}"
    path = FIGURES / f"throughput-{name}.json"
    allocator = record["machine"]["malloc"]
    windows = [
        window
        for window in (json.loads(path.read_text())["windows"] if path.exists() else [])
        if window["machine"]["malloc"] == allocator
    ]
    if windows:
        return *window_seconds(windows), "windows"
    last = record["curve"][-1]
    return last["train_cpu_s"] / last["step"], last["eval_cpu_s"] / len(record["curve"]), "the run"


def time_to_threshold(record: Record) -> tuple[int, float, str] | None:
    """(step, seconds, source of the seconds), None if not reached within the limit."""
    reached = record["threshold_reached"]
    if reached is None:
        return None
    evaluations = reached["step"] // record["eval_every_steps"]
    per_step, per_evaluation, source = recbole_seconds(record)
    total = reached["step"] * per_step + evaluations * per_evaluation
    return (reached["step"], total, source) if total <= 60 * LIMIT_MINUTES else None


def print_runs(records: list[Record]) -> None:
    print("| run | ended by | steps | best valid NDCG@10 | test NDCG@10 there | to threshold |")
    print("|---|---|---|---|---|---|")
    for record in records:
        test = record["test_at_best"]
        reached = time_to_threshold(record)
        cells = (
            record["run"],
            record["status"],
            str(record["curve"][-1]["step"]),
            f"{best_value(record):.4f}",
            "" if test is None else f"{test['ndcg@10']:.4f}",
            "" if reached is None else f"{reached[0]} steps, {reached[1]:.0f} s ({reached[2]})",
        )
        print(f"| {' | '.join(cells)} |")


def best_value(record: Record) -> float:
    return max(row["ndcg@10"] for row in record["curve"])


def of(records: list[Record], dataset: str, model: str) -> list[Record]:
    """RecBole's runs of a model on a dataset, or our windows."""
    places = (record.get("settings", record) for record in records)
    return [
        record
        for record, place in zip(records, places, strict=True)
        if (place["dataset"], place["model"]) == (dataset, model)
    ]


def print_ratios(records: list[Record], ours: Record) -> None:
    """Ratio of times to the threshold, where both sides have one."""
    for dataset, model in sorted({(run["dataset"], run["model"]) for run in ours["runs"]}):
        windows = of(ours["windows"], dataset, model)
        theirs = map(time_to_threshold, of(records, dataset, model))
        reached = [time for time in theirs if time is not None]
        if not windows or not reached:
            continue
        fastest = min(seconds for _, seconds, _ in reached)
        per_step, per_evaluation = window_seconds(windows)
        times = [
            math.inf
            if run["steps_to_threshold"] is None
            else run["steps_to_threshold"] * per_step
            + run["evaluations_to_threshold"] * per_evaluation
            for run in of(ours["runs"], dataset, model)
            if run["variant"] == "base"
        ]
        median = statistics.median(times)
        print(
            f"{dataset} {model}, to the threshold: {median:.1f} s (ours, median of {len(times)} "
            f"seeds), {fastest:.1f} s (RecBole's fastest of {len(reached)} that reached it), "
            f"ratio {fastest / median:.1f}"
        )


def print_strength(records: list[Record], ours: Record) -> None:
    """Every row's validation NDCG@10 beside RecBole's best, its ID counterpart and popularity, the
    history kept; then beside its ID counterpart with the history left out, which RecBole's runs
    lack so far."""
    values: dict[tuple[str, str, str], list[Record]] = {}
    for run in ours["runs"]:
        values.setdefault((run["dataset"], run["model"], run["variant"]), []).append(run)
    print(
        "| dataset | row | history kept | RecBole's best | ID counterpart | popularity "
        "| left out | ID counterpart |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row, runs in values.items():
        dataset, model, variant = row
        kept, left_out = column(runs, "valid_ndcg@10"), column(runs, "valid_ndcg@10_left_out")
        short = any(run.get("convergence", "not shown") in ("not shown", "gaining") for run in runs)
        theirs = of(records, dataset, model) if variant in ("base", "long") else []
        best = max(theirs, key=best_value, default=None)
        counterpart = values.get((dataset, COUNTERPART.get(model, ""), "base"), [])
        popularity = values.get((dataset, "Popularity", "base"))
        floor = statistics.fmean(column(popularity, "valid_ndcg@10")) if popularity else None
        cells = [
            dataset,
            model if variant == "base" else f"{model} [{variant}]",
            spread(kept) + (" †" if short else ""),
            "" if best is None else verdict(kept, best_value(best)) + ended(best),
            verdict(kept, bound(column(counterpart, "valid_ndcg@10"))),
            verdict(kept, floor),
            spread(left_out),
            verdict(left_out, bound(column(counterpart, "valid_ndcg@10_left_out"))),
        ]
        print(f"| {' | '.join(cells)} |")
    print("\nMean ± sd over seeds. RecBole: one seed a setting, * ended before its plateau.")
    print("ID counterpart: its mean less one sd. † convergence not shown, or still gaining.")


def column(runs: list[Record], name: str) -> list[float]:
    """Of the runs that have it: those recorded before both protocols were lack the second."""
    return [run[name] for run in runs if name in run]


def bound(values: list[float]) -> float | None:
    """Mean less one sd of a counterpart; None where there is none."""
    return statistics.fmean(values) - deviation(values) if values else None


def spread(values: list[float]) -> str:
    if not values:
        return ""
    mean = statistics.fmean(values)
    return f"{mean:.4f}" + (f" ± {deviation(values):.4f}" if len(values) > 1 else "")


def deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def verdict(own: list[float], floor: float | None) -> str:
    if floor is None:
        return ""
    return f"{floor:.4f} {'ok' if statistics.fmean(own) >= floor else 'BELOW'}"


def ended(record: Record) -> str:
    return "" if record["status"] == "plateau" else " *"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", type=Path, help="our engine's figures, see above")
    arguments = parser.parse_args()
    records = recbole_runs()
    print_runs(records)
    if arguments.ours is not None:
        ours = json.loads(arguments.ours.read_text())
        print()
        print_ratios(records, ours)
        print()
        print_strength(records, ours)


if __name__ == "__main__":
    main()
