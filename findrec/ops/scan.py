"""Selective scan (Gu and Dao 2023, "Mamba", algorithm 2) with interchangeable backends.

A backend is a differentiable function of stacked tensors, registered in `_BACKENDS` with the kinds
of device that it runs on; the first backend that runs on a device is the default there.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from findrec.ops.compiled import has_triton, run_tasks
from findrec.ops.precision import single_precision
from findrec.ops.scan_mamba_ssm import mamba_ssm_scan, selective_scan_fn
from findrec.ops.stacking import define

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor]


@single_precision
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
) -> Tensor:
    """y_t = C_t h_t + D u_t with h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and h_0 = 0.

    u, delta, z: [B, L, D]; A: [D, N]; B, C: [B, L, N]; D: [D]; all of one floating dtype. `delta`
    is positive already (softplus is the caller's). Returns y [B, L, D], times silu(z) if z is
    given. Raises ValueError on shapes or dtypes that do not fit.
    """
    tensors = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D}
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"selective_scan takes u [B, L, D] and A [D, N], not {tuple(u.shape)}, {tuple(A.shape)}"
        )
    users, length, width = u.shape
    size = A.shape[1]
    expected = {
        "u": u.shape, "delta": u.shape, "A": (width, size), "B": (users, length, size),
        "C": (users, length, size), "D": (width,), "z": u.shape,
    }  # fmt: skip
    for name, tensor in tensors.items() if z is None else {**tensors, "z": z}.items():
        if tensor.shape != expected[name] or tensor.dtype != u.dtype:
            raise ValueError(
                f"selective_scan's {name} is {tuple(tensor.shape)} {tensor.dtype}, but u and A "
                f"ask for {tuple(expected[name])} {u.dtype}"
            )
    return _selective_scan(u, delta, A, B, C, D, z)


def reference(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None
) -> Tensor:
    """The recurrence as written, in torch ops: any dtype and device, the other backends' oracle.

    u, delta, z: [*S, B, L, D]; A: [*S, D, N]; B, C: [*S, B, L, N]; D: [*S, D].
    """
    A = A.unsqueeze(-3)
    state = u.new_zeros(*u.shape[:-2], u.shape[-1], A.shape[-1])
    outputs = []
    # unbind, because indexing x[..., t, :] in a loop costs six times as much in backward.
    for u_t, delta_t, B_t, C_t in zip(*(x.unbind(-2) for x in (u, delta, B, C)), strict=True):
        decay = torch.exp(delta_t.unsqueeze(-1) * A)
        state = decay * state + (delta_t * u_t).unsqueeze(-1) * B_t.unsqueeze(-2)
        outputs.append((state * C_t.unsqueeze(-2)).sum(-1))
    y = torch.stack(outputs, -2) if outputs else torch.zeros_like(u)
    y = y + D.unsqueeze(-2).unsqueeze(-2) * u
    return y if z is None else y * silu(z)


def compiled_loops(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None
) -> Tensor:
    """The CPU's compiled loops, float32 or float64; shapes as in `reference`."""
    if u.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"the cpu backend of the scan takes float32 or float64, not {u.dtype}: "
            "choose the reference backend"
        )
    inputs = [x for x in (u, delta, A, B, C, D, z) if x is not None]
    differentiate = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    output: Tensor = _CompiledScan.apply(u, delta, A, B, C, D, z, differentiate)
    return output


