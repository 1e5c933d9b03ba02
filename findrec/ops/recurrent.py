"""A GRU layer that can be stacked over seeds."""

import torch
from torch import Tensor

from findrec.ops.stacking import define


def gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """States of one GRU layer after every position, [B, L, H], from a zero state.

    x: [B, L, D]; w_ih: [3 H, D]; w_hh: [3 H, H]; b_ih, b_hh: [3 H], gates and equations as in
    `torch.nn.GRU` (reset, update, new), whose kernels are called; seeds of a stack are computed one
    after the other. Raises ValueError on shapes that do not fit.
    """
    hidden = w_hh.shape[-1]
    expected = [(3 * hidden, x.shape[-1]), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)]
    found = [tuple(weight.shape) for weight in (w_ih, w_hh, b_ih, b_hh)]
    if x.dim() != 3 or found != expected:
        raise ValueError(
            f"gru takes x [B, L, D] and, for H = {hidden}, weights {expected}: "
            f"got {tuple(x.shape)} and {found}"
        )
    return _gru(x, w_ih, w_hh, b_ih, b_hh)


def _kernel(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    if x.dim() > 3:
        seeds = zip(*(t.unbind() for t in (x, w_ih, w_hh, b_ih, b_hh)), strict=True)
        return torch.stack([_kernel(*seed) for seed in seeds])
    initial = x.new_zeros(1, x.shape[0], w_hh.shape[1])
    output: Tensor = torch._VF.gru(
        x, initial, (w_ih, w_hh, b_ih, b_hh), True, 1, 0.0, False, False, True
    )[0]
    return output


_gru = define(
    "gru(Tensor x, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh) -> Tensor", _kernel
)
