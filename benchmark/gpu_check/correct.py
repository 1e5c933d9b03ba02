"""Is it right? Backends of the scan, graphs against single ops, a stack against a seed alone."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmark.gpu_check.parts import Part, Result, Setting
from benchmark.gpu_check.workload import spec_at, training_run
from benchmark.parity import parity
from benchmark.train.engine import TrainingRun
from findrec.ops import dropout, scan_backends, selective_scan, uniform, use_scan_backend
from findrec.ops.scan import reference
from findrec.ops.scan_mamba_ssm import selective_scan_fn

ScanShape = tuple[int, int, int, int, int]
"""(seeds, users, positions, channels, states)"""

SCAN_SHAPES: tuple[ScanShape, ...] = (
    (1, 64, 50, 128, 16),
    (1, 33, 100, 1_024, 16),
    (3, 17, 37, 96, 32),
    (2, 5, 1, 40, 8),
)
"""Rows of Table 2, and sizes that fill no block."""
SCAN_TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2}
"""Of the largest element of the float64 reference, outputs and gradients: float32 sums over at most
100 positions and 1,024 channels stay below 1e-5; bfloat16 has eight bits, 4e-3 an input."""

STEPS = 8
"""Steps that are compared: enough for replays after the warm-up."""
MOVE_TOLERANCE = 0.05
"""Of how far the parameters have moved after these steps, the share by which that may differ:
sum |p - p'| / sum |p - start|. Rounding alone (initial parameters changed by 1e-6 of themselves)
gives 5e-6 to 6e-3, another step's keys of the draws 0.5 to 1.4, on a CPU over all rows."""
BATCH = 64
WINDOWS = 400


def checks_of_ops() -> list[Part]:
    """The scan and the draws, on which the rows stand."""
    return [
        Part("scan backends against float64", 8, scan_backends_agree),
        Part("draws on the device and on the CPU", 2, draws_agree),
        Part("mamba-ssm beside ours", 5, mamba_agrees),
    ]


def checks_of_rows(rows: Sequence[str]) -> list[Part]:
    """Whether rows train on the device as on the CPU."""
    return [
        Part(f"training of {row}: device, graph, stack", 6, partial(training_agrees, row))
        for row in rows
    ]


def scan_inputs(shape: ScanShape, dtype: torch.dtype) -> list[Tensor]:
    """u, delta, A, B, C, D, z with the seeds in front, on the CPU, as a Mamba layer gives them."""
    seeds, users, length, width, size = shape
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(seeds, *shape, generator=generator)

    inputs = [
        draw(users, length, width),
        torch.nn.functional.softplus(draw(users, length, width) - 3),
        -torch.arange(1.0, size + 1) * torch.exp(0.1 * draw(width, size)),
        draw(users, length, size),
        draw(users, length, size),
        draw(width),
        draw(users, length, width),
    ]
    return [x.to(dtype) for x in inputs]


def scan_backends_agree(setting: Setting) -> Result:
    """Outputs and all gradients of every backend; the reference in float64 is the oracle."""
    names = scan_backends(setting.device)
    shapes = SCAN_SHAPES[2:] if setting.small else SCAN_SHAPES
    found: Result = {}
    for name in names:
        dtypes = [torch.float32, *([torch.bfloat16] if name == "triton" else [])]
        for dtype in dtypes:
            label = str(dtype).removeprefix("torch.")
            try:
                worst = max(
                    deviation
                    for shape in shapes
                    for deviation in scan_deviations(name, setting.device, shape, dtype)
                )
            except (RuntimeError, ValueError) as error:
                found[f"{name}, {label}"] = f"{type(error).__name__}: {error}"
            else:
                found[f"{name}, {label}"] = worst
    ok = all(
        isinstance(worst, float) and worst <= SCAN_TOLERANCE[key.rpartition(" ")[2]]
        for key, worst in found.items()
    )
    return {"ok": ok, "deviation": found, "tolerance": SCAN_TOLERANCE}


