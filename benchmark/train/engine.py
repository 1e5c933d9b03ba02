"""Seed-stacked training: S seeds of one model in one loop, each exactly as it would be alone.

A step (benchmark/train/step.py) draws the windows of every seed's batch and makes the objective's
task of them; then follow forward (of all seeds at once on a GPU, in length groups on a CPU), loss,
backward, clipping and update. At fixed intervals every seed is ranked on validation; its best
parameters are kept, and it is taken out of the stack when it has plateaued.

Nothing here has access to test targets: `train` is given the training windows and the validation
queries alone.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmark.data.sequences import Queries, Windows
from benchmark.evaluate.metrics import per_user
from benchmark.evaluate.ranking import NanScores, rank_targets_stacked
from benchmark.runs.spec import Training
from benchmark.train.objectives import Task, make_task
from benchmark.train.order import BatchOrder
from benchmark.train.schedule import has_plateaued, learning_rates
from benchmark.train.scoring import by_length, scorer
from benchmark.train.stack import Stack
from benchmark.train.step import make_optimizer, training_step
from findrec.recommender import Recommender

SELECTION_METRIC = "NDCG@10"


@dataclass
class Progress:
    """What a watcher is told after every step."""

    step: int
    steps: int
    """The budget; a run may end before it."""
    running: int
    """Seeds still in training."""
    best: float
    """Mean over the seeds of the best validation NDCG@10 so far; NaN before the first."""


class Checkpoint(Protocol):
    """Where a run keeps its state, so that it can be interrupted; storing is not the engine's."""

    def is_due(self) -> bool: ...
    def save(self, state: dict[str, Any]) -> None: ...
    def load(self, device: torch.device) -> dict[str, Any] | None: ...
    def remove(self) -> None: ...


@dataclass
class SeedCurve:
    """One seed's history; it becomes part of the run's record."""

    seed: int
    steps: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    """Mean of each loss, by name, since the previous evaluation."""
    best_step: int = 0
    best: float = float("nan")
    stopped_at: int = 0
    plateau: bool = False
    failure: str | None = None


@dataclass
class Trained:
    """The best parameters of every seed, and how they came to be."""

    stack: Stack
    parameters: dict[str, Tensor]
    """[S, ...], in the order of `curves`."""
    curves: list[SeedCurve]
    targets_per_step: float
    training_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int | None

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """History [B, L] on the model's device -> scores [S, B, N] of the best parameters."""
        return scorer(self.stack, self.parameters)


