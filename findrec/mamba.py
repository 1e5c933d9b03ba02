"""Mamba layers (Gu and Dao 2023) and the scaled residual block around them (paper, section 2.1).

Glossary
    B users, L positions, D width of the stream
    E inner width, expand * D        N state size, d_state        R rank of the step size
    Delta, A, B, C   the discretised state space model's parameters, named as in Mamba's section 3

The paper prints x^ = Delta . f_Delta(x) + f_B(x), h = SSM(x^), y = h . f_D(x), which is not Mamba
though it is called so; this is standard Mamba.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from findrec.layers import Dropout, FeedForward
from findrec.ops import selective_scan
from findrec.ops.precision import single_precision
from findrec.ops.stacking import define
from findrec.recommender import Batch

STEP_RANGE = (1e-3, 0.1)
"""Range in which softplus(bias of the step size) starts, log-uniformly, as in Mamba's code."""


@dataclass(frozen=True)
class MambaSizes:
    """Sizes of a Mamba layer; the defaults are those of the paper's section 3.3 (reading B)."""

    d_state: int = 16
    """N"""
    d_conv: int = 4
    """Width of the causal convolution; the paper is silent, Mamba's own default."""
    expand: int = 2
    """E / D"""


class Mamba(nn.Module):
    """A selective state space layer (Mamba, section 3.4 and figure 3): [B, L, D] -> [B, L, D].

    Initialisation follows Mamba's section 3.6: A = -(1, ..., N) in every channel, D = 1, and a step
    size log-uniform in [1e-3, 0.1].
    """

    def __init__(self, dim: int, sizes: MambaSizes) -> None:
        super().__init__()
        inner = sizes.expand * dim
        rank = math.ceil(dim / 16)
        self.sizes = (rank, sizes.d_state, sizes.d_state)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = CausalConv(inner, sizes.d_conv)
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, sizes.d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = (math.log(bound) for bound in STEP_RANGE)
        step = torch.empty(inner).uniform_(low, high).exp()
        with torch.no_grad():
            self.dt_proj.bias.copy_(step.expm1().log())  # the inverse of softplus

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x).chunk(2, -1)  # each [B, L, E]
        u = silu(self.conv(u))
        low_rank, b, c = self.x_proj(u).split(self.sizes, -1)  # [B, L, R], [B, L, N], [B, L, N]
        delta = softplus(self.dt_proj(low_rank))  # [B, L, E]
        y = selective_scan(u, delta, -self.A_log.exp(), b, c, self.D, gate)
        return self.out_proj(y)


class CausalConv(nn.Module):
    """Depthwise convolution over the positions up to one's own: [B, L, E] -> [B, L, E]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        for parameter in (self.weight, self.bias):  # as torch's Conv1d, whose fan-in is the width
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return _causal_conv(x, self.weight, self.bias)


class _CausalConv(torch.autograd.Function):
    """y_t = bias + sum_k weight_k * x_{t - W + 1 + k}, for a filter of width W.

    x: [..., B, L, E]; weight: [..., W, E]; bias: [..., E]. At these widths a sum of shifted
    products is faster than conv1d on a CPU: for 128 x 50 x 128 and W = 4, 2.0 ms and 4.8 ms
    backward against 2.4 and 11.4; under plain autograd 2.0 and 8.6.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _shifted_sum(pad(x, (0, 0, weight.shape[-2] - 1, 0)), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        filter_width, length = weight.shape[-2], x.shape[-2]
        later = pad(grad, (0, 0, 0, filter_width - 1))
        grad_x = _shifted_sum(later, weight.flip(-2), torch.zeros_like(weight[..., 0, :]))
        earlier = pad(x, (0, 0, filter_width - 1, 0))
        products = [grad * earlier[..., k : k + length, :] for k in range(filter_width)]
        grad_weight = torch.stack([product.sum((-3, -2)) for product in products], -2)
        return grad_x, grad_weight, grad.sum((-3, -2))


def _shifted_sum(padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """padded: [..., B, L + W - 1, E]; weight: [..., W, E]; bias: [..., E] -> [..., B, L, E]"""
    length = padded.shape[-2] - weight.shape[-2] + 1
    y = bias[..., None, None, :]
    for k, tap in enumerate(weight[..., None, None, :].unbind(-4)):
        shifted = padded[..., k : k + length, :]
        y = torch.addcmul(y, shifted, tap) if k == 0 else y.addcmul_(shifted, tap)
    return y


_causal_conv = single_precision(
    define("causal_conv(Tensor x, Tensor weight, Tensor bias) -> Tensor", _CausalConv.apply)
)


class MambaBlock(nn.Module):
    """x + alpha * Dropout(Mamba(LayerNorm(x))), section 2.1; alpha is learned, one per channel.

    feed_forward: also adds Dropout(FFN(LayerNorm(x))), a reading of figure 1's "Mamba-FFN".
    """

    def __init__(
        self,
        dim: int,
        sizes: MambaSizes,
        dropout: float,
        random_stream: str,
        *,
        alpha: float,
        feed_forward: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mamba = Mamba(dim, sizes)
        self.dropout = Dropout(dropout, f"{random_stream}.mamba")
        self.alpha = nn.Parameter(torch.full((dim,), alpha))
        self.feed_forward = None
        if feed_forward:
            self.feed_forward_norm = nn.LayerNorm(dim)
            self.feed_forward = FeedForward(dim, 4 * dim, dropout, f"{random_stream}.feed_forward")

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        x = torch.addcmul(x, self.alpha, self.dropout(self.mamba(self.norm(x)), batch))
        if self.feed_forward is not None:
            x = x + self.feed_forward(self.feed_forward_norm(x), batch)
        return x
