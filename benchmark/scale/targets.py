"""What two published datasets would cost, from the fits and from the cost model of one GPU."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.scale import gpu
from benchmark.scale.fit import Law
from benchmark.scale.measure import BATCH, DIM, STEPS, Point

WIDTH = 768
"""Of text features: sentence encoders of base size."""

PASSES = 20_000 * 256 / 98_129
"""Over the training windows, 52: those of the profile `paper` on MicroLens-100k, 20,000 steps of
256 windows of 98,129 users, most of whom have one window."""

MEAN_LENGTH = Point.model_fields["mean_length"].default
"""Interactions of a user in the generated data."""

SEEDS = 10
NEGATIVES = 8_192
"""Drawn in a step where the softmax is sampled: past 10^5 items."""

HOST_MB = 8_000.0
"""Memory that the program is to stay within on a small machine."""


@dataclass(frozen=True)
class Target:
    """A dataset with its published size."""

    name: str
    users: float
    items: float
    interactions: float

    @property
    def steps(self) -> float:
        """Of a run with `PASSES` over the data, one window a user."""
        return PASSES * self.users / gpu.WINDOWS

    @property
    def negatives(self) -> int | None:
        return NEGATIVES if self.items > 10**5 else None


TARGETS = (
    Target("MicroLens-1M", 1_000_000, 91_402, 9_095_620),
    Target("Amazon 2023, Beauty and Personal Care", 11.3e6, 1.0e6, 23.9e6),
    Target("Amazon 2023, all 33 categories", 54.51e6, 48.19e6, 571.54e6),
)
"""Ni et al. 2023 (arXiv 2309.15379), table 1; Hou et al. 2024 (arXiv 2403.03952) and its data card.
Amazon's are unfiltered: most of its users have one or two ratings, whom leave-one-out leaves out,
so that its figures are upper bounds."""


@dataclass(frozen=True)
class OnGpu:
    """Training and ranking of one row with all its seeds on one GPU."""

    row: str
    target: str
    steps: float
    milliseconds: tuple[float, float]
    """A step of as many seeds as fit, at least and at most."""
    hours: tuple[float, float]
    """Of all seeds: training at least and at most, each with the ranking of every user, twice."""
    seeds_at_once: int
    """That fit a GPU's memory by their item tables alone; 0 where one does not."""


def on_gpu(row: gpu.Row, target: Target) -> OnGpu:
    """By the cost model of `benchmark/scale/gpu.py`."""
    items = int(target.items)
    fit = int(gpu.GPU_BYTES // gpu.table_bytes(row, items, 1))
    together = min(SEEDS, fit)
    least = most = math.inf
    hours = (math.inf, math.inf)
    if together:
        step = gpu.step(row, items, together, target.negatives)
        least, most = step.least, step.most
        stacks = math.ceil(SEEDS / together)
        ranking = gpu.ranking(row, items, 2 * int(target.users), SEEDS)
        hours = tuple(  # type: ignore[assignment]
            (stacks * target.steps * seconds + ranking) / 3600 for seconds in (least, most)
        )
    return OnGpu(row.name, target.name, target.steps, (1e3 * least, 1e3 * most), hours, together)


Fits = Mapping[tuple[str, str], Law]
"""By part and by what varies."""


@dataclass(frozen=True)
class Demand:
    """Memory of one part of the work on one target."""

    part: str
    of: str
    """The size that matters: a field of a target."""
    megabytes: Mapping[str, float]
    """Target's name -> MB."""
    limit: float
    """The size at which `HOST_MB` is reached."""

    @property
    def headroom(self) -> float:
        """The limit as a multiple of the first target's size."""
        return HOST_MB / self.megabytes[TARGETS[0].name]


def demands(memory: Fits) -> list[Demand]:
    """What a CPU's memory has to hold, the first to break first: by how often the first target fits
    `HOST_MB`. memory: laws of own MB. Parts that were not measured are left out."""
    found = []
    lines = {
        ("bundle", "interactions"): ("building a bundle", "interactions", 1.0),
        ("metrics", "interactions"): ("metrics and resamples of one seed", "users", MEAN_LENGTH),
        ("evaluation", "interactions"): ("ranks and top lists", "users", MEAN_LENGTH),
        ("evaluation", "items"): ("ranking a batch of users", "items", 1.0),
        ("step", "items"): (f"a step with all items competing, width {DIM}", "items", 1.0),
        ("step", "items, sampled"): (f"a step with sampled items, width {DIM}", "items", 1.0),
    }
    for line, (part, of, unit) in lines.items():
        law = memory.get(line)
        if law is not None:
            needed = {target.name: law(unit * getattr(target, of)) for target in TARGETS}
            found.append(Demand(part, of, needed, law.size_at(HOST_MB) / unit))
    features = 4 * WIDTH / 1e6
    found.append(
        Demand(
            f"features of width {WIDTH} in float32 (from their shape, not measured)",
            "items",
            {target.name: features * target.items for target in TARGETS},
            HOST_MB / features,
        )
    )
    return sorted(found, key=lambda demand: demand.headroom)


@dataclass(frozen=True)
class OnCpu:
    """CPU hours of one thread for one seed of SASRec at width 64."""

    target: str
    bundle: float
    training: float
    ranking: float


def on_cpu(time: Fits) -> Sequence[OnCpu]:
    """time: laws of CPU seconds. Empty where a line is missing."""
    try:
        bundle = time["bundle", "interactions"]
        full, sampled = time["step", "items"], time["step", "items, sampled"]
        by_users, by_items = time["evaluation", "interactions"], time["evaluation", "items"]
    except KeyError:
        return []
    found = []
    for target in TARGETS:
        step = full if target.negatives is None else sampled
        times = target.steps * gpu.WINDOWS / BATCH / STEPS  # a cost is of `STEPS` steps of `BATCH`
        # the line over users has 1,000 items; that over items says how much more others take
        ranking = by_users(MEAN_LENGTH * target.users) * by_items(target.items) / by_items(1_000)
        hours = [bundle(target.interactions), times * step(target.items), 2 * ranking]
        found.append(OnCpu(target.name, *(seconds / 3600 for seconds in hours)))
    return found
