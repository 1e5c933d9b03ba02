"""A hundred kills of a training command at random instants: nothing is lost but the unit in flight.

Three kinds of kill, each in a chain of its own on one core (so that a command has one worker): of
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

KILLS = {"parent": 33, "group": 33, "worker": 34}
SEEDS = range(5)
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
    first_run = 0.0  # seconds from a command's start to its first finished run, longest so far
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
                delay = rng.random() * 1.5 * first_run
                while time.monotonic() < started + delay and command.status() is None:
                    time.sleep(0.01)
                kill(kind, command, met)
            else:
                until(command.finished, "the first finished run")
                first_run = max(first_run, time.monotonic() - started)
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
        Command(place).wait()  # it finds nothing to do but print
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
    """SIGKILL to the worker, once for each finished run: a job whose process dies twice fails."""
    seen, since, one = 0, time.monotonic(), 1.0
    while command.status() is None:
        now = len(command.finished())
        if now > seen:
            one, since, seen = time.monotonic() - since, time.monotonic(), now
            time.sleep(rng.random() * min(one, 1.5))
            if most and command.status() is None:
                for worker in filter(_alive, _children(command.pid)):
                    os.kill(worker, signal.SIGKILL)
                    met["kills"] += 1
                    met["with a worker"] += 1
                    most -= 1
        time.sleep(0.01)


def _chain(connection, core: int, *arguments) -> None:
    os.sched_setaffinity(0, {core})
    try:
        connection.send(chain(*arguments))
    except BaseException:
        connection.send(traceback.format_exc())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_hundred_kills_lose_nothing_but_the_unit_in_flight(tmp_path, capsys):
    load_bundle("beauty")
    reference = Store(tmp_path / "reference")
    run_seeds(SPEC, SEEDS[:1], reference)
    for seed in SEEDS[1:]:
        run_seeds(SPEC, [seed], reference)
    cores = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    chains = {}
    for at, (kind, kills) in enumerate(KILLS.items()):
        (tmp_path / kind).mkdir()
        ours, theirs = context.Pipe()
        arguments = (kind, kills, tmp_path / kind, reference, at)
        process = context.Process(target=_chain, args=(theirs, cores[at % len(cores)], *arguments))
        process.start()
        chains[kind] = (process, ours)
    total = 0
    for kind, (process, ours) in chains.items():
        met = ours.recv()
        process.join()
        assert isinstance(met, Counter), met
        assert met["kills"] >= KILLS[kind]
        total += met["kills"]
        with capsys.disabled():
            print(f"\n{kind}: {', '.join(f'{number} {what}' for what, number in met.items())}")
    assert total >= 100
