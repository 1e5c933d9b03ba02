"""The Triton kernel of the keyed hash: its bits in Triton's interpreter, and what it compiles to.

The interpreter must be chosen before the kernel is imported, so one subprocess draws all cases.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton (the extra gpu) is not installed")

import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from findrec.ops import dropout, uniform
from findrec.ops.random import _threshold, hash_bits, stream_code
from findrec.ops.random_triton import MOST_SIZES, OPTIONS, keyed_draws, takes, tile_of

PROGRAM = """
import sys, torch
from findrec.ops.random_triton import dropout_kernel, uniform_kernel
draws, drops = torch.load(sys.argv[1])
torch.save(
    ([uniform_kernel(*case) for case in draws], [dropout_kernel(*case) for case in drops]),
    sys.argv[2],
)
"""

SIZES = [(), (1,), (7,), (5, 64), (2, 3, 50), (3, 2, 4, 5), (2, 300)]
KEYS = [(0, 0), (3, 11), (2**31, 2**31), (2**40 + 5, 2**33 + 1), (-1, 7)]
ROWS = torch.tensor([0, 5, 2**31 + 3, 17, 2**32 - 1])


def stacked() -> tuple[Tensor, Tensor]:
    """Keys and rows of three seeds, as vmap passes them: the rows are expanded, not copied."""
    return torch.tensor([[1, 9], [2**35, 9], [4, 9]]), ROWS.expand(3, -1)


def draw_cases() -> list[tuple[Tensor, int, Tensor, list[int]]]:
    cases = [
        (torch.tensor(key), stream_code(f"{key}"), ROWS, list(sizes))
        for key in KEYS
        for sizes in SIZES
    ]
    keys, rows = stacked()
    cases.append((keys, stream_code("stack"), rows, [3, 5]))
    cases.append((keys.T.contiguous().T, stream_code("strides"), rows.reshape(3, 5, 1), [4]))
    return cases


def drop_cases() -> list[tuple[Tensor, float, int, Tensor, int, Tensor, list[int]]]:
    generator = torch.Generator().manual_seed(0)
    keys, rows = stacked()
    cases = []
    for p, dtype in ((0.0, torch.float32), (0.3, torch.float32), (0.5, torch.bfloat16)):
        x = torch.randn(3, 5, 2, 70, generator=generator).to(dtype)
        x[0, 0, 0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
        arguments = 1 / (1 - p), _threshold(p), keys, stream_code("drop"), rows, [2, 70]
        cases += [(x, *arguments), (x.transpose(0, 1).contiguous().transpose(0, 1), *arguments)]
    return cases


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tensor], list[Tensor]]:
    folder = tmp_path_factory.mktemp("triton")
    torch.save((draw_cases(), drop_cases()), folder / "cases")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder / "cases"), str(folder / "drawn")]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "drawn")


def test_draws_are_the_same_bits(drawn: tuple[list[Tensor], list[Tensor]]) -> None:
    """As those of the torch ops, and as those of the compiled loop where one seed draws."""
    for found, (key, code, rows, sizes) in zip(drawn[0], draw_cases(), strict=True):
        expected = (hash_bits(key, code, rows, sizes).float() + 0.5) * 2.0**-23
        assert found.shape == expected.shape
        assert torch.equal(found, expected)
    key, _, rows, sizes = draw_cases()[4]
    assert torch.equal(drawn[0][4], uniform(key, "(0, 0)", rows, *sizes))


def test_dropout_keeps_the_same_elements(drawn: tuple[list[Tensor], list[Tensor]]) -> None:
    """To the bit, with faulty numbers among them; a NaN that is dropped is 0."""
    for found, case in zip(drawn[1], drop_cases(), strict=True):
        x, scale, threshold, key, code, rows, sizes = case
        kept = hash_bits(key, code, rows, sizes) >= threshold
        expected = torch.where(kept, x * scale, 0)
        assert found.dtype == x.dtype
        assert torch.equal(found.nan_to_num(nan=7), expected.nan_to_num(nan=7))
        assert torch.equal(found.isnan(), expected.isnan())
    case = drop_cases()[2]
    own = torch.stack(
        [dropout(x, 0.3, key, "drop", ROWS) for x, key in zip(case[0], case[3], strict=True)]
    )
    assert torch.equal(drawn[1][2].nan_to_num(nan=7), own.nan_to_num(nan=7))


def test_what_the_kernel_does_not_take() -> None:
    assert takes([1] * MOST_SIZES, ROWS, torch.float32)
    assert not takes([1] * (MOST_SIZES + 1), ROWS, torch.float32)
    assert not takes([5], ROWS, torch.float64)
    assert not takes([2**20, 2**10, 1], ROWS, torch.float32)


@pytest.mark.parametrize("inner", [1, 50, 512])
@pytest.mark.parametrize("element", ["*fp32", "*bf16"])
@pytest.mark.parametrize("drops", [False, True])
def test_compiled_for_an_h100(inner: int, element: str, drops: bool, tmp_path: Path) -> None:
    """At most 64 registers, which is 32 warps of a multiprocessor's 64, and no spill."""
    constants = {"MIDDLE": 1, "DROPOUT": drops, **tile_of(inner)}
    kinds = {"out": element, "x": element, "keys": "*i64", "rows": "*i64", "scale": "fp32"}
    if not drops:
        kinds |= {"out": "*fp32", "x": "*fp32"}
    signature = {
        name: "constexpr" if name in constants else kinds.get(name, "i32")
        for name in keyed_draws.arg_names
    }
    source = ASTSource(keyed_draws, signature=signature, constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=OPTIONS)
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(built.asm["cubin"])
    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    usage = subprocess.run(
        [str(tool), "-res-usage", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    (registers,) = re.findall(r"REG:(\d+)", usage)
    (local,) = re.findall(r"STACK:(\d+)", usage)
    assert int(registers) <= 64
    assert int(local) == 0
