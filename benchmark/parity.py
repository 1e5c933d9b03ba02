"""Our selective scan beside mamba-ssm's, on a machine where that package imports."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from findrec.ops import selective_scan

TOLERANCE = 1e-3
"""Largest deviation, relative to the largest element, that float32 kernels may have: mamba-ssm's
own tests allow 6e-4 absolute and 2e-3 relative on outputs of order 1."""

Scan = Callable[..., Tensor]


@dataclass(frozen=True)
class Parity:
    """Deviation of outputs and gradients, relative to the largest element of ours."""

    forward: float
    backward: float

    @property
    def ok(self) -> bool:
        return max(self.forward, self.backward) <= TOLERANCE

    def __str__(self) -> str:
        verdict = "agrees" if self.ok else "DISAGREES"
        return (
            f"mamba-ssm {verdict} with our scan: forward {self.forward:.1e}, gradients "
            f"{self.backward:.1e} of the largest element (tolerance {TOLERANCE:.0e})"
        )


def parity(theirs: Scan, device: torch.device, *, seed: int = 0) -> Parity:
    """Compare outputs and all gradients at the size of a training step.

    theirs: takes u, delta, z [B, D, L], A [D, N], B, C [B, N, L], D [D], as mamba-ssm's does.
    """
    users, length, width, state = 64, 50, 128, 16
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device).requires_grad_()

    u, z = draw(users, length, width), draw(users, length, width)
    b, c = draw(users, length, state), draw(users, length, state)
    delta = torch.nn.functional.softplus(draw(users, length, width).detach() - 2).requires_grad_()
    a = (-torch.rand(width, state, generator=generator) - 0.1).to(device).requires_grad_()
    d = draw(width)
    inputs = (u, delta, a, b, c, d, z)
    upstream = draw(users, length, width).detach()

    ours = selective_scan(u, delta, a, b, c, d, z)
    our_gradients = torch.autograd.grad(ours, inputs, upstream)
    time_last = [x.transpose(1, 2).contiguous() if x.dim() == 3 else x for x in inputs]
    u_, delta_, a_, b_, c_, d_, z_ = time_last
    other = theirs(u_, delta_, a_, b_, c_, D=d_, z=z_).transpose(1, 2)
    other_gradients = torch.autograd.grad(other, inputs, upstream)
    return Parity(
        _deviation(other, ours),
        max(_deviation(x, y) for x, y in zip(other_gradients, our_gradients, strict=True)),
    )


def _deviation(x: Tensor, reference: Tensor) -> float:
    return float(((x - reference).abs().max() / reference.abs().max()).detach())
