"""What commands do before they render: look at the store, and train what is missing."""

from collections.abc import Sequence

import torch
import typer

from benchmark import plan as planning
from benchmark.cli.console import LiveTable, plan_table
from benchmark.cli.options import Request, console
from benchmark.launch.local import Job, run_jobs
from benchmark.parity import mamba_ssm_scan, parity
from benchmark.runs.spec import RunSpec


def ensure(names: Sequence[str], request: Request) -> list[planning.Planned]:
    """Train what the named tables and figures lack; returns the plan as it then stands."""
    wanted = planning.specs(
        names, request.profile, datasets=request.datasets, models=request.models
    )
    return train(wanted, request)


def train(wanted: Sequence[RunSpec], request: Request) -> list[planning.Planned]:
    """Train what the store lacks of these specs; with `--dry-run` print the plan and end."""

    def look() -> list[planning.Planned]:
        return planning.plan(
            wanted,
            request.seeds,
            request.store,
            data=request.data,
            as_stored=request.render_only,
            feature_control_seeds=request.profile.feature_control_seeds,
        )

    planned = look()
    if request.dry_run:
        console.print(
            plan_table(planned, max(len(request.workers), 1), reuse_stale=request.reuse_stale)
        )
        raise typer.Exit
    if request.render_only:
        return planned
    for dataset, problem in {p.spec.dataset: p.problem for p in planned if p.problem}.items():
        console.print(f"[yellow]without {dataset}[/yellow]: {problem}", soft_wrap=True)
    jobs = [
        Job(p.spec, seeds, p.seconds * len(seeds))
        for p in planned
        for seeds in _blocks(p.to_run(reuse_stale=request.reuse_stale), request.workers)
    ]
    if not jobs:
        return planned
    if request.workers[0].startswith("cuda") and (theirs := mamba_ssm_scan()) is not None:
        console.print(str(parity(theirs, torch.device(request.workers[0]))))
    live_table = LiveTable(planned, jobs, request.store, len(request.workers), console)
    try:
        with live_table as watch:
            failed = run_jobs(
                jobs,
                workers=request.workers,
                store=request.store.root,
                data=request.data,
                watch=watch,
            )
    except KeyboardInterrupt:
        console.print("interrupted: finished runs are stored, the same command goes on from here")
        raise typer.Exit(130) from None
    if failed:
        console.print(f"{failed} job(s) failed; their cells say so, and the next call tries again")
    if failed == len(jobs):
        raise typer.Exit(1)
    return look()


def _blocks(seeds: list[int], workers: list[str]) -> list[tuple[int, ...]]:
    """Seeds that are trained as one stack: each alone on a CPU, all together on a GPU."""
    if workers[0] == "cpu":
        return [(seed,) for seed in seeds]
    return [tuple(seeds)] if seeds else []
