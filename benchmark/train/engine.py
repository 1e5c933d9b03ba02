"""Seed-stacked training: S seeds of one model in one loop, each exactly as it would be alone.

A step (benchmark/train/graph.py) takes the windows of every seed's batch and makes the objective's
task of them; then follow (benchmark/train/step.py) forward (of all seeds at once on a GPU, in
length groups on a CPU), loss, backward, clipping and update. A GPU replays steps as one graph. The
rate falls to zero over the budget, and the parameters at its end are what a run gives: there is no
early stop, and the evaluations on validation along the way draw the learning curve and select
nothing. A seed whose loss or scores stop being finite has failed; it stays in the stack, where it
disturbs nobody.

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
from benchmark.evaluate.ranking import NanScores, queries_at_once, rank_targets_stacked
from benchmark.runs.spec import Training
from benchmark.train.graph import CudaCapture, FixedStep, graphs_wanted, input_lengths
from benchmark.train.groups import fixed_sizes
from benchmark.train.objectives import make_task
from benchmark.train.schedule import decay_start
from benchmark.train.scoring import scorer
from benchmark.train.stack import Stack
from benchmark.train.step import make_optimizer
from findrec.recommender import Recommender

CURVE_METRIC = "NDCG@10"


@dataclass
class Progress:
    """What a watcher is told after every step."""

    step: int
    steps: int
    """The budget."""
    validation: float
    """Mean over the seeds of the last validation NDCG@10, history kept; NaN before the first."""


class Checkpoint(Protocol):
    """Where a run keeps its state, so that it can be interrupted; storing is not the engine's."""

    def is_due(self, *, evaluated: bool) -> bool: ...
    def save(self, state: dict[str, Any]) -> None: ...
    def load(self, device: torch.device) -> dict[str, Any] | None: ...
    def remove(self) -> None: ...


@dataclass
class SeedCurve:
    """One seed's history; it becomes part of the run's record."""

    seed: int
    steps: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    """NDCG@10 at each of `steps`, history kept."""
    validation_left_out: list[float] = field(default_factory=list)
    """The same, history left out."""
    terms: dict[str, list[float]] = field(default_factory=dict)
    """Mean of each loss, by name, since the previous evaluation."""
    failure: str | None = None


