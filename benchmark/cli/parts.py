"""Which runs a command makes where it is to make a part of them, and in which order."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.cli.options import Shard
from benchmark.costs import estimate
from benchmark.data.config import Counts
from benchmark.data.meta import bundle_meta
from benchmark.errors import InputError
from benchmark.launch.jobs import Job
from benchmark.plan import Planned
from benchmark.runs.spec import RunKey

Begun = Collection[tuple[RunKey, frozenset[int]]]
"""Row and seeds of the jobs that have a checkpoint."""


def seed_by_seed(planned: Sequence[Planned], workers: list[str], *, reuse_stale: bool) -> list[Job]:
    """What the plan lacks as jobs: the first seed of every row before the second of any, so that a
    first whole table stands early and sharpens."""
    blocks = [
        (list(p.runs).index(job.seeds[0]), job)
        for p in planned
        for job in _jobs(p, workers, reuse_stale)
    ]
    return [job for _, job in sorted(blocks, key=lambda block: block[0])]


def cell_by_cell(
    planned: Sequence[Planned], workers: list[str], begun: Begun, *, reuse_stale: bool
) -> list[Job]:
    """What the plan lacks as jobs, in the order that finishes the most whole cells in a limited
    time: all seeds of a row on a dataset together, those that need the least time first. What is
    begun comes before all else: its time is spent already."""
    cells = [_jobs(p, workers, reuse_stale) for p in planned]
    cells.sort(key=lambda cell: sum(job.seconds for job in cell))
    jobs = [job for cell in cells for job in cell]
    return sorted(jobs, key=lambda job: (job.spec.key, frozenset(job.seeds)) not in begun)


def _jobs(p: Planned, workers: list[str], reuse_stale: bool) -> list[Job]:
    """Seeds that are trained as one stack: each alone on a CPU, all together on a GPU."""
    seeds = p.to_run(reuse_stale=reuse_stale)
    if p.spec is None or not seeds:
        return []
    blocks = [(seed,) for seed in seeds] if workers[0] == "cpu" else [tuple(seeds)]
    return [Job(p.spec, block, p.seconds * len(block)) for block in blocks]


def part_of(planned: Sequence[Planned], shard: Shard, data: Path | None) -> list[Planned]:
    """The plan with the runs of one part alone; rows that have none are left out.

    The runs, in the plan's order, are laid end to end by the time that their budgets are worth, and
    cut into pieces of equal length. What is stored plays no part, so that machines that share no
    folder cut alike, and the seeds of a row stay together as far as can be. Raises InputError where
    a dataset cannot be had: without its size the cut would be another.
    """
    if shard.any:
        return list(planned)
    units: list[tuple[Planned, int, float]] = []
    counts: dict[str, Counts] = {}
    for p in planned:
        if p.problem or p.spec is None:
            raise InputError(
                f"--shard {shard}: {p.key.dataset} cannot be had here ({p.problem}), and without "
                "it the parts would not be those of other machines; name datasets by --datasets"
            )
        if p.key.dataset not in counts:
            counts[p.key.dataset] = bundle_meta(p.key.dataset, root=data).counts
        seconds = estimate(p.spec, counts[p.key.dataset], [])
        units += [(p, seed, seconds) for seed in p.runs]
    total, before = sum(seconds for _, _, seconds in units), 0.0
    own: dict[RunKey, list[int]] = {}
    for p, seed, seconds in units:
        # by its middle, so that no run is cut in two
        if int((before + seconds / 2) / total * shard.of) + 1 == shard.number:
            own.setdefault(p.key, []).append(seed)
        before += seconds
    return [
        replace(p, runs={seed: p.runs[seed] for seed in own[p.key]})
        for p in planned
        if p.key in own
    ]
