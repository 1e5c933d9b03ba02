"""How fast is it? The scan beside its traffic, every row's step eager and captured, kernels."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import get_args

import torch
from torch import Tensor

from benchmark.gpu_check.correct import scan_inputs
from benchmark.gpu_check.parts import Part, Result, Setting
from benchmark.gpu_check.workload import SHAPES, spec_at, training_run
from benchmark.runs.spec import Precision, RunSpec
from benchmark.settings.registry import methods
from benchmark.train.engine import TrainingRun
from benchmark.train.graph import WARM_UP
from findrec.ops import scan_backends, selective_scan, use_scan_backend

SCAN_CALLS = {
    "FindRec's ID stream, Beauty": (256, 50, 128, 16),
    "FindRec's text or image stream, Beauty": (256, 50, 1_024, 16),
    "FindRec's text or image stream, ML-100k": (256, 100, 1_024, 16),
    "Mamba4Rec, Beauty": (256, 50, 128, 32),
}
"""(users, positions, channels, states) of calls at the paper's widths; docs/performance.md has
their floors."""
SMALL_CALL = (8, 10, 32, 16)

COPY_BYTES = 2**30
SECONDS_A_TIMING = 0.6
MOST_STEPS = 40
PROFILED_STEPS = 3
KERNELS_SHOWN = 10


def speed_of_ops() -> list[Part]:
    """The scan, beside what the device's memory allows."""
    return [Part("copy bandwidth", 2, bandwidth), Part("scan", 8, scan_speed)]


def speed_of_rows(rows: Sequence[str]) -> list[Part]:
    """Training steps on both datasets."""
    return [
        Part(f"steps of {row} on {dataset}", 8, partial(step_speed, row, dataset))
        for dataset in SHAPES
        for row in rows
    ]


def kernels_of_one_seed() -> list[Part]:
    """What a step is made of: the cheapest row and the paper's."""
    return [
        Part("kernels of SASRec on beauty", 6, partial(kernels, "SASRec", "beauty", 1)),
        Part("kernels of FindRec on ml-100k", 8, partial(kernels, "FindRec", "ml-100k", 1)),
    ]


def kernels_of_a_stack() -> list[Part]:
    """FindRec with all its seeds: its kernels, and what other precisions gain."""
    row, dataset = "FindRec", "ml-100k"
    return [
        Part(f"kernels of {row} on {dataset}, stack", 10, partial(kernels, row, dataset, None)),
        Part(f"precision of {row} on {dataset}", 12, partial(precisions, row, dataset)),
    ]


def timed(setting: Setting, function: Callable[[], object], repeat: int = 20) -> float:
    """Median milliseconds of a call, three calls before."""
    for _ in range(3):
        function()
    setting.wait()
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        function()
        setting.wait()
        found.append(1e3 * (time.perf_counter() - started))
    return median(found)


