"""Commands that make a part of the runs: a limited time, shards, several commands in one folder."""

import os
import subprocess
import sys
import time

import pytest

from benchmark.launch.queue import unit_of
from benchmark.runs.leases import Leases
from benchmark.runs.spec import RunKey
from tests.commands import ROOT, SMALL, call

LIMITED = ("run", "--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec")


def test_a_command_whose_time_is_over_says_what_is_left(tmp_path):
    """With next to no time nothing is started; that the same command goes on is said."""
    first = call(tmp_path, *LIMITED, "--for", "1s")
    assert first.returncode == 75, first.stderr
    assert "the time is over: 0 of 2 runs are there, 2 are left; the same command" in first.stdout


def test_a_part_whose_runs_others_hold_has_time_left(tmp_path):
    """A queue that takes status 75 for a reason to call again would call without end."""
    seeds = range(2)
    with Leases(tmp_path / "runs" / ".leases") as others:
        for seed in seeds:
            key = RunKey("smoke", "beauty", "GRU4Rec", "base")
            assert others.take(unit_of(key, seed))
        done = call(tmp_path, *LIMITED, "--shard", "any", "--for", "1h", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 2 runs are there, 2 are left; others have taken them" in done.stdout


@pytest.mark.slow  # it takes as long as the command may
def test_a_command_ends_in_time_and_its_state_is_saved(tmp_path):
    """Training of minutes in 90 s, of which a busy machine needs half until the first step."""
    profile = ("--profile", "quick", "--datasets", "beauty", "--models", "FindRec")
    began = time.monotonic()
    done = call(tmp_path, "run", *profile, "--seeds", "1", "--device", "cpu", "--for", "90s")
    assert done.returncode == 75, done.stdout + done.stderr
    assert time.monotonic() - began < 95
    assert "0 of 1 runs are there, 1 are left (1 of them begun)" in done.stdout
    assert len(list((tmp_path / "runs" / ".checkpoints").glob("*.pt"))) == 1
    assert not (tmp_path / "runs" / ".leases").exists()


@pytest.mark.slow  # four commands
def test_parts_make_all_runs_and_render_nothing(tmp_path):
    """Two halves in two folders, and a command that takes whatever is left."""
    for number in (1, 2):
        place = tmp_path / str(number)
        place.mkdir()
        done = call(place, "table2", *SMALL, "--shard", f"{number}/2")
        assert done.returncode == 0, done.stderr
        assert f"shard {number}/2: " in done.stdout
        assert not (place / "results").exists()
    made = [
        {path.relative_to(tmp_path / number) for path in (tmp_path / number).rglob("seed-*.json")}
        for number in "12"
    ]
    assert not made[0] & made[1]
    assert len(made[0] | made[1]) == 3
    done = call(tmp_path / "1", "table2", *SMALL, "--shard", "any")
    assert "shard any: 3 of 3 runs are there" in done.stdout


@pytest.mark.slow  # two commands with two workers each
def test_two_commands_in_one_folder_share_the_work(tmp_path):
    """Started at once, each makes what the other does not, and both have all of it in the end."""
    arguments = ["run", *SMALL[:5], "GRU4Rec", "--seeds", "6", "--device", "cpu"]
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmark", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [command.communicate(timeout=300) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    for out, _ in said:
        assert out.count("complete") == 6
    logs = sorted((tmp_path / "runs" / "logs").glob("*.log"))
    assert sum(path.read_text().count("done GRU4Rec") for path in logs) == 6
