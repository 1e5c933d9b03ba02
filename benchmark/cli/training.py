"""What commands do before they render: look at the store, and train what is missing."""

import sys
from collections.abc import Collection, Sequence
from functools import partial

import typer

from benchmark import plan as planning
from benchmark.cli import options
from benchmark.cli.console import plan_table
from benchmark.cli.live import LiveTable
from benchmark.cli.options import Request, console
from benchmark.cli.parts import Begun, cell_by_cell, part_of, seed_by_seed
from benchmark.launch.jobs import Event
from benchmark.launch.queue import unit_of
from benchmark.runs.leases import Leases
from benchmark.runs.spec import RunKey, RunSpec

TIME_OVER = 75
"""Status of a command whose time is over with runs left: "try again" in sysexits.h."""


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
    """Train what the store lacks of these specs; with `--dry-run` print the plan and end, and end
    with `--shard`, or where the time of `--for` is over with runs left."""

    def plan() -> list[planning.Planned]:
        whole = planning.plan(
            wanted,
            request.seeds,
            request.runs,
            data=request.data,
            as_stored=request.render_only,
        )
        return whole if request.shard is None else part_of(whole, request.shard, request.data)

    planned = plan()
    if not request.render_only:
        _say_committed(planned, request)
    if request.dry_run:
        _print_plan(planned, request)
    if request.render_only:
        return planned
    for dataset, problem in {p.key.dataset: p.problem for p in planned if p.problem}.items():
        console.print(f"without {dataset}: {problem}", style="yellow")
    broken: frozenset[tuple[RunKey, int]] = frozenset()
    if any(p.to_run(reuse_stale=request.reuse_stale) for p in planned):
        broken = _run(planned, request)
        planned = plan()
    if request.shard is not None or request.until is not None:
        _end_if_over(planned, request, broken)
    return planned


def _say_committed(planned: Sequence[planning.Planned], request: Request) -> None:
    """Say how many of the runs are not trained here because the references hold them."""
    runs = [stored for p in planned for stored in p.runs.values()]
    committed = sum(
        stored.status == "complete" and not stored.path.is_relative_to(request.runs.root)
        for stored in runs
    )
    if committed:
        console.print(
            f"{committed} of {len(runs)} runs are committed (results/reference) and count as done; "
            "--anew trains them here, too"
        )


def _end_if_over(
    planned: Sequence[planning.Planned],
    request: Request,
    broken: Collection[tuple[RunKey, int]],
) -> None:
    """End a command that makes a part of the runs, or whose time is over, with a line on what is
    left. broken: runs that have just failed; not every failure is stored."""
    runs = sum(len(p.runs) for p in planned)
    to_run = [(p, seed) for p in planned for seed in p.to_run(reuse_stale=request.reuse_stale)]
    open_ones = [
        (p.key, seed)
        for p, seed in to_run
        if p.states[seed] != "failed" and (p.key, seed) not in broken
    ]
    left = len(open_ones)
    line = f"{runs - len(to_run)} of {runs} runs are there"
    if left < len(to_run):
        line += f", {len(to_run) - left} failed"
    if left:
        begun = sum(
            any(p.key == key and s in seeds for key, seeds in _begun(request)) for p, s in to_run
        )
        line += f", {left} are left" + (f" ({begun} of them begun)" if begun else "")
    leases = Leases(request.runs.root / ".leases")
    # a part that takes what it can get does not wait for what others hold: its time is not over
    free = request.shard is None or not all(leases.is_held(unit_of(*one)) for one in open_ones)
    if request.until is not None and left and free:
        console.print(f"the time is over: {line}; the same command goes on from here")
        raise typer.Exit(TIME_OVER)
    if request.shard is not None:
        elsewhere = "; others have taken them" if left else ""
        console.print(f"shard {request.shard}: {line}{elsewhere}; without --shard it is rendered")
        raise typer.Exit


def _begun(request: Request) -> Begun:
    from benchmark.runs.checkpoint import begun

    return begun(request.runs.root / ".checkpoints")


def _run(planned: Sequence[planning.Planned], request: Request) -> frozenset[tuple[RunKey, int]]:
    """Train what the plan lacks; returns the runs that failed. Ends the command where all jobs
    fail."""
    import torch

    from benchmark.launch import local, ray
    from benchmark.parity import parity
    from findrec.ops.scan_mamba_ssm import selective_scan_fn

    console.open_log(options.RUNS / "logs", sys.argv[1:])
    stale, until = request.reuse_stale, request.until
    if until is None:
        jobs = seed_by_seed(planned, request.workers, reuse_stale=stale)
    else:
        jobs = cell_by_cell(planned, request.workers, _begun(request), reuse_stale=stale)
    here = request.gpus is None
    if (
        here
        and request.workers[0].startswith("cuda")
        and (theirs := selective_scan_fn()) is not None
    ):
        console.print(str(parity(theirs, torch.device(request.workers[0]))))
    with LiveTable(planned, jobs, request.runs, len(request.workers), console) as live_table:
        run_jobs = (
            partial(local.run_jobs, workers=request.workers)
            if request.gpus is None
            else partial(ray.run_jobs, device=request.workers[0], gpus=request.gpus)
        )
        broken: set[tuple[RunKey, int]] = set()

        def watch(event: Event) -> None:
            if event.kind == "failed":
                made = event.finished
                broken.update((event.job.spec.key, s) for s in event.job.seeds if s not in made)
            live_table.watch(event)

        failed = run_jobs(
            jobs,
            store=request.runs.root,
            data=request.data,
            watch=watch,
            tick=live_table.tick,
            until=until,
            expected=live_table.estimator.left_of_each,
            wait_for_others=request.shard is None,
        )
    if failed:
        console.print(f"{failed} job(s) failed; their cells say so, and the next call tries again")
    if failed == len(jobs):
        raise typer.Exit(1)
    return frozenset(broken)


def _print_plan(planned: Sequence[planning.Planned], request: Request) -> None:
    """Print the plan of `--dry-run` and end the command."""
    workers = max(len(request.workers), 1)
    console.print(plan_table(planned, workers, reuse_stale=request.reuse_stale))
    raise typer.Exit