@dataclass
class Trained:
    """The parameters of every seed at the end of its budget, and how they came to be."""

    stack: Stack
    parameters: dict[str, Tensor]
    """[S, ...], in the order of `curves`."""
    curves: list[SeedCurve]
    targets_per_step: float
    training_seconds: float
    evaluation_seconds: float
    inherited_seconds: float
    """Of both, what was taken over from the trunk of a shorter budget."""
    peak_memory_bytes: int | None
    execution: str
    """How steps were run: "op by op", "CUDA graph", or why it was not the latter."""

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """History [B, L] on the model's device -> scores [S, B, N]."""
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
    trunk: Checkpoint | None = None,
) -> Trained:
    """Train all seeds over the whole budget.

    groups: length groups; None chooses them where they pay (one seed, on a CPU, no fixed length; on
    a GPU groups of fixed sizes stand for them, where the windows' lengths differ enough).
    checkpoint: saved to now and then, continued from if it holds a state, and removed at the end; a
    continued run equals an uninterrupted one bit for bit.
    trunk: where runs that differ in their budget alone, with the schedule "stable-decay" and a
    warm-up in steps, share what they have in common: the state where the rate begins to fall is
    saved there, and one from before that is begun with. It changes no result either.
    """
    return TrainingRun(
        build, training, windows, validation, seeds, device, groups, watch, checkpoint, trunk
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
        trunk: Checkpoint | None = None,
    ) -> None:
        self.training, self.windows, self.device = training, windows, device
        self.validation = validation
        self.watch, self.checkpoint, self.trunk = watch, checkpoint, trunk
        self.stack = Stack(build, seeds, device)
        self.model = self.stack.model
        possible = device.type == "cpu" and len(seeds) == 1 and not self.model.fixed_length
        self.groups = possible if groups is None else groups
        if self.groups and not possible:
            raise ValueError(
                "length groups need one seed, a CPU and a model without a fixed length: "
                "leave them off here"
            )
        self.curves = [SeedCurve(seed) for seed in seeds]
        self.step = self.steps_in_sums = 0
        self.seconds = {"training": 0.0, "evaluation": 0.0, "inherited": 0.0}
        self.optimizer = make_optimizer(self.stack.parameters.values(), training, device)
        cuda = device.type == "cuda"
        self.fixed_step = FixedStep(
            self.stack,
            self.optimizer,
            training,
            windows,
            device,
            groups=self.groups,
            sizes=self._fixed_sizes() if cuda and groups is not False else None,
            capture=CudaCapture(device) if cuda and graphs_wanted() else None,
        )
        self.targets_per_step = self._targets_per_step()

    def run(self) -> Trained:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._begin()
        steps = self.training.steps
        while self.step < steps and not all(curve.failure for curve in self.curves):
            started = time.perf_counter()
            self.train_step()
            evaluated = self.step % self.training.eval_every == 0 or self.step == steps
            if evaluated and self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # the steps so far are training's time
            self.seconds["training"] += time.perf_counter() - started
            if evaluated:
                started = time.perf_counter()
                self._evaluate()
                self.seconds["evaluation"] += time.perf_counter() - started
            if self.checkpoint is not None and self.checkpoint.is_due(evaluated=evaluated):
                self.checkpoint.save(self.state())
            if self.trunk is not None and self.step == decay_start(self.training):
                self.trunk.save(self.state())
            last = [curve.validation[-1] for curve in self.curves if curve.steps]
            self.watch(Progress(self.step, steps, float(np.mean(last)) if last else float("nan")))
        if self.checkpoint is not None:
            self.checkpoint.remove()
        return Trained(
            self.stack,
            {name: p.detach() for name, p in self.stack.parameters.items()},
            self.curves,
            self.targets_per_step,
            self.seconds["training"],
            self.seconds["evaluation"],
            self.seconds["inherited"],
            _peak_memory(self.device),
            self.execution,
        )

    @property
    def execution(self) -> str:
        """How steps are run: "op by op", "CUDA graph", or why it is not the latter."""
        if self.fixed_step.captured:
            return "CUDA graph"
        refused = self.fixed_step.refused
        return "op by op" if refused is None else f"op by op (capture failed: {refused})"

    def _begin(self) -> None:
        """Go on from the run's own checkpoint, else from the trunk, else from the beginning."""
        state = None if self.checkpoint is None else self.checkpoint.load(self.device)
        if state is None and self.trunk is not None:
            state = self.trunk.load(self.device)
            if state is not None and state["step"] > decay_start(self.training):
                state = None
            if state is not None:
                own = state["seconds"]
                state["seconds"] = own | {"inherited": own["training"] + own["evaluation"]}
        if state is not None:
            self.restore(state)

    def state(self) -> dict[str, Any]:
        """All that a continued run needs: data order and draws are functions of seed and step, so
        parameters, optimiser moments, the curves and the losses since their last point are
        enough."""
        return {
            "step": self.step,
            "parameters": {k: v.detach() for k, v in self.stack.parameters.items()},
            "moments": {k: dict(self.optimizer.state[p]) for k, p in self.stack.parameters.items()},
            "sums": self.fixed_step.sums,
            "steps_in_sums": self.steps_in_sums,
            "curves": [asdict(curve) for curve in self.curves],
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state, which is copied into the tensors that are there: a captured step
        has their addresses."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.steps_in_sums = state["steps_in_sums"]
        self.fixed_step.restore_sums(state["sums"])
        self.curves = [SeedCurve(**curve) for curve in state["curves"]]
        for name, p in self.stack.parameters.items():
            with torch.no_grad():
                p.copy_(state["parameters"][name])
            own = self.optimizer.state[p]
            for moment, value in state["moments"][name].items():
                if moment in own:
                    own[moment].copy_(value)
                else:  # before the first step
                    own[moment] = value

    # -- a step ----------------------------------------------------------------------------------

    def train_step(self) -> None:
        """One optimiser step of every seed in the stack."""
        self.fixed_step(self.step)
        self.step += 1
        self.steps_in_sums += 1

    # -- validation --------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        means = {k: v / self.steps_in_sums for k, v in self.fixed_step.sums.items()}
        self.fixed_step.clear_sums()
        self.steps_in_sums = 0
        for at, (curve, values) in enumerate(
            zip(self.curves, self.validation_values(), strict=True)
        ):
            curve.steps.append(self.step)
            curve.validation.append(values[0])
            curve.validation_left_out.append(values[1])
            for name, mean in means.items():
                curve.terms.setdefault(name, []).append(float(mean[at]))
            finite = np.isfinite(values[0]) and np.isfinite(curve.terms["recommendation"][-1])
            if not finite and curve.failure is None:
                curve.failure = f"loss or scores stopped being finite by step {self.step}"

    def validation_values(self) -> list[tuple[float, float]]:
        """Mean validation NDCG@10 of each seed, history kept and left out; NaN where it has
        diverged."""
        parameters = {k: p.detach() for k, p in self.stack.parameters.items()}
        ranks = rank_targets_stacked(
            scorer(self.stack, parameters),
            self.validation,
            top=0,
            batch_size=queries_at_once(self.model.n_items, len(self.curves)),
            device=self.device,
        )
        nan = float("nan")
        return [
            (nan, nan)
            if isinstance(r, NanScores)
            else (
                float(per_user(r, CURVE_METRIC).mean()),
                float(per_user(r, CURVE_METRIC, masked=True).mean()),
            )
            for r in ranks
        ]

    def _targets_per_step(self) -> float:
        """Targets that count in a step of one seed, on average."""
        step, windows = self.fixed_step, len(self.windows.items)
        if self.model.objective == "cloze":
            keys = torch.tensor([[0, 0]], device=self.device)
            task = make_task(self.model, step.items[None], step.first_target[None], keys)
            targets = float((task.weights > 0).sum())
        elif self.model.objective == "last" or self.windows.prefixes:
            targets = float(windows)
        else:
            targets = float(self.windows.counts.sum())
        return targets / windows * step.batch_size

    def _fixed_sizes(self) -> list[tuple[int, int]] | None:
        """Sizes of the parts that batches are cut into on a GPU."""
        if self.model.fixed_length:
            return None
        lengths = input_lengths(self.windows, cloze=self.model.objective == "cloze")
        users = min(self.training.batch_size, len(lengths))
        window = self.windows.items.shape[1] - 1
        return fixed_sizes(lengths, users, window, len(self.curves))


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
