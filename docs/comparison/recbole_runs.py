"""Train one RecBole model and record its validation curve against steps and seconds.

The loop is ours, around RecBole's own train loader, `calculate_loss`, optimiser and
`Trainer.evaluate`, so that validation can happen every few thousand samples instead of once an
epoch. Validation has both protocols: the history kept, RecBole's sequential default, which also
decides which state is the best; and the history left out, which RecBole's general models have and
which takes a loader of our own (recbole_history.py). Test metrics are computed once, at the end,
for the best validation state.

    python recbole_runs.py --dataset beauty --model SASRec --batch 256 --lr 2e-3 --scratch DIR

rewrites figures/beauty-SASRec-b256-lr0.002-s1.json after every evaluation; a run whose file is
complete under the same settings is not repeated.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import recbole
import torch
import yaml
from figures_files import FIGURES, write_json
from recbole_history import HistoryLeftOut
from recbole_setup import SOURCES, Run, machine, prepare, train_step


@dataclass
class Clock:
    """Wall and process CPU seconds spent in one kind of work, summed over its intervals."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> Clock:
        self._start = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]

    def seconds(self, name: str) -> dict[str, float]:
        return {f"{name}_wall_s": round(self.wall, 3), f"{name}_cpu_s": round(self.cpu, 3)}


def first_of_two(curve: list[dict[str, Any]], threshold: float) -> dict[str, Any] | None:
    """The first evaluation of two in a row at or above `threshold`, or None."""
    for this, following in pairwise(curve):
        if min(this["ndcg@10"], following["ndcg@10"]) >= threshold:
            return this
    return None


def train(run: Run, record: dict[str, Any], path: Path, arguments: argparse.Namespace) -> None:
    """Train until plateau, threshold or limit; `record` is on disk after every evaluation.

    Time to quality is that of the history kept, so the second ranking has a clock of its own.
    """
    training, evaluation, second = Clock(), Clock(), Clock()
    left_out = HistoryLeftOut(run)
    interval = max(1, round(arguments.eval_every / arguments.batch))
    record["eval_every_steps"] = interval
    curve: list[dict[str, Any]] = record["curve"]
    best_value, best_state = -1.0, run.model.state_dict()
    best_left_out, since_best = -1.0, 0
    step, batches = 0, iter(run.train)
    losses: list[float] = []
    run.model.train()
    while record["status"] == "running":
        with training:
            while len(losses) < interval:
                interaction = next(batches, None)
                if interaction is None:
                    batches = iter(run.train)
                    continue
                losses.append(train_step(run, interaction))
                step += 1
        with evaluation:
            valid = run.trainer.evaluate(run.valid, load_best_model=False)
        with second:
            masked = run.trainer.evaluate(left_out, load_best_model=False)
        run.model.train()
        curve.append(
            {
                "step": step,
                "loss": round(sum(losses) / len(losses), 5),
                **training.seconds("train"),
                **evaluation.seconds("eval"),
                **second.seconds("eval_left_out"),
                "ndcg@10": float(valid["ndcg@10"]),
                "ndcg@10 left out": float(masked["ndcg@10"]),
            }
        )
        losses = []
        since_best += 1
        if curve[-1]["ndcg@10"] > best_value:
            best_value, since_best = curve[-1]["ndcg@10"], 0
            best_state = copy.deepcopy(run.model.state_dict())
            record["best_step"] = step
            record["valid_at_best"] = {name: float(value) for name, value in valid.items()}
        if curve[-1]["ndcg@10 left out"] > best_left_out:
            best_left_out, since_best = curve[-1]["ndcg@10 left out"], 0
            record["left_out_at_best"] = {"step": step, "ndcg@10": best_left_out}
        record["threshold_reached"] = first_of_two(curve, arguments.threshold)
        if arguments.stop_at_threshold and record["threshold_reached"] is not None:
            record["status"] = "threshold"
        elif since_best >= arguments.patience:
            record["status"] = "plateau"
        elif training.cpu + evaluation.cpu + second.cpu >= 60 * arguments.limit_minutes:
            record["status"] = "limit"
        write_json(path, record)
        print(curve[-1], flush=True)
    run.model.load_state_dict(best_state)
    test = run.trainer.evaluate(run.test, load_best_model=False)
    record["test_at_best"] = {name: float(value) for name, value in test.items()}
    write_json(path, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=sorted(SOURCES), required=True)
    parser.add_argument("--model", required=True, help="a sequential model's name in RecBole")
    parser.add_argument("--batch", type=int, required=True, help="prefixes per optimiser step")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--threshold", type=float, default=0.10, help="valid NDCG@10 to record")
    parser.add_argument("--stop-at-threshold", action="store_true")
    parser.add_argument("--patience", type=int, default=20, help="evaluations without a new best")
    parser.add_argument("--limit-minutes", type=float, default=45, help="of process CPU time")
    parser.add_argument("--eval-every", type=int, default=25_600, help="training prefixes")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for RecBole's files")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    tag = f"b{arguments.batch}-lr{arguments.lr:g}-s{arguments.seed}"
    name = f"{arguments.dataset}-{arguments.model}-{tag}"
    settings = {key: value for key, value in vars(arguments).items() if key != "scratch"}
    path = FIGURES / f"{name}.json"
    if path.exists():
        earlier = json.loads(path.read_text())
        both = all("ndcg@10 left out" in point for point in earlier["curve"])
        if earlier["test_at_best"] is not None and earlier["settings"] == settings and both:
            print(f"{path.name} is complete")
            return
    scratch = arguments.scratch.resolve() / name
    scratch.mkdir(parents=True, exist_ok=True)
    run = prepare(
        arguments.dataset,
        arguments.model,
        scratch,
        arguments.seed,
        {"train_batch_size": arguments.batch, "learning_rate": arguments.lr},
    )
    options = Path(recbole.__file__).parent / "properties" / "model" / f"{arguments.model}.yaml"
    shown = ("eval_args", "repeatable", "MAX_ITEM_LIST_LENGTH", "learner", "weight_decay")
    record: dict[str, Any] = {
        "run": name,
        "status": "running",
        "settings": settings,
        "recbole_options": {
            key: run.config[key] for key in (*shown, *yaml.safe_load(options.read_text()))
        },
        "parameters": sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        "train_prefixes": len(run.train.dataset),
        "machine": machine(),
        "threshold_reached": None,
        "best_step": None,
        "valid_at_best": None,
        "left_out_at_best": None,
        "test_at_best": None,
        "curve": [],
    }
    train(run, record, path, arguments)


if __name__ == "__main__":
    main()
