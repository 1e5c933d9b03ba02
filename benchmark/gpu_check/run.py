"""The whole check: what it is about, its parts in order, and the two files that are written."""

import platform
from collections.abc import Callable
from pathlib import Path

import torch

from benchmark.files import sha256, write_bytes
from benchmark.gpu_check.correct import checks_of_ops, checks_of_rows
from benchmark.gpu_check.page import page
from benchmark.gpu_check.parts import Clock, Part, Report, Result, Setting, run_parts
from benchmark.gpu_check.speed import (
    kernels_of_a_stack,
    kernels_of_one_seed,
    speed_of_ops,
    speed_of_rows,
)
from benchmark.gpu_check.workload import trained_rows
from benchmark.runs.code import code_of, digest
from benchmark.runs.schema import Environment
from benchmark.runs.spec import slug
from findrec.ops import recorded_scan_backend

FIRST = ("FindRec", "SASRec", "Mamba4Rec", "BERT4Rec")
"""Rows that are checked and measured before the others: together they use every op."""


def all_parts() -> list[Part]:
    """Every part, in the order of importance: what is wrong need not be fast."""
    others = [row for row in trained_rows() if row not in FIRST]
    return [
        *checks_of_ops(),
        *checks_of_rows(FIRST),
        *speed_of_ops(),
        *speed_of_rows(FIRST),
        *kernels_of_one_seed(),
        *checks_of_rows(others),
        *speed_of_rows(others),
        *kernels_of_a_stack(),
    ]


def gpu_check(
    device: torch.device,
    out: Path,
    *,
    minutes: float,
    again: bool = False,
    say: Callable[[str], None],
) -> tuple[Report, list[str]]:
    """Check and measure a device within a time; the report, and the parts that had no time.

    out: folder of DEVICE.json and DEVICE.md, which are written after every part. Parts that the
    first holds already, of the same device, code and packages, are not run again unless `again`.
    """
    clock = Clock(60 * minutes)
    about = facts(device)
    path = out / f"{slug(about['device'])}.json"
    report = Report(path, about) if again else Report.at(path, about)
    setting = Setting(device, clock, small=device.type != "cuda")

    def write(report: Report) -> None:
        write_bytes(path.with_suffix(".md"), page(report, setting.seeds).encode())

    left_out = run_parts(all_parts(), report, setting, say=say, after=write)
    write(report)
    return report, left_out


def facts(device: torch.device) -> Result:
    """What figures are of: the device, the code, the packages."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"cpu {platform.machine()}"
    environment = Environment.current(
        device=name,
        scan_backend=recorded_scan_backend(device),
        threads=torch.get_num_threads(),
    )
    files = sorted(Path(__file__).parent.glob("*.py"))
    code = digest([code_of("findrec.model:FindRec").hash, *map(sha256, files)])
    return {
        "device": name,
        "code": code,
        "scan": environment.scan_backend,
        "cuda": torch.version.cuda or "",
        "packages": environment.packages,
    }
