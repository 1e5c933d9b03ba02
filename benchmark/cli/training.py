"""What commands do before they render: look at the store, and train what is missing."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from benchmark import plan as planning
from benchmark.cli import options
from benchmark.cli.console import plan_table
from benchmark.cli.live import LiveTable
from benchmark.cli.options import Request, console
from benchmark.runs.spec import RunSpec

if TYPE_CHECKING:  # it starts workers, and needs torch
    from benchmark.launch.local import Job


def ensure(names: Sequence[str], request: Request) -> list[planning.Planned]:
    """Train what the named tables and figures lack; returns the plan as it then stands. Results
    from elsewhere are planned as they are, and nothing is trained."""
    if request.render_only:
        planned = planning.plan_stored(
            names,
            request.profile,
            request.seeds,
            request.runs,
            datasets=request.datasets,
            models=request.models,
            data=request.data,
        )
        if request.dry_run:
            _print_plan(planned, request)
        return planned
    wanted = planning.specs(
        names,
        request.profile,
        datasets=request.datasets,
        models=request.models,
        data=request.data,
    )
    return train(wanted, request)


def train(wanted: Sequence[RunSpec], request: Request) -> list[planning.Planned]:
    """Train what the store lacks of these specs; with `--dry-run` print the plan and end."""

    def plan() -> list[planning.Planned]:
        return planning.plan(
            wanted,
            request.seeds,
            request.runs,
            data=request.data,
            as_stored=request.render_only,
        )

    planned = plan()
    if request.dry_run:
        _print_plan(planned, request)
    if request.render_only:
        return planned
    for dataset, problem in {p.key.dataset: p.problem for p in planned if p.problem}.items():
        console.print(f"without {dataset}: {problem}", style="yellow")
    if any(p.to_run(reuse_stale=request.reuse_stale) for p in planned):
        _run(planned, request)
        return plan()
    return planned


def _run(planned: Sequence[planning.Planned], request: Request) -> None:
    """Train what the plan lacks. Ends the command where all jobs fail."""
    import torch

    from benchmark.launch.local import run_jobs
    from benchmark.parity import parity
    from findrec.ops.scan_mamba_ssm import selective_scan_fn

    console.open_log(options.RUNS / "logs", sys.argv[1:])
    jobs = seed_by_seed(planned, request.workers, reuse_stale=request.reuse_stale)
    if request.workers[0].startswith("cuda") and (theirs := selective_scan_fn()) is not None:
        console.print(str(parity(theirs, torch.device(request.workers[0]))))
    with LiveTable(planned, jobs, request.runs, len(request.workers), console) as live_table:
        failed = run_jobs(
            jobs,
            workers=request.workers,
            store=request.runs.root,
            data=request.data,
            watch=live_table.watch,
            tick=live_table.tick,
        )
    if failed:
        console.print(f"{failed} job(s) failed; their cells say so, and the next call tries again")
    if failed == len(jobs):
        raise typer.Exit(1)


def seed_by_seed(
    planned: Sequence[planning.Planned], workers: list[str], *, reuse_stale: bool
) -> "list[Job]":
    """What the plan lacks as jobs: the first seed of every row before the second of any, so that a
    first whole table stands early and sharpens."""
    from benchmark.launch.local import Job

    blocks = [
        (list(p.runs).index(seeds[0]), Job(p.spec, seeds, p.seconds * len(seeds)))
        for p in planned
        if p.spec is not None
        for seeds in _blocks(p.to_run(reuse_stale=reuse_stale), workers)
    ]
    return [job for _, job in sorted(blocks, key=lambda block: block[0])]


def _print_plan(planned: Sequence[planning.Planned], request: Request) -> None:
    """Print the plan of `--dry-run` and end the command."""
    workers = max(len(request.workers), 1)
    console.print(plan_table(planned, workers, reuse_stale=request.reuse_stale))
    raise typer.Exit


def _blocks(seeds: list[int], workers: list[str]) -> list[tuple[int, ...]]:
    """Seeds that are trained as one stack: each alone on a CPU, all together on a GPU."""
    if workers[0] == "cpu":
        return [(seed,) for seed in seeds]
    return [tuple(seeds)] if seeds else []
