"""What commands do before they render: look at the store, and train what is missing."""

import sys
from collections.abc import Sequence

import typer

from benchmark import plan as planning
from benchmark.cli import options
from benchmark.cli.console import LiveTable, plan_table
from benchmark.cli.options import Request, console
from benchmark.runs.spec import RunSpec


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

    from benchmark.launch.local import Job, run_jobs
    from benchmark.parity import mamba_ssm_scan, parity

    console.open_log(options.RUNS / "logs", sys.argv[1:])
    jobs = [
        Job(p.spec, seeds, p.seconds * len(seeds))
        for p in planned
        if p.spec is not None
        for seeds in _blocks(p.to_run(reuse_stale=request.reuse_stale), request.workers)
    ]
    if request.workers[0].startswith("cuda") and (theirs := mamba_ssm_scan()) is not None:
        console.print(str(parity(theirs, torch.device(request.workers[0]))))
    live_table = LiveTable(planned, jobs, request.runs, len(request.workers), console)
    with live_table as watch:
        failed = run_jobs(
            jobs,
            workers=request.workers,
            store=request.runs.root,
            data=request.data,
            watch=watch,
        )
    if failed:
        console.print(f"{failed} job(s) failed; their cells say so, and the next call tries again")
    if failed == len(jobs):
        raise typer.Exit(1)


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