def bandwidth(setting: Setting) -> Result:
    """Bytes a second that a copy within the device's memory reads and writes."""
    source = torch.zeros(COPY_BYTES // (64 if setting.small else 4), device=setting.device)
    target = torch.empty_like(source)
    milliseconds = timed(setting, lambda: target.copy_(source))
    moved = 2 * source.numel() * source.itemsize
    return {"GB a second": moved / milliseconds / 1e6}


def scan_floor(users: int, length: int, width: int, size: int) -> tuple[int, int]:
    """Least bytes that forward and backward of a float32 scan with a gate can move: each input read
    and each result written once."""
    positions = users * length
    states = 2 * positions * size + width * size + width  # B, C, A, D
    forward = 4 * (4 * positions * width + states)
    return forward, 4 * (7 * positions * width + 2 * states)


def scan_speed(setting: Setting) -> Result:
    """Milliseconds of the scan, and what its traffic would take at the bandwidth of a copy."""
    per_second = float(bandwidth(setting)["GB a second"]) * 1e9
    calls = {"a small one": SMALL_CALL} if setting.small else SCAN_CALLS
    found: Result = {}
    for label, shape in calls.items():
        given = [x[0].to(setting.device) for x in scan_inputs((1, *shape), torch.float32)]
        leaves = [x.requires_grad_() for x in given]
        upstream = torch.randn_like(given[0])
        floors = [1e3 * size / per_second for size in scan_floor(*shape)]
        for name in scan_backends(setting.device):
            if name == "reference":
                continue
            with use_scan_backend(name):
                ahead = timed(setting, partial(_forward, leaves))
                whole = timed(setting, partial(_both, leaves, upstream))
            found[f"{label}: {name}"] = {
                "forward, ms": ahead,
                "both, ms": whole,
                "forward's floor, ms": floors[0],
                "both floors, ms": sum(floors),
                "times the floors": whole / sum(floors),
            }
    return {"calls": found}


def _forward(leaves: list[Tensor]) -> None:
    with torch.no_grad():
        selective_scan(*leaves)


def _both(leaves: list[Tensor], upstream: Tensor) -> None:
    torch.autograd.grad(selective_scan(*leaves), leaves, upstream)


def step_speed(row: str, dataset: str, setting: Setting) -> Result:
    """Milliseconds of a row's step, one seed and a stack, op by op and captured; peak memory."""
    found: Result = {"multimodal": bool(methods()[row].modalities)}
    for seeds in (1, setting.seeds):
        run = training_run(
            _paper(row, dataset, setting), range(seeds), setting.device, capture=True
        )
        found["budget, steps"] = run.training.steps
        if run.fixed_step.sizes is not None:
            found["parts, users x positions"] = run.fixed_step.sizes.sizes
        own: Result = {}
        capture, run.fixed_step.capture = run.fixed_step.capture, None
        own["op by op, ms"], own["op by op, peak GB"] = _steps(run, setting)
        if capture is not None:
            run.fixed_step.capture = capture
            own["captured, ms"], own["captured, peak GB"] = _steps(run, setting)
            own["execution"] = run.execution
        found[f"{seeds} seed{'s' if seeds > 1 else ''}"] = own
        del run
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def _paper(row: str, dataset: str, setting: Setting) -> RunSpec:
    """The row at the paper's widths; at small ones with as many steps as are taken here."""
    if setting.small:
        return spec_at(row, dataset, profile="smoke").with_training(steps=1_000)
    return spec_at(row, dataset, profile="paper")


def _steps(run: TrainingRun, setting: Setting) -> tuple[float, float | None]:
    """Milliseconds of a step, and the most memory that was taken meanwhile, in GB.

    Steps are timed together, since a GPU may be several behind: as many as fit the time.
    """
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(setting.device)
    for _ in range(WARM_UP + 2):
        run.train_step()
    setting.wait()
    started = time.perf_counter()
    run.train_step()
    setting.wait()
    once = time.perf_counter() - started
    steps = max(2, min(MOST_STEPS, int(SECONDS_A_TIMING / max(once, 1e-6))))
    started = time.perf_counter()
    for _ in range(steps):
        run.train_step()
    setting.wait()
    each = 1e3 * (time.perf_counter() - started) / steps
    return each, torch.cuda.max_memory_allocated(setting.device) / 1e9 if cuda else None


def kernels(row: str, dataset: str, seeds: int | None, setting: Setting) -> Result:
    """The kernels that take most of a step run op by op, and how many are launched; seeds: None for
    a whole stack."""
    from torch.profiler import ProfilerActivity, profile

    cuda = setting.device.type == "cuda"
    many = setting.seeds if seeds is None else seeds
    run = training_run(_paper(row, dataset, setting), range(many), setting.device, capture=False)
    for _ in range(3):
        run.train_step()
    setting.wait()
    kind = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[kind]) as profiled:
        for _ in range(PROFILED_STEPS):
            run.train_step()
        setting.wait()

    def own(event: object) -> float:
        return float(getattr(event, "self_device_time_total" if cuda else "self_cpu_time_total"))

    # Calls of the runtime, such as those that launch, have no time on the device of their own.
    events = [event for event in profiled.key_averages() if own(event) > 0]
    total = sum(map(own, events))
    largest = sorted(events, key=own, reverse=True)[:KERNELS_SHOWN]
    return {
        "ms a step": total / 1e3 / PROFILED_STEPS,
        "launches a step": round(sum(event.count for event in events) / PROFILED_STEPS),
        "largest": [
            {
                "name": event.key[:120],
                "share": own(event) / total,
                "calls a step": event.count / PROFILED_STEPS,
            }
            for event in largest
        ],
    }


def precisions(row: str, dataset: str, setting: Setting) -> Result:
    """Milliseconds of a step of a stack in each precision, and its loss after the same steps."""
    found: Result = {}
    for precision in get_args(Precision):
        run = training_run(
            _paper(row, dataset, setting),
            range(setting.seeds),
            setting.device,
            capture=True,
            precision=precision,
        )
        for _ in range(10):
            run.train_step()
        loss = float(run.fixed_step.sums["recommendation"].mean()) / 10
        found[precision] = {"ms": _steps(run, setting)[0], "loss of 10 steps": loss}
        del run
    return found


def ratios(found: Result, seeds: Sequence[int]) -> dict[str, float | None]:
    """Of a row's step: captured against op by op for one seed, and a stack against one seed."""
    one, stack = (found.get(f"{n} seed{'s' if n > 1 else ''}", {}) for n in seeds)
    fast = one.get("captured, ms")
    gain = one["op by op, ms"] / fast if fast else None
    many = stack.get("captured, ms")
    return {"capture": gain, "stack": many / fast if fast and many else None}