def train(
    build: Callable[[], Recommender],
    training: Training,
    windows: Windows,
    validation: Queries,
    seeds: Sequence[int],
    *,
    device: torch.device,
    groups: bool | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train all seeds to their plateaus or to the budget.

    groups: length groups; None chooses them where they pay (one seed, on a CPU, no fixed length).
    checkpoint: saved to now and then, continued from if it holds a state, and removed at the end; a
    continued run equals an uninterrupted one bit for bit.
    """
    return TrainingRun(
        build, training, windows, validation, seeds, device, groups, watch, checkpoint
    ).run()


class TrainingRun:
    """One call of `train`: its state, and the steps that change it."""

    def __init__(
        self,
        build: Callable[[], Recommender],
        training: Training,
        windows: Windows,
        validation: Queries,
        seeds: Sequence[int],
        device: torch.device,
        groups: bool | None,
        watch: Callable[[Progress], None],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.training, self.windows, self.device = training, windows, device
        self.validation = by_length(validation)
        self.watch, self.checkpoint = watch, checkpoint
        self.items = torch.from_numpy(windows.items).to(device)
        self.first_target = torch.from_numpy(windows.first_target).to(device)
        self.stack = Stack(build, seeds, device)
        self.model = self.stack.model
        possible = device.type == "cpu" and len(seeds) == 1 and not self.model.fixed_length
        self.groups = possible if groups is None else groups
        if self.groups and not possible:
            raise ValueError(
                "length groups need one seed, a CPU and a model without a fixed length: "
                "leave them off here"
            )
        self.batch_size = min(training.batch_size, len(self.items))
        self.targets_per_step = self._targets_per_step()
        self.rates = learning_rates(training)
        self.curves = [SeedCurve(seed) for seed in seeds]
        self.orders = [BatchOrder(len(self.items), seed) for seed in seeds]
        self.best = {k: v.detach().clone() for k, v in self.stack.parameters.items()}
        self.running = list(range(len(seeds)))
        self.sums: dict[str, Tensor] = {}
        self.step = self.steps_in_sums = 0
        self.seconds = {"training": 0.0, "evaluation": 0.0}
        self.optimizer = make_optimizer(self.stack.parameters.values(), training, device)

    def run(self) -> Trained:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.checkpoint is not None:
            state = self.checkpoint.load(self.device)
            if state is not None:
                self.restore(state)
        while self.running and self.step < self.training.steps:
            started = time.perf_counter()
            self.train_step()
            self.seconds["training"] += time.perf_counter() - started
            if self.step % self.training.eval_every == 0 or self.step == self.training.steps:
                started = time.perf_counter()
                self._evaluate()
                self.seconds["evaluation"] += time.perf_counter() - started
                if self.checkpoint is not None and self.checkpoint.is_due():
                    self.checkpoint.save(self.state())
            known = [c.best for c in self.curves if c.steps]
            mean = float(np.mean(known)) if known else float("nan")
            self.watch(Progress(self.step, self.training.steps, len(self.running), mean))
        if self.checkpoint is not None:
            self.checkpoint.remove()
        return Trained(
            self.stack,
            self.best,
            self.curves,
            self.targets_per_step,
            self.seconds["training"],
            self.seconds["evaluation"],
            _peak_memory(self.device),
        )

    def state(self) -> dict[str, Any]:
        """All that a continued run needs: data order and draws are functions of seed and step, so
        parameters, optimiser moments and the curves are enough. Right after an evaluation only."""
        return {
            "step": self.step,
            "running": self.running,
            "parameters": {k: v.detach() for k, v in self.stack.parameters.items()},
            "moments": {k: dict(self.optimizer.state[p]) for k, p in self.stack.parameters.items()},
            "best": self.best,
            "curves": [asdict(curve) for curve in self.curves],
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.step, self.running, self.best = state["step"], state["running"], state["best"]
        self.curves = [SeedCurve(**curve) for curve in state["curves"]]
        self.seconds = state["seconds"]
        self._set_parameters(state["parameters"], state["moments"])

    def _set_parameters(
        self, parameters: dict[str, Tensor], moments: dict[str, dict[str, Tensor]]
    ) -> None:
        """Replace the stack's parameters and the optimiser's state of each."""
        self.stack.parameters = {k: v.detach().requires_grad_() for k, v in parameters.items()}
        self.optimizer = make_optimizer(self.stack.parameters.values(), self.training, self.device)
        for name, p in self.stack.parameters.items():
            self.optimizer.state[p] = moments[name]

    # -- a step ----------------------------------------------------------------------------------

    def train_step(self) -> None:
        """One optimiser step of every seed in the stack."""
        task, keys = self._task()
        losses = training_step(
            self.stack,
            self.optimizer,
            task,
            keys,
            rate=self.rates[self.step],
            clip=self.training.clip,
            groups=self.groups,
        )
        self.step += 1
        self.steps_in_sums += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def _task(self) -> tuple[Task, Tensor]:
        """Each running seed's next batch as a task, and the keys of its draws, [S, 2]."""
        batches = [self.orders[i].batch(self.step, self.batch_size) for i in self.running]
        index = torch.from_numpy(np.stack(batches)).to(self.device)
        keys = torch.tensor(
            [[self.curves[i].seed, self.step] for i in self.running], device=self.device
        )
        windows, first = self.items[index], self.first_target[index]
        return make_task(self.model, windows, first, keys, prefixes=self.windows.prefixes), keys

    # -- validation, early stopping --------------------------------------------------------------

    def _evaluate(self) -> None:
        means = {k: v / self.steps_in_sums for k, v in self.sums.items()}
        self.sums, self.steps_in_sums = {}, 0
        finished = []
        values = self.validation_values()
        for at, i in enumerate(self.running):
            curve, value = self.curves[i], values[at]
            curve.steps.append(self.step)
            curve.validation.append(value)
            for name, mean in means.items():
                curve.terms.setdefault(name, []).append(float(mean[at]))
            curve.stopped_at = self.step
            if not np.isfinite(value) or not np.isfinite(curve.terms["recommendation"][-1]):
                curve.failure = f"loss or scores stopped being finite by step {self.step}"
                finished.append(at)
                continue
            if not value <= curve.best:  # also the first, where best is NaN
                curve.best, curve.best_step = value, self.step
                for name, p in self.stack.parameters.items():
                    self.best[name][i] = p.detach()[at]
            since = sum(step > curve.best_step for step in curve.steps)
            plateaued = has_plateaued(curve.best_step, self.step, since, self.training.patience)
            if plateaued and self.step >= self.training.min_steps:
                curve.plateau = True
                finished.append(at)
        if finished:
            self._remove(finished)

    def validation_values(self) -> list[float]:
        """Mean validation NDCG@10 of each seed still in the stack; NaN where it has diverged."""
        parameters = {k: p.detach() for k, p in self.stack.parameters.items()}
        ranks = rank_targets_stacked(
            scorer(self.stack, parameters), self.validation, top=0, device=self.device
        )
        return [
            float("nan")
            if isinstance(r, NanScores)
            else float(per_user(r, SELECTION_METRIC).mean())
            for r in ranks
        ]

    def _remove(self, finished: list[int]) -> None:
        """Take finished seeds out of the stack: slice parameters and the optimiser's state."""
        stay = [at for at in range(len(self.running)) if at not in finished]
        self.running = [self.running[at] for at in stay]
        if not stay:
            return
        state = self.optimizer.state
        moments = {
            name: {k: v[stay] if v.dim() else v for k, v in state[p].items()}
            for name, p in self.stack.parameters.items()
        }
        self._set_parameters({k: p[stay] for k, p in self.stack.parameters.items()}, moments)

    def _targets_per_step(self) -> float:
        """Targets that count in a step of one seed, on average."""
        if self.model.objective == "cloze":
            keys = torch.tensor([[0, 0]], device=self.device)
            task = make_task(self.model, self.items[None], self.first_target[None], keys)
            targets = float((task.weights > 0).sum())
        elif self.model.objective == "last" or self.windows.prefixes:
            targets = float(len(self.items))
        else:
            targets = float(self.windows.counts.sum())
        return targets / len(self.items) * self.batch_size


def _peak_memory(device: torch.device) -> int | None:
    """Bytes: of the allocator on CUDA, else of the whole process; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
