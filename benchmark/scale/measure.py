"""One measurement in a process of its own: `python -m benchmark.scale.measure POINT`, a JSON.

Prints CPU seconds (user and system, of one thread) of the part alone, the peak of the resident
memory of the whole process, and what the process had before it made any data. CPU seconds are
compared and not wall time, since other programs may share the cores.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from baselines.sasrec import SASRec
from benchmark.analyse.bootstrap import resampled_means
from benchmark.data.sequences import Queries, Windows
from benchmark.evaluate.metrics import per_user
from benchmark.evaluate.ranking import queries_at_once, rank_targets
from benchmark.runs.ranks import Ranks
from benchmark.runs.spec import Training
from benchmark.scale.generated import sequences, write_generated
from benchmark.train.engine import TrainingRun
from findrec.layers import SelfAttention
from findrec.mamba import Mamba, MambaSizes
from findrec.recommender import Batch, Catalogue, Features

DIM, BATCH = 64, 128
STEPS = 2
USERS, PASSES = 16, 4
"""Of the measurements of single layers."""


class Point(BaseModel):
    """What is measured at which sizes."""

    part: str
    """A name in `PARTS`."""
    varies: str
    """The size that differs among the points of a line."""
    interactions: int = 100_000
    items: int = 10_000
    mean_length: float = 10.0
    window: int = 50
    width: int = 0
    seeds: int = 1
    negatives: int | None = None


class Cost(BaseModel):
    point: Point
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    base_mb: float = 0.0
    """What Python and its packages take."""

    @property
    def own_mb(self) -> float:
        """What the data and the work on them take."""
        return self.peak_mb - self.base_mb


def bundle(p: Point) -> Callable[[], object]:
    """Factorise, sort, write, check and read a bundle."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_generated(Path(folder), p.interactions, p.items, p.mean_length, p.width)

    return run


def step(p: Point) -> Callable[[], object]:
    """`STEPS` training steps after one that is not counted; the cost is of all of them."""
    run = _training_run(p)
    run.train_step()

    def steps() -> None:
        for _ in range(STEPS):
            run.train_step()

    return steps


def evaluation(p: Point) -> Callable[[], object]:
    """Rank one target for each of `interactions / mean_length` users, with lists of 50.

    The model is a sum of vectors over the history: what ranking costs beside the model's forward.
    """
    windows, queries = _split(p)
    table = torch.randn(p.items, DIM)
    weights = torch.randn(p.items + 1, DIM)

    def score(history: torch.Tensor) -> torch.Tensor:
        return weights[history].sum(1) @ table.T

    often = np.bincount(windows.items.ravel(), minlength=p.items + 1)
    return lambda: rank_targets(
        score, queries, popularity=often, batch_size=queries_at_once(p.items)
    )


def metrics(p: Point) -> Callable[[], object]:
    """Two metrics of a user, history kept and left out, and 1,000 resamples of each mean: what a
    table computes of one seed's ranks."""
    rng = np.random.default_rng(0)
    users = round(p.interactions / p.mean_length)
    above = rng.integers(0, p.items, users, dtype=np.int32)
    equal = np.zeros_like(above)
    candidates = np.full_like(above, p.items)
    ranks = Ranks(above, equal, above, equal, candidates, p.items)

    def run() -> None:
        for name in ("NDCG@10", "MRR@10"):
            for masked in (False, True):
                values = per_user(ranks, name, masked=masked)
                resampled_means(values[:, None], resamples=1_000, seed=0)

    return run


def mamba_layer(p: Point) -> Callable[[], object]:
    """`PASSES` forward and backward passes of one Mamba layer over `window` positions."""
    layer = Mamba(DIM, MambaSizes())
    return _passes(p, layer)


def attention_layer(p: Point) -> Callable[[], object]:
    """The same of causal self-attention with one head, as SASRec has it."""
    layer = SelfAttention(DIM, 1, 0.0, "scale", causal=True)
    items = torch.ones(USERS, p.window, dtype=torch.int64)
    batch = Batch(items, torch.arange(USERS), torch.tensor([0, 0]))
    return _passes(p, lambda x: layer(x, x, x, batch))


def _passes(p: Point, layer: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
    x = torch.randn(USERS, p.window, DIM, requires_grad=True)

    def run() -> None:
        for _ in range(PASSES):
            layer(x).sum().backward()

    run()  # compiles what is compiled on first use
    return run


PARTS: dict[str, Callable[[Point], Callable[[], object]]] = {
    "bundle": bundle,
    "step": step,
    "evaluation": evaluation,
    "metrics": metrics,
    "Mamba layer": mamba_layer,
    "attention layer": attention_layer,
}


def _split(p: Point) -> tuple[Windows, Queries]:
    """The last item of each sequence is its target; the window before it is trained on."""
    taken, lengths = sequences(p.interactions, p.items, p.mean_length)
    ends = np.cumsum(lengths)
    begins = np.maximum(ends - lengths, ends - 2 - p.window)
    at = begins[:, None] + np.arange(p.window + 1)
    inside = at < ends[:, None] - 1
    items = np.where(inside, taken[np.minimum(at, len(taken) - 1)] + 1, 0)
    users = np.arange(len(lengths))
    windows = Windows(items, np.zeros(len(lengths), dtype=np.int64), users)
    history = items[:, : p.window]
    held = history > 0
    queries = Queries(
        user=users,
        history=history,
        target=taken[ends - 1] + 1,
        seen_items=history[held],
        seen_offsets=np.concatenate([[0], np.cumsum(held.sum(1))]),
        length=lengths,
    )
    return windows, queries


def _training_run(p: Point) -> TrainingRun:
    windows, queries = _split(p)
    text = None
    if p.width:
        values = torch.randn(p.items + 1, p.width)
        text = Features(values, torch.arange(p.items + 1) > 0)
    config = SASRec.Config(dim=DIM, max_length=p.window)
    training = Training(lr=1e-3, batch_size=BATCH, steps=10, eval_every=10, negatives=p.negatives)
    return TrainingRun(
        lambda: SASRec(config, Catalogue(p.items, text=text)),
        training,
        windows,
        queries,
        range(p.seeds),
        torch.device("cpu"),
        False,
        lambda _: None,
        None,
    )


def main() -> None:
    torch.set_num_threads(1)
    point = Point.model_validate_json(sys.argv[1])
    base = _peak_mb()
    run = PARTS[point.part](point)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    cost = Cost(
        point=point,
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
        peak_mb=_peak_mb(),
        base_mb=base,
    )
    print(cost.model_dump_json())


def _peak_mb() -> float:
    """The largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