def scan_deviations(
    name: str, device: torch.device, shape: ScanShape, dtype: torch.dtype
) -> Iterator[float]:
    """Largest deviation of the outputs and of each gradient, as a share of its largest element."""
    inputs = scan_inputs(shape, dtype)
    exact = [x.double().to(device).requires_grad_() for x in inputs]
    given = [x.to(device).requires_grad_() for x in inputs]
    y = reference(*exact)
    with use_scan_backend(name):
        own = torch.vmap(selective_scan)(*given)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(device)
    wanted = [y, *torch.autograd.grad(y, exact, upstream.double())]
    have = [own, *torch.autograd.grad(own, given, upstream.to(dtype))]
    for expected, found in zip(wanted, (x.detach() for x in have), strict=True):
        expected = expected.detach()
        scale = expected.abs().max().clamp(min=1e-30)
        yield float(((found.double() - expected).abs().max() / scale).nan_to_num(nan=torch.inf))


def draws_agree(setting: Setting) -> Result:
    """The same bits on the device as on the CPU, and the same mask in forward and backward."""
    rows = torch.arange(37) * 1_000_003
    key = torch.tensor([2**40 + 7, 12_345])
    on_cpu = uniform(key, "check", rows, 5, 129)
    on_device = uniform(key.to(setting.device), "check", rows.to(setting.device), 5, 129)
    x = torch.ones(37, 5, 129, device=setting.device, requires_grad=True)
    y = dropout(x, 0.3, key.to(setting.device), "check", rows.to(setting.device))
    (grad,) = torch.autograd.grad(y.sum(), x)
    kept = (on_cpu >= 0.3).to(torch.float32) / 0.7
    masks = torch.allclose(y.cpu(), kept) and torch.equal(y, grad)
    return {"ok": torch.equal(on_cpu, on_device.cpu()) and masks}


def training_agrees(row: str, setting: Setting) -> Result:
    """Where the first steps of a row take its first seed, at smoke widths: on the device op by op
    and replayed, and as one of a stack there, each against the CPU."""
    cpu = torch.device("cpu")
    ways = {
        "CPU": ([0], cpu, False),
        "op by op": ([0], setting.device, False),
        "graph": ([0], setting.device, True),
        "graph of a stack": (list(range(setting.seeds)), setting.device, True),
    }
    ends: dict[str, list[Tensor]] = {}
    execution = {}
    for way, (seeds, device, capture) in ways.items():
        spec = spec_at(row, "ml-100k", profile="smoke").with_training(
            batch_size=BATCH, steps=STEPS, eval_every=STEPS
        )
        run = training_run(spec, seeds, device, capture=capture, most_windows=WINDOWS)
        start = _first_seed(run)  # the same of every way
        for _ in range(STEPS):
            run.train_step()
        ends[way], execution[way] = _first_seed(run), run.execution
    moved = _distance(ends["CPU"], start)
    deviation = {
        way: _distance(end, ends["CPU"]) / moved for way, end in ends.items() if way != "CPU"
    }
    graph = execution["graph"] == "CUDA graph" or setting.device.type != "cuda"
    return {
        "ok": graph and all(found <= MOVE_TOLERANCE for found in deviation.values()),
        "deviation": deviation,
        "tolerance": MOVE_TOLERANCE,
        "graph equals op by op to the bit": all(map(torch.equal, ends["graph"], ends["op by op"])),
        "execution": execution,
    }


def _first_seed(run: TrainingRun) -> list[Tensor]:
    return [p.detach()[0].double().cpu() for p in run.stack.parameters.values()]


def _distance(left: list[Tensor], right: list[Tensor]) -> float:
    return float(sum((x - y).abs().sum() for x, y in zip(left, right, strict=True)))


def mamba_agrees(setting: Setting) -> Result:
    """Parity with mamba-ssm, where it imports."""
    theirs = selective_scan_fn()
    if theirs is None or setting.device.type != "cuda":
        return {"skipped": "mamba-ssm does not import here"}
    found = parity(theirs, setting.device)
    return {"ok": found.ok, "forward": found.forward, "gradients": found.backward}
