"""Claims on units: of all that try at once one wins, whatever clocks, locks and deaths do.

The oracle is exclusion itself: every winner notes when it took and let go of a unit, and no two of
these spans may overlap.
"""

import itertools
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.runs import leases as module
from benchmark.runs.leases import Leases, this_process

ROOT = Path(__file__).resolve().parents[3]

HOLDER = """
import sys, time
from pathlib import Path
skew = float(sys.argv[2])
really = time.time
time.time = lambda: really() + skew
from benchmark.runs.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print(leases.take("a--seed-0"), flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, skew: float = 0.0) -> subprocess.Popen:
    """Another process with its own idea of the time, which holds the unit until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(skew)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout.readline() == "True\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def age(folder: Path, seconds: float, *, elsewhere: bool = False) -> None:
    """Make the leases in a folder older; elsewhere: as if another machine held them."""
    for path in folder.iterdir():
        if elsewhere:
            path.write_text(json.dumps(vars(this_process()) | {"host": "other", "space": "x"}))
        stamp = path.stat().st_mtime - seconds
        os.utime(path, (stamp, stamp))


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 86_400.0])
def test_clocks_apart_change_nothing(tmp_path, skew):
    """A holder whose clock is a day off keeps its unit, and gives it up when it ends."""
    folder = tmp_path / ".leases"
    other = holder(folder, skew)
    with Leases(folder) as leases:
        assert not leases.take("a--seed-0")
        assert str(leases.holder("a--seed-0")) == f"process {other.pid} on {platform.node()}"
        assert leases.take("a--seed-1")
        end(other)
        assert leases.take("a--seed-0")
    assert not folder.exists()


def test_a_lease_outlives_its_host_until_it_expires(tmp_path):
    """Of another machine nothing is known but the age of its lease."""
    folder = tmp_path / ".leases"
    with Leases(folder, beat=1000) as other:
        assert other.take("unit")
        age(folder, module.EXPIRES_AFTER - 10, elsewhere=True)
        with Leases(folder) as leases:
            assert not leases.take("unit")
            age(folder, 20)
            assert leases.take("unit")
            assert [path.name for path in folder.iterdir()] == ["unit.1"]
            other.release("unit")  # it comes back: what it held is another's
            assert [path.name for path in folder.iterdir()] == ["unit.1"]


def test_a_killed_process_of_this_machine_holds_nothing(tmp_path):
    folder = tmp_path / ".leases"
    other = holder(folder)
    other.kill()
    other.wait()
    with Leases(folder) as leases:
        assert list(folder.iterdir()) == []  # swept
        assert leases.take("a--seed-0")
    other.stdin.close()
    other.stdout.close()


def test_a_number_that_another_process_has_now_is_told_apart(tmp_path):
    folder = tmp_path / ".leases"
    with Leases(folder) as other:
        assert other.take("unit")
        (path,) = folder.iterdir()
        path.write_text(json.dumps(vars(this_process()) | {"started": "1"}))
        with Leases(folder) as leases:
            assert leases.take("unit")


def test_a_lease_that_is_being_written_binds(tmp_path):
    (folder := tmp_path / ".leases").mkdir()
    (folder / "unit.0").touch()
    with Leases(folder) as leases:
        assert not leases.take("unit")
        assert str(leases.holder("unit")) == "another command"


def test_a_holder_at_work_keeps_its_lease(tmp_path):
    """Over three times the time after which it would expire."""
    folder = tmp_path / ".leases"
    with Leases(folder, expires_after=0.6, beat=0.1) as first:
        assert first.take("unit")
        age(folder, 0, elsewhere=True)
        with Leases(folder, expires_after=0.6) as second:
            end = time.monotonic() + 1.8
            while time.monotonic() < end:
                assert not second.take("unit")
                time.sleep(0.05)


@pytest.mark.parametrize("expired", [False, True])
def test_of_many_threads_exactly_one_wins(tmp_path, expired):
    folder = tmp_path / ".leases"
    for _ in range(20):
        folder.mkdir(exist_ok=True)
        if expired:
            (folder / "unit.3").write_text("{}")
            age(folder, module.EXPIRES_AFTER + 10)
        all_at_once = threading.Barrier(16)
        claims = [Leases(folder) for _ in range(16)]
        won: list[Leases] = []

        def claim(leases: Leases, at_once=all_at_once, won=won) -> None:
            at_once.wait()
            if leases.take("unit"):
                won.append(leases)

        threads = [threading.Thread(target=claim, args=(leases,)) for leases in claims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release("unit")
        assert list(folder.iterdir()) == []


def _worker(folder: Path, connection, seconds: float) -> None:
    """Claim, hold and let go of two units again and again; now and then "die" with one held."""
    spans, leases, at = [], Leases(folder, expires_after=0.3), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        unit = f"unit-{at % 2}"
        at += 1
        if leases.take(unit):
            since = time.monotonic()
            time.sleep(0.001 * (at % 7))
            spans.append((unit, since, time.monotonic()))
            if at % 11 == 0:  # the lease stays, and expires
                leases._held.pop(unit)
            else:
                leases.release(unit)
    connection.send(spans)


@pytest.mark.parametrize("locks", [True, False])
def test_processes_never_hold_a_unit_together(tmp_path, locks, monkeypatch):
    """Six processes for two seconds, with deaths and expiry, also where the system refuses locks.
    Leases of this machine's dead would be free at once, so the process forgets one and lives on."""
    if not locks:
        fcntl = pytest.importorskip("fcntl")

        def refuse(*_):
            raise OSError(37, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(fcntl, "lockf", refuse)
    folder = tmp_path / ".leases"
    folder.mkdir()
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for _ in range(6):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=_worker, args=(folder, theirs, 2.0)))
        processes[-1].start()
        pipes.append(ours)
    spans = sorted(span for pipe in pipes for span in pipe.recv())
    for process in processes:
        process.join()
    assert len(spans) > 50
    for (unit, _, ended), (other, since, _) in itertools.pairwise(spans):
        assert unit != other or ended <= since, "two processes held a unit together"


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        Leases(tmp_path / "file" / ".leases").__enter__()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_says_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        Leases(tmp_path / ".leases").__enter__()
    tmp_path.chmod(0o700)


def test_a_file_system_that_is_read_only_says_so(tmp_path, monkeypatch):
    """As a mount would: it refuses to make the file."""
    leases = Leases(tmp_path / ".leases")

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        leases.take("unit")


def test_signal_number_zero_is_not_needed_of_the_dead():
    """A zombie is dead, though its number still answers."""
    process = os.fork()
    if process == 0:
        os._exit(0)
    while module._started(process):
        time.sleep(0.01)
    os.kill(process, 0)
    os.waitpid(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
