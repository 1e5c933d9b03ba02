"""The selective scan by mamba-ssm's CUDA kernel, where that package imports."""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


@cache
def selective_scan_fn() -> Callable[..., Tensor] | None:
    """mamba-ssm's fused scan, or None where the package does not import.

    It takes u, delta, z [B, D, L], A [D, N], B, C [B, G, N, L], D [D], and computes what
    `findrec.ops.selective_scan` does, the B and C of group g being those of the g-th of G equal
    parts of the channels. Its backward adds atomically, so that equal calls differ in the last
    bits.
    """
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn as function
    except (ImportError, OSError):
        return None
    return function


def mamba_ssm_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None
) -> Tensor:
    """That kernel for stacked tensors, shapes as in `findrec.ops.scan.reference`.

    The stack's seeds become its groups: B users with S D channels. Raises ValueError where the
    package does not import.
    """
    function = selective_scan_fn()
    if function is None:
        raise ValueError("mamba-ssm does not import: choose another scan backend")
    return grouped_scan(function, u, delta, A, B, C, D, z)


def grouped_scan(
    function: Callable[..., Tensor],
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
) -> Tensor:
    """`mamba_ssm_scan` by a function of the package's signature; its A and D are float32."""
    stack, (users, length, width) = u.shape[:-3], u.shape[-3:]
    seeds = math.prod(stack)

    def channels(x: Tensor) -> Tensor:
        """[*S, B, L, D] -> [B, S D, L]"""
        x = x.reshape(seeds, users, length, width).permute(1, 0, 3, 2)
        return x.reshape(users, seeds * width, length).contiguous()

    def states(x: Tensor) -> Tensor:
        """[*S, B, L, N] -> [B, S, N, L]"""
        return x.reshape(seeds, users, length, -1).permute(1, 0, 3, 2).contiguous()

    real = torch.promote_types(u.dtype, torch.float32)
    y = function(
        channels(u),
        channels(delta),
        A.reshape(seeds * width, -1).to(real),
        states(B),
        states(C),
        D.reshape(seeds * width).to(real),
        None if z is None else channels(z),
    )
    y = y.reshape(users, seeds, width, length).permute(1, 0, 3, 2)
    return y.reshape(*stack, users, length, width)
