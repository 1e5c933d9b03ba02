"""Selective scan (Gu and Dao 2023, "Mamba", algorithm 2)."""

import torch
from torch import Tensor
from torch.nn.functional import silu


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None = None
) -> Tensor:
    """u, delta, z: [B, L, D]; A: [D, N]; B, C: [B, L, N]; D: [D]. Returns [B, L, D]."""
    state = torch.zeros_like(u[..., 0, :, None] * A)
    out = []
    for u_t, d_t, b_t, c_t in zip(u.unbind(-2), delta.unbind(-2), B.unbind(-2), C.unbind(-2), strict=True):
        decay = torch.exp(d_t.unsqueeze(-1) * A)
        state = decay * state + (d_t * u_t).unsqueeze(-1) * b_t.unsqueeze(-2)
        out.append((state * c_t.unsqueeze(-2)).sum(-1))
    y = torch.stack(out, -2) + D * u
    return y if z is None else y * silu(z)
