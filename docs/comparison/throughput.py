"""RecBole's seconds per optimiser step and per evaluation, in short windows.

Steps to a quality are the same on every machine; seconds are not. So time to quality is computed
as steps x seconds per step + evaluations x seconds per evaluation, and those seconds are measured
in windows that alternate with the other implementation's on the same core:

    for round in 1 2 3 4 5; do
        taskset -c 0 python throughput.py --model SASRec --batch 256 --scratch DIR
        taskset -c 0 <the other implementation's window>
    done

Every call appends one window to figures/throughput-beauty-SASRec-b256.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from figures_files import FIGURES, write_json
from recbole_setup import SOURCES, machine, prepare, train_step


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and process CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=sorted(SOURCES), default="beauty")
    parser.add_argument("--model", required=True, help="a sequential model's name in RecBole")
    parser.add_argument("--batch", type=int, required=True, help="prefixes per optimiser step")
    parser.add_argument("--steps", type=int, default=30, help="timed steps in the window")
    parser.add_argument("--warm-up", type=int, default=3, help="untimed steps before them")
    parser.add_argument("--evaluations", type=int, default=3, help="timed, after an untimed one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for RecBole's files")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    name = f"{arguments.dataset}-{arguments.model}-b{arguments.batch}"
    scratch = arguments.scratch.resolve() / f"throughput-{name}"
    scratch.mkdir(parents=True, exist_ok=True)
    options = {"train_batch_size": arguments.batch}
    run = prepare(arguments.dataset, arguments.model, scratch, seed=1, options=options)

    step_seconds: list[tuple[float, float]] = []
    batches = iter(run.train)
    full = len(run.train.dataset) // arguments.batch  # full batches an epoch

    def step() -> None:
        train_step(run, next(batches))

    run.model.train()
    for count in range(arguments.warm_up + arguments.steps):
        if count % full == full - 1:
            batches = iter(run.train)
        step_seconds.append(seconds(step))

    def evaluate() -> None:
        run.trainer.evaluate(run.valid, load_best_model=False)

    evaluation_seconds = [seconds(evaluate) for _ in range(arguments.evaluations + 1)]
    timed = {"step": step_seconds[arguments.warm_up :], "evaluation": evaluation_seconds[1:]}
    window = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "steps": arguments.steps,
        "evaluations": arguments.evaluations,
        **{
            f"{clock}_s_per_{work}": round(statistics.median(t[index] for t in times), 5)
            for work, times in timed.items()
            for index, clock in enumerate(("wall", "cpu"))
        },
        "machine": machine(),
    }
    path = FIGURES / f"throughput-{name}.json"
    windows = json.loads(path.read_text())["windows"] if path.exists() else []
    write_json(path, {"run": name, "windows": [*windows, window]})
    print(json.dumps(window, indent=1))


if __name__ == "__main__":
    main()
