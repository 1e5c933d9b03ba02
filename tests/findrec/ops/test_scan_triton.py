"""The Triton kernels in Triton's interpreter, on a CPU: numbers against the float64 reference.

The interpreter must be chosen before the kernels are imported, so one subprocess computes all
cases. It runs what the compiler gets, but not the compiler: test_scan_compiled.py looks at that.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from findrec.ops.scan import reference
from tests.findrec.ops.test_scan import NAMES, inputs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton (the extra gpu) is not installed"
)

PROGRAM = """
import sys, torch
from findrec.ops.scan import _BACKENDS
from tests.findrec.ops.test_scan_triton import gradients
cases = torch.load(sys.argv[1])
scan = _BACKENDS["triton"].scan
torch.save({name: gradients(scan, *case) for name, case in cases.items()}, sys.argv[2])
"""

SHAPES = {
    # users, length, width, size
    "one of each": (1, 1, 1, 1),
    "one position": (2, 1, 5, 4),
    "odd length": (2, 21, 5, 4),
    "length of a chunk": (1, 16, 16, 2),
    "two tiles of channels, odd size": (1, 5, 19, 3),
    "two programs, in both passes": (1, 3, 130, 1),
    "two chunks, Mamba's size": (1, 17, 16, 16),
    "size 32": (1, 6, 9, 32),
    "size 33": (1, 2, 3, 33),
    "size 64": (1, 6, 8, 64),
}


FAULTS = (float("nan"), -float("inf"))


def gradients(scan: Any, values: list[Tensor | None], upstream: Tensor) -> list[Tensor | None]:
    """y and the gradients of u, delta, A, B, C, D, z. Strides of the inputs are kept."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in values]
    y = scan(*leaves)
    y.backward(upstream)
    return [y.detach(), *(None if x is None else x.grad for x in leaves)]


def case(*shape: int, **options: Any) -> tuple[list[Tensor | None], Tensor]:
    values = inputs(*shape, **{"dtype": torch.float32, **options})
    draw = torch.Generator().manual_seed(1)
    return values, torch.randn(values[0].shape, generator=draw).to(values[0].dtype)


def faulty(name: str, value: float) -> tuple[list[Tensor | None], Tensor]:
    """One element of one input replaced; the width and the size need padding."""
    values, upstream = case(2, 6, 3, 3)
    tensor = values[NAMES.index(name)]
    tensor[(0, 2, 1) if tensor.dim() == 3 else (0,) * tensor.dim()] = value
    return values, upstream


def strided() -> tuple[list[Tensor | None], Tensor]:
    """As Mamba passes them: gate, B and C are parts of wider tensors; u has its users last."""
    values, upstream = case(2, 4, 5, 4)
    u, delta, A, B, C, D, z = values
    states = torch.cat([torch.zeros(2, 4, 1), B, C], -1)
    both = torch.cat([u, z], -1)
    return [
        u.permute(1, 2, 0).contiguous().permute(2, 0, 1), delta, A.mT.contiguous().mT,
        states[..., 1:5], states[..., 5:], D, both.chunk(2, -1)[1],
    ], upstream.transpose(0, 1).contiguous().transpose(0, 1)  # fmt: skip


def all_cases() -> dict[str, tuple[list[Tensor | None], Tensor]]:
    cases = {f"{name}, gated": case(*shape) for name, shape in SHAPES.items()}
    for name in ("one position", "two tiles of channels, odd size", "size 32"):
        cases[f"{name}, plain"] = case(*SHAPES[name], gated=False)
    cases["stack"] = case(2, 5, 4, 3, groups=(3,))
    for seed in range(3):
        values, upstream = cases["stack"]
        cases[f"seed {seed}"] = [x[seed] for x in values], upstream[seed]
    cases["again"] = cases["odd length, gated"]
    cases["no users"] = case(0, 5, 4, 3)
    cases["strided"] = strided()
    cases["bfloat16"] = case(2, 18, 5, 4, dtype=torch.bfloat16)
    for name in NAMES:
        for value in FAULTS:
            cases[f"{name} {value}"] = faulty(name, value)
    draw = torch.Generator().manual_seed(2)
    for number in range(3):
        limits = (3, 35, 40, 64)
        shape = [int(torch.randint(1, limit + 1, (), generator=draw)) for limit in limits]
        cases[f"random {number}: {shape}"] = case(*shape[:1], min(shape[1], 20), *shape[2:])
    return cases


CASES = all_cases()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tensor | None]]:
    folder = tmp_path_factory.mktemp("interpreter")
    torch.save(CASES, folder / "cases")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder / "cases"), str(folder / "out")],
        cwd=Path(__file__).parents[3], capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("this triton's interpreter does not run under NumPy >= 2.4 (3.9's does)")
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Tensor | None]] = torch.load(folder / "out")
    return found


def expected(name: str) -> list[Tensor | None]:
    values, upstream = CASES[name]
    doubles = [None if x is None else x.double() for x in values]
    return gradients(reference, doubles, upstream.double())


NUMERIC = [name for name in CASES if name.split()[0] not in (*NAMES, "again", "bfloat16", "no")]


@pytest.mark.parametrize("name", NUMERIC)
def test_float32_against_float64(results: dict[str, list[Tensor | None]], name: str) -> None:
    """Relative to the largest element, 2e-6, as the compiled loops are held to: sums over L, N and
    D of terms with an error of 6e-8 each. A gradient that is zero is zero exactly."""
    for of, a, b in zip(["y", *NAMES], results[name], expected(name), strict=True):
        if a is not None and b is not None:
            assert (a - b).abs().max() <= 2e-6 * b.abs().max(), of


def test_bfloat16_against_float64(results: dict[str, list[Tensor | None]]) -> None:
    """Inputs and results are bfloat16 and everything between is float32: a result has one rounding
    to 8 bits, which in the interpreter cuts off (2^-7 of the element; a GPU rounds to nearest, half
    of that), and the float32 error above."""
    for of, a, b in zip(["y", *NAMES], results["bfloat16"], expected("bfloat16"), strict=True):
        assert a.dtype == torch.bfloat16
        assert ((a - b).abs() <= 2**-7 * b.abs() + 2e-6 * b.abs().max()).all(), of


def test_stack_equals_seeds_alone_bit_for_bit(results: dict[str, list[Tensor | None]]) -> None:
    for seed in range(3):
        for a, b in zip(results["stack"], results[f"seed {seed}"], strict=True):
            assert torch.equal(a[seed], b)


def test_equal_calls_give_equal_bits(results: dict[str, list[Tensor | None]]) -> None:
    for a, b in zip(results["odd length, gated"], results["again"], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("value", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_nan_and_inf_go_where_the_reference_has_them(
    results: dict[str, list[Tensor | None]], name: str, value: float
) -> None:
    """In float32 on both sides; neither padding nor the positions after the last may spread them,
    and what stays finite has the right value."""
    key = f"{name} {value}"
    for of, a, b in zip(
        ["y", *NAMES], results[key], gradients(reference, *CASES[key]), strict=True
    ):
        finite = b.isfinite()
        assert torch.equal(a[~finite].nan_to_num(7), b[~finite].nan_to_num(7)), of
        torch.testing.assert_close(a[finite], b[finite], rtol=1e-5, atol=1e-5)


def test_no_users(results: dict[str, list[Tensor | None]]) -> None:
    y, *found = results["no users"]
    assert y.shape == (0, 5, 4)
    assert (found[2] == 0).all()
