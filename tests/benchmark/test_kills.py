"""A hundred kills of a training command at random instants: nothing is lost but the unit in flight.

Three kinds of kill, each in chains of their own on one core (so that a command has one worker): of
the parent alone, of parent and worker together, of the worker alone. After each the same command
goes on, until it has finished; then its store must equal that of a run that nobody interrupted, and
the chain begins anew in an empty folder. A command is forked from this process, which has imported
everything, and is otherwise what `python -m benchmark` runs; its workers are spawned as ever.
"""

import dataclasses
import multiprocessing
import os
import random
import re
import signal
import sys
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import main, options
from benchmark.data.bundle import load_bundle
from benchmark.plan import spec_of
from benchmark.run import run_seeds
from benchmark.runs.ranks import Ranks
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.test_launch import _alive, _children

HUNDRED = (("parent", 33), ("group", 33), ("worker", 17), ("worker", 17))
DOZEN = (("parent", 4), ("group", 4), ("worker", 2), ("worker", 2))
"""Chains, each killed so often: what is killed, how often. The dozen is for every change."""
SEEDS = range(12)
ARGUMENTS = ["run", "--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec"]
COMMAND = [*ARGUMENTS, "--seeds", str(len(SEEDS)), "--device", "cpu"]
SPEC = spec_of("GRU4Rec", "beauty", get_profile("smoke"))
LONGEST = 120.0
"""Seconds after which whatever is waited for counts as stuck, on a machine that others use too."""

FINISHED = re.compile(r"^\[\d+/\d+\] .*, seed (\d+): NDCG@10", re.MULTILINE)


