"""Checkpoints under damage, other owners, false clocks and leftovers."""

import os
import random
import time
from pathlib import Path

import pytest
import torch

from benchmark.runs.checkpoint import CheckpointFile, Owner, sweep_checkpoints
from benchmark.runs.spec import RunKey
from rankaudit.files import temporary_prefix

CPU = torch.device("cpu")
KEY = RunKey("quick", "toy", "SASRec", "base")
OURS = Owner(KEY, {0: "a" * 64, 1: "b" * 64})
STATE = {"step": 3, "alive": [0, 1], "parameters": {"weight": torch.arange(600.0).view(2, 300)}}


def saved(folder: Path, owner: Owner = OURS, name: str = "run.pt") -> CheckpointFile:
    file = CheckpointFile(folder / name, owner)
    file.save(STATE)
    return file


def test_round_trip(tmp_path):
    state = CheckpointFile(saved(tmp_path).path, OURS).load(CPU)
    assert state["step"] == 3
    assert torch.equal(state["parameters"]["weight"], STATE["parameters"]["weight"])


def test_every_flipped_bit_is_noticed_and_the_file_set_aside(tmp_path):
    """300 bits of the whole file, drawn at random, and cuts of it. (Of the format before, which had
    no checksum, 145 of 150 were loaded.)"""
    path = saved(tmp_path).path
    whole, rng = path.read_bytes(), random.Random(0)
    damaged = [whole[:at] for at in (0, 10, len(whole) // 2, len(whole) - 1)]
    for _ in range(300):
        at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        damaged.append(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
    for data in damaged:
        path.write_bytes(data)
        said: list[str] = []
        assert CheckpointFile(path, OURS, note=said.append).load(CPU) is None
        (line,) = said
        aside = path.with_name("run.pt.unusable")
        assert line.startswith(f"{aside}: a checkpoint that is damaged")
        assert line.endswith("training starts anew")
        assert aside.read_bytes() == data
        assert not path.exists()
    path.write_bytes(whole)
    assert CheckpointFile(path, OURS).load(CPU) is not None


def test_the_checkpoint_of_another_run_is_not_loaded(tmp_path):
    path, said = saved(tmp_path).path, []
    other = Owner(KEY, {0: "a" * 64, 1: "c" * 64})
    assert CheckpointFile(path, other, note=said.append).load(CPU) is None
    assert "is of another run" in said[0]


def test_there_is_none(tmp_path):
    assert CheckpointFile(tmp_path / "none" / "run.pt", OURS).load(CPU) is None


def test_no_code_runs_from_a_checkpoint(tmp_path):
    """A pickle that would make a file, under a checksum that holds."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    file, said = CheckpointFile(tmp_path / "run.pt", OURS), []
    file.save({"step": Evil()})
    assert CheckpointFile(file.path, OURS, note=said.append).load(CPU) is None
    assert "cannot read" in said[0]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("days", [-10_000, 10_000])
def test_a_false_clock_neither_stops_nor_hurries_checkpoints(tmp_path, days):
    """A file whose time is far in the past or the future; what counts is this process's own time
    since it saved or loaded."""
    path = saved(tmp_path).path
    stamp = time.time() + days * 86_400
    os.utime(path, (stamp, stamp))
    file = CheckpointFile(path, OURS, every=0.2)
    assert file.is_due()
    file.load(CPU)
    assert not file.is_due()
    time.sleep(0.25)
    assert file.is_due()
    file.save(STATE)
    assert not file.is_due()


def test_leftovers_are_swept_and_nothing_else(tmp_path):
    """Checkpoints of runs that are finished or stale and files of dead processes go; what a run can
    go on from, what is another command's and what nobody understands stays."""
    other = RunKey("quick", "toy", "GRU4Rec", "base")
    third = RunKey("quick", "toy", "NOVA", "base")
    saved(tmp_path, OURS, "ours.pt")
    saved(tmp_path, Owner(KEY, {0: "a" * 64}), "half-of-ours.pt")
    saved(tmp_path, Owner(KEY, {1: "old"}), "stale.pt")
    saved(tmp_path, Owner(KEY, {7: "old"}), "another-seed.pt")
    saved(tmp_path, Owner(other, {0: "x", 1: "y"}), "finished.pt")
    saved(tmp_path, Owner(other, {0: "x", 1: "z"}), "half-finished.pt")
    saved(tmp_path, Owner(third, {0: "w"}), "another-row.pt")
    mine = tmp_path / f"{temporary_prefix('ours.pt')}abc"
    dead = tmp_path / mine.name.replace(f"-{os.getpid()}.", "-4194305.")  # above every process's
    for path in (mine, dead, tmp_path / "notes.txt"):
        path.write_bytes(b"")
    for name, days in (("old.pt.unusable", 8), ("new.pt.unusable", 6), ("to-come", -8)):
        path = tmp_path / (name if name.endswith("unusable") else f"{name}.pt.unusable")
        path.write_bytes(b"")
        os.utime(path, (time.time() - days * 86_400,) * 2)
    finished = {(other, 0): "x", (other, 1): "y"}
    sweep_checkpoints(tmp_path, OURS, lambda key, seed: finished.get((key, seed)))
    assert {path.name for path in tmp_path.iterdir()} == {
        mine.name,
        "another-row.pt",
        "another-seed.pt",
        "half-finished.pt",
        "half-of-ours.pt",
        "new.pt.unusable",
        "notes.txt",
        "ours.pt",
        "to-come.pt.unusable",
    }