class _CompiledScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        from findrec.ops import loops_cpu

        u, delta, A, B, C, D, z, differentiate = arguments
        length, width, size = u.shape[-2], u.shape[-1], A.shape[-1]
        seeds = math.prod(u.shape[:-3])
        users = seeds * u.shape[-3]
        folded = [
            u.reshape(users, length, width),
            delta.reshape(users, length, width),
            A.reshape(seeds, width, size).mT * loops_cpu.PER_LN2,
            B.reshape(users, length, size),
            C.reshape(users, length, size),
            D.reshape(seeds, width),
            u.new_empty(0, 0, 0) if z is None else z.reshape(users, length, width),
        ]
        folded = [x.contiguous() for x in folded]
        y = u.new_empty(users, length, width)
        chunks = -(-length // loops_cpu.CHUNK)
        carried = u.new_empty((users, chunks, size, width) if differentiate else (0, 0, 0, 0))
        run_tasks(loops_cpu.scan_forward[u.dtype], users, *_arrays(*folded, y, carried))
        ctx.save_for_backward(*folded, carried)
        ctx.shapes = [None if x is None else x.shape for x in (u, delta, A, B, C, D, z)]
        return y.reshape(u.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        from findrec.ops import loops_cpu

        *folded, carried = ctx.saved_tensors
        u, delta, A, B, C, D, z = folded
        users, seeds = u.shape[0], A.shape[0]
        grads = [
            torch.empty_like(u),
            torch.empty_like(delta),
            u.new_empty(users, *A.shape[1:]),
            torch.empty_like(B),
            torch.empty_like(C),
            u.new_empty(users, *D.shape[1:]),
            torch.empty_like(z),
        ]
        run_tasks(
            loops_cpu.scan_backward[u.dtype],
            users,
            *_arrays(*folded, carried, grad.reshape(u.shape).contiguous(), *grads),
        )
        # Each user's part of A's and D's gradient, summed in the users' order.
        grads[2] = grads[2].reshape(seeds, users // seeds, *A.shape[1:]).sum(1).mT
        grads[5] = grads[5].reshape(seeds, users // seeds, *D.shape[1:]).sum(1)
        shaped = zip(grads, ctx.shapes, strict=True)
        return *(None if shape is None else x.reshape(shape) for x, shape in shaped), None


def _arrays(*tensors: Tensor) -> list[Any]:
    return [x.detach().numpy() for x in tensors]


def _triton(*arguments: Any) -> Tensor:
    from findrec.ops.scan_triton import triton_scan  # here, because triton is an extra

    return triton_scan(*arguments)


class Backend(NamedTuple):
    """A way to compute the scan."""

    scan: Scan
    devices: tuple[str, ...]
    """Kinds of device that it runs on; none named: any."""
    installed: Callable[[], bool] = lambda: True
    """Whether the package that it needs is there."""
    deterministic: bool = True
    """Whether equal calls give equal bits."""


_BACKENDS = {
    "cpu": Backend(compiled_loops, ("cpu",)),
    "triton": Backend(_triton, ("cuda",), has_triton),
    "reference": Backend(reference, ()),
    "mamba_ssm": Backend(
        mamba_ssm_scan, ("cuda",), lambda: selective_scan_fn() is not None, deterministic=False
    ),
}
_chosen: ContextVar[str | None] = ContextVar("scan backend", default=None)


def _fitting(device: torch.device | str) -> Iterator[str]:
    kind = torch.device(device).type
    for name, backend in _BACKENDS.items():
        if (not backend.devices or kind in backend.devices) and backend.installed():
            yield name


def scan_backends(device: torch.device | str) -> list[str]:
    """Names of the backends that run on a device, its default first."""
    return list(_fitting(device))


def scan_backend(device: torch.device | str) -> str:
    """Name of the backend that `selective_scan` uses on a device.

    It is what `use_scan_backend` chose, else the environment variable FINDREC_SCAN, else the
    device's default. Raises ValueError on a name that is unknown or does not run on the device.
    """
    name = _chosen.get() or os.environ.get("FINDREC_SCAN")
    if name is None or name == "":
        return next(_fitting(device))
    if name not in _fitting(device):
        raise ValueError(
            f"scan backend {name!r} does not run on {torch.device(device).type}: choose one of "
            f"{', '.join(_fitting(device))} (FINDREC_SCAN or use_scan_backend)"
        )
    return name


def recorded_scan_backend(device: torch.device | str) -> str:
    """What a run's record says of the backend: its name, and whether it is not deterministic."""
    name = scan_backend(device)
    return name if _BACKENDS[name].deterministic else f"{name} (not deterministic)"


@contextmanager
def use_scan_backend(name: str) -> Iterator[None]:
    """Use the named backend in this context (thread or task) instead of the device's default."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def _kernel(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None
) -> Tensor:
    name = scan_backend(u.device)
    if name == "reference" and name == next(_fitting(u.device)):
        _say_slow(u.device.type)
    return _BACKENDS[name].scan(u, delta, A, B, C, D, z)


@cache
def _say_slow(kind: str) -> None:
    """Once a process and kind of device."""
    remedy = "; install the extra gpu (triton)" if kind == "cuda" else ""
    warnings.warn(
        f"the selective scan has no kernel for {kind} here: it runs as a loop over positions in "
        f"torch (backend reference), which is slow{remedy}",
        stacklevel=2,
    )


_selective_scan = define(
    "selective_scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor? z)"
    " -> Tensor",
    _kernel,
)