class Command:
    """The command in a process group of its own, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.txt"
        self.output.write_text("")
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be(folder)

    def _be(self, folder: Path) -> None:
        """The child's life."""
        try:
            os.setsid()
            out = os.open(self.output, os.O_WRONLY | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
            options.ROOT, options.RUNS = folder, folder / "runs"
            sys.argv = ["benchmark", *COMMAND]
            main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)

    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        if self._status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if done else None
        return self._status

    def wait(self) -> None:
        until(lambda: self.status() is not None, "the end of the command")

    def finished(self) -> set[int]:
        """Seeds that it has said to be finished."""
        return set(map(int, FINISHED.findall(self.output.read_text())))

    def has_lost(self, workers: int) -> bool:
        """Whether it has said that so many workers died, or has ended."""
        said = self.output.read_text().count("it is tried again")
        return said >= workers or self.status() is not None

    def processes(self) -> list[int]:
        """Those of its session that live."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.pid and fields[0] != "Z":
                found.append(int(name))
        return found


def complete(store: Store) -> dict[int, bytes]:
    """Seed -> record, of the finished runs. There must be no other."""
    runs = list(store.scan())
    assert [run.problem for run in runs if run.status != "complete"] == []
    return {run.record.seed: run.path.read_bytes() for run in runs}


def until(what, why: str) -> None:
    deadline = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < deadline, f"{why} has not come about"
        time.sleep(0.02)


def same_as(reference: Store, store: Store) -> None:
    """Arrays equal to the bit, and nothing left over."""
    for seed in SEEDS:
        left, right = (place.read(SPEC.key, seed) for place in (reference, store))
        for split in ("validation", "test"):
            for field in dataclasses.fields(Ranks):
                one, other = (getattr(getattr(r, split), field.name) for r in (left, right))
                assert np.array_equal(one, other), (seed, split, field.name)
        assert np.array_equal(left.length, right.length)
        assert left.record.curves == right.record.curves
    files = {path.name for path in store.root.rglob("*") if path.is_file()}
    expected = {f"seed-{seed}.{end}" for seed in SEEDS for end in ("json", "npz")} | {".lock"}
    assert {name for name in files if not name.endswith(".log")} == expected


def chain(kind: str, kills: int, folder: Path, reference: Store, seed: int) -> Counter[str]:
    """Kill so often, finish, compare; counts of what the kills met."""
    rng, met = random.Random(seed), Counter[str]()
    first_run = 0.0  # seconds from a command's start to its first finished run
    generation = 0
    while True:
        generation += 1
        place = folder / str(generation)
        place.mkdir()
        store, before = Store(place / "runs"), {}
        while True:
            last = met["kills"] >= kills
            command, started = Command(place), time.monotonic()
            if kind == "worker":
                kill_workers(command, 0 if last else kills - met["kills"], rng, met)
            elif first_run and not last:
                delay = rng.random() * 1.4 * first_run
                while time.monotonic() < started + delay and command.status() is None:
                    time.sleep(0.01)
                kill(kind, command, met)
            else:
                until(command.finished, "the first finished run")
                first_run = min(first_run or LONGEST, time.monotonic() - started)
                command.wait()
            until(lambda: not command.processes(), "the end of all processes")  # noqa: B023
            after = complete(store) if store.root.exists() else {}
            assert command.finished() <= set(after), "a run that was finished is lost"
            assert before.items() <= after.items(), "a finished run has changed"
            met["runs finished by a command that was killed"] += len(after) - len(before)
            before = after
            if set(after) == set(SEEDS):
                break
        last = met["kills"] >= kills
        same_as(reference, store)
        met["stores compared"] += 1
        if last:
            return met


def kill(kind: str, command: Command, met: Counter[str]) -> None:
    """SIGKILL to the parent or to all, if it still runs."""
    if command.status() is not None:
        return
    met["kills"] += 1
    met["with a worker"] += bool(_children(command.pid))
    if kind == "parent":
        os.kill(command.pid, signal.SIGKILL)
    else:
        os.killpg(command.pid, signal.SIGKILL)
    command.wait()


def kill_workers(command: Command, most: int, rng: random.Random, met: Counter[str]) -> None:
    """SIGKILL to the worker, and no other before the job that it had is finished: a job whose
    process dies twice is a failed run."""
    finished, since, unit = 0, time.monotonic(), 1.0
    while command.status() is None:
        text = command.output.read_text()
        died = text.count("it is tried again")
        done = len(FINISHED.findall(text[text.rfind("it is tried again") + 1 :]))
        if done > finished:
            unit, since = min(unit, time.monotonic() - since), time.monotonic()
            finished = done
            time.sleep(rng.random() * unit)
            workers = [worker for worker in _children(command.pid) if _alive(worker)]
            if most and workers and command.status() is None:
                os.kill(workers[0], signal.SIGKILL)
                most, finished = most - 1, 0
                met["kills"] += 1
                met["with a worker"] += 1
                until(partial(command.has_lost, died + 1), "the second try")
        time.sleep(0.01)


def _chains(connection, core: int, jobs) -> None:
    """The chains of one core, one after the other."""
    os.sched_setaffinity(0, {core})
    try:
        for kind, *arguments in jobs:
            connection.send((kind, chain(kind, *arguments)))
    except BaseException:
        connection.send(traceback.format_exc())
    connection.send(None)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize("kills", [DOZEN, HUNDRED], ids=["dozen", "hundred"])
def test_kills_lose_nothing_but_the_unit_in_flight(tmp_path, capsys, kills):
    load_bundle("beauty")
    reference = Store(tmp_path / "reference")
    run_seeds(SPEC, SEEDS[:1], reference)
    for seed in SEEDS[1:]:
        run_seeds(SPEC, [seed], reference)
    context = multiprocessing.get_context("fork")
    cores = sorted(os.sched_getaffinity(0))[: len(kills)]
    listening = []
    for at, core in enumerate(cores):
        jobs = []
        for kind, number in kills[at :: len(cores)]:
            folder = tmp_path / f"{kind}-{at}-{len(jobs)}"
            folder.mkdir()
            jobs.append((kind, number, folder, reference, at))
        ours, theirs = context.Pipe()
        context.Process(target=_chains, args=(theirs, core, jobs)).start()
        listening.append(ours)
    total = Counter[str]()
    for connection in listening:
        while (found := connection.recv()) is not None:
            assert isinstance(found, tuple), found
            kind, met = found
            total += met
            with capsys.disabled():
                print(f"\n{kind}: {', '.join(f'{number} {what}' for what, number in met.items())}")
    assert sum(number for _, number in HUNDRED) >= 100
    assert total["kills"] >= sum(number for _, number in kills)
