"""Seed-stacked training: S seeds of one model in one loop, each exactly as it would be alone.

The story of a step: gather each seed's windows -> the objective's task -> `forward` (of all seeds
at once on a GPU, in length groups on a CPU) -> cross-entropy over all items and the model's own
terms -> backward -> per-seed clipping -> AdamW over the stacked leaves. At fixed intervals every
seed is ranked on validation; its best parameters are kept, and it leaves the stack when it has
plateaued.

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
from benchmark.train.groups import length_groups
from benchmark.train.objectives import Task, make_task
from benchmark.train.order import BatchOrder
from benchmark.train.schedule import has_plateaued, learning_rates
from benchmark.train.scoring import by_length, scorer
from benchmark.train.stack import Stack
from benchmark.train.step import layout_of, losses
from findrec.recommender import Recommender

SELECTION_METRIC = "NDCG@10"
LENGTH_GROUPS = 4


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
    """Mean of each term of the loss since the evaluation before."""
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
        self.first = torch.from_numpy(windows.first_target).to(device)
        self.stack = Stack(build, seeds, device)
        self.model = self.stack.model
        able = device.type == "cpu" and len(seeds) == 1 and not self.model.fixed_length
        self.groups = able if groups is None else groups
        if self.groups and not able:
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
        self.alive = list(range(len(seeds)))
        self.sums: dict[str, Tensor] = {}
        self.step = self.steps_in_sums = 0
        self.seconds = {"training": 0.0, "evaluation": 0.0}
        self.optimizer = self.make_optimizer()

    def run(self) -> Trained:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.checkpoint is not None:
            state = self.checkpoint.load(self.device)
            if state is not None:
                self.restore(state)
        while self.alive and self.step < self.training.steps:
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
            self.watch(Progress(self.step, self.training.steps, len(self.alive), mean))
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
            "alive": self.alive,
            "parameters": {k: v.detach() for k, v in self.stack.parameters.items()},
            "moments": {k: dict(self.optimizer.state[p]) for k, p in self.stack.parameters.items()},
            "best": self.best,
            "curves": [asdict(curve) for curve in self.curves],
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step, self.alive, self.best = state["step"], state["alive"], state["best"]
        self.curves = [SeedCurve(**curve) for curve in state["curves"]]
        self.seconds = state["seconds"]
        self.stack.parameters = {k: v.requires_grad_() for k, v in state["parameters"].items()}
        self.optimizer = self.make_optimizer()
        for name, p in self.stack.parameters.items():
            self.optimizer.state[p] = state["moments"][name]

    # -- a step ----------------------------------------------------------------------------------

    def train_step(self) -> None:
        """One optimiser step of every seed in the stack."""
        task, keys = self._task()
        rows = torch.arange(self.batch_size, device=self.device)
        if self.groups:
            task = task.compact()
            lengths = (task.items[0] > 0).sum(-1)
            parts = length_groups(lengths, LENGTH_GROUPS)
        else:
            parts = [(rows, task.items.shape[-1])]
        inputs = [(task.items[:, part, :length], part) for part, length in parts]
        layout = layout_of(parts, self.batch_size, task.items.shape[-1], self.device)
        loss, terms = self.stack.call(
            losses,
            keys,
            [items for items, _ in inputs],
            [part for _, part in inputs],
            layout,
            (task.items, task.user, task.position, task.targets, task.weights),
            in_dims=(0, 0, None, None, 0),
        )
        loss.sum().backward()
        self._clip()
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.rates[self.step])
            else:
                group["lr"] = float(self.rates[self.step])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.steps_in_sums += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def _task(self) -> tuple[Task, Tensor]:
        at = [self.orders[i].batch(self.step, self.batch_size) for i in self.alive]
        index = torch.from_numpy(np.stack(at)).to(self.device)
        keys = torch.tensor(
            [[self.curves[i].seed, self.step] for i in self.alive], device=self.device
        )
        windows, first = self.items[index], self.first[index]
        return make_task(self.model, windows, first, keys, prefixes=self.windows.prefixes), keys

    def _clip(self) -> None:
        """Scale each seed's gradient to norm `clip` at most; no host reads."""
        if self.training.clip is None:
            return
        grads = [p.grad for p in self.stack.parameters.values() if p.grad is not None]
        scale = (self.training.clip / (_norm_per_seed(grads) + 1e-6)).clamp(max=1)
        for grad in grads:
            grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))

    # -- validation, early stopping --------------------------------------------------------------

    def _evaluate(self) -> None:
        means = {k: v / self.steps_in_sums for k, v in self.sums.items()}
        self.sums, self.steps_in_sums = {}, 0
        leaving = []
        values = self.validation_values()
        for at, i in enumerate(self.alive):
            curve, value = self.curves[i], values[at]
            curve.steps.append(self.step)
            curve.validation.append(value)
            for name, mean in means.items():
                curve.terms.setdefault(name, []).append(float(mean[at]))
            curve.stopped_at = self.step
            if not np.isfinite(value) or not np.isfinite(curve.terms["recommendation"][-1]):
                curve.failure = f"loss or scores stopped being finite by step {self.step}"
                leaving.append(at)
                continue
            if not value <= curve.best:  # also the first, where best is NaN
                curve.best, curve.best_step = value, self.step
                for name, p in self.stack.parameters.items():
                    self.best[name][i] = p.detach()[at]
            since = sum(step > curve.best_step for step in curve.steps)
            plateaued = has_plateaued(curve.best_step, self.step, since, self.training.patience)
            if plateaued and self.step >= self.training.min_steps:
                curve.plateau = True
                leaving.append(at)
        if leaving:
            self._leave(leaving)

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

    def _leave(self, leaving: list[int]) -> None:
        """Take finished seeds out of the stack: slice parameters and the optimiser's state."""
        stay = [at for at in range(len(self.alive)) if at not in leaving]
        self.alive = [self.alive[at] for at in stay]
        if not stay:
            return
        state = self.optimizer.state
        moments = {
            name: {k: v[stay] if v.dim() else v for k, v in state[p].items()}
            for name, p in self.stack.parameters.items()
        }
        self.stack.parameters = {
            name: p.detach()[stay].requires_grad_() for name, p in self.stack.parameters.items()
        }
        self.optimizer = self.make_optimizer()
        for name, p in self.stack.parameters.items():
            self.optimizer.state[p] = moments[name]

    def make_optimizer(self) -> torch.optim.AdamW:
        """Not the fused one on a CPU: it rounds the elements after a tensor's last whole vector
        differently, and which those are depends on the seeds that stand before."""
        cuda = self.device.type == "cuda"
        return torch.optim.AdamW(
            self.stack.parameters.values(),
            lr=torch.tensor(self.training.lr, device=self.device) if cuda else self.training.lr,
            weight_decay=self.training.weight_decay,
            capturable=cuda,
        )

    def _targets_per_step(self) -> float:
        """Targets that count in a step of one seed, on average."""
        if self.model.objective == "cloze":
            keys = torch.tensor([[0, 0]], device=self.device)
            task = make_task(self.model, self.items[None], self.first[None], keys)
            targets = float((task.weights > 0).sum())
        elif self.model.objective == "last" or self.windows.prefixes:
            targets = float(len(self.items))
        else:
            targets = float(self.windows.counts.sum())
        return targets / len(self.items) * self.batch_size


def _norm_per_seed(grads: list[Tensor]) -> Tensor:
    """[S] norms over all stacked gradients [S, ...].

    On a CPU a reduction of [1, n] sums in another order than one of [S, n], so each seed is reduced
    by itself there, to keep it independent of the stack to the bit.
    """
    norm = torch.linalg.vector_norm
    if grads[0].device.type == "cpu":
        own = range(len(grads[0]))
        return torch.stack([norm(torch.stack([norm(g[at]) for g in grads])) for at in own])
    return norm(torch.stack([norm(g.flatten(1), dim=1) for g in grads]), dim=0)


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
