"""What Triton's compiler makes of the scan for an H100 (sm_90); compiling needs no GPU.

Registers bound how many programs run at a time; a spill is a detour through memory on every step;
a shuffle is an exchange between threads, a barrier one through shared memory.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton (the extra gpu) is not installed")

import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from findrec.ops.scan_triton import (
    Launch,
    backward_launch,
    forward_launch,
    scan_backward,
    scan_forward,
)

TOOLS = Path(triton.backends.nvidia.__file__).parent / "bin"
WIDTH = 512
STEPS = 4
"""Positions that one turn of backward's loop computes."""


@dataclass(frozen=True)
class Machine:
    """Counts over a kernel's machine code."""

    registers: int
    spills: int
    shuffles: int
    barriers: int


def compiled(kernel: Any, launch: Launch, folder: Path, element: str, **constants: Any) -> Machine:
    constants |= launch.constants
    arguments: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], Any] = {}
    sixteen = [["tt.divisibility", 16]]
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            arguments[name] = "constexpr"
        elif name in ("users", "length"):
            arguments[name] = "i32"
        elif name.endswith("_strides"):
            arguments[name] = ("i32",) * 3
            aligned |= {(index, place): sixteen for place in range(3)}
        else:
            single = name in ("a", "carried", "grad_a", "grad_b", "grad_c", "grad_skip")
            arguments[name] = "*fp32" if single else element
            aligned[index,] = sixteen
    source = ASTSource(kernel, signature=arguments, constexprs=constants, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=launch.options)
    binary = folder / "kernel.cubin"
    binary.write_bytes(built.asm["cubin"])
    usage = output("cuobjdump", "-res-usage", binary)
    code = output("nvdisasm", "-c", binary)
    (registers,) = re.findall(r"REG:(\d+)", usage)
    return Machine(
        registers=int(registers),
        spills=len(re.findall(r"\b(?:STL|LDL)\b", code)),
        shuffles=len(re.findall(r"\bSHFL\b", code)),
        barriers=len(re.findall(r"\bBAR\b", code)),
    )


def output(tool: str, *arguments: Any) -> str:
    command = [str(TOOLS / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("element", ["*fp32", "*bf16"])
@pytest.mark.parametrize(("size", "registers"), [(16, 80), (32, 128), (64, 200)])
def test_forward(size: int, registers: int, element: str, tmp_path: Path) -> None:
    """80 registers are 24 warps of a multiprocessor's 64, and no step exchanges anything. Triton
    3.6 sends the states that are kept through shared memory, once a chunk; 3.9 takes 68, 125 and
    168 registers and no barrier."""
    found = compiled(
        scan_forward, forward_launch(WIDTH, size), tmp_path, element,
        WIDTH=WIDTH, SIZE=size, GATED=True, KEEP=True,
    )  # fmt: skip
    assert found.registers <= registers
    assert (found.spills, found.shuffles) == (0, 0)
    assert found.barriers <= 3


@pytest.mark.parametrize(
    ("size", "element", "shuffles", "spills"),
    [
        (16, "*fp32", 43, 0), (16, "*bf16", 43, 0), (32, "*fp32", 40, 8), (32, "*bf16", 73, 8),
        (64, "*fp32", 38, 8), (64, "*bf16", 60, 8),
    ],
)  # fmt: skip
def test_backward(size: int, element: str, shuffles: int, spills: int, tmp_path: Path) -> None:
    """255 registers, the most that there are, are 8 warps of a multiprocessor's 64.

    Shuffles of a step of a warp at N = 16: three sums over N, 2 for each of a thread's 2 channels,
    are 12; the sums for dB and dC, 3 for each of a thread's 4 states, are 24; storing takes 6 or 7.
    Triton 3.9 spills nothing, 3.6 up to 6 instructions of some 2,000 where N is above 16.
    """
    found = compiled(
        scan_backward, backward_launch(WIDTH, size), tmp_path, element,
        WIDTH=WIDTH, SIZE=size, GATED=True,
    )  # fmt: skip
    assert found.spills <= spills
    assert found.shuffles <= STEPS * shuffles
