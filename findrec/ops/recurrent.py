"""A GRU layer that can be stacked over seeds.

On a CPU torch's own kernels compute one seed after the other, so that what a seed gives depends on
no other seed, to the bit. Every other device computes all seeds at once: products over the inputs
of all positions are one batched product, and the recurrence takes one batched product and five
elementwise operations a position (forward), where a loop over seeds would take S times as many.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from findrec.ops.precision import single_precision
from findrec.ops.stacking import define


@single_precision
def gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """States of one GRU layer after every position, [B, L, H], from a zero state.

    x: [B, L, D]; w_ih: [3 H, D]; w_hh: [3 H, H]; b_ih, b_hh: [3 H], gates and equations as in
    `torch.nn.GRU` (reset, update, new). Raises ValueError on shapes that do not fit.
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


def seed_after_seed(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """torch's kernels, for a CPU; shapes as in `gru`, with the stack dimensions *S in front."""
    if x.dim() > 3:
        seeds = zip(*(t.unbind() for t in (x, w_ih, w_hh, b_ih, b_hh)), strict=True)
        return torch.stack([seed_after_seed(*seed) for seed in seeds])
    initial = x.new_zeros(1, x.shape[0], w_hh.shape[1])
    output: Tensor = torch._VF.gru(
        x, initial, (w_ih, w_hh, b_ih, b_hh), True, 1, 0.0, False, False, True
    )[0]
    return output


def seeds_at_once(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Batched products over the seeds, any device; shapes as in `seed_after_seed`."""
    weights = (w_ih, w_hh, b_ih, b_hh)
    differentiate = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights))
    leading = x.shape[:-3]
    seeds = math.prod(leading)
    y: Tensor = _StackedGRU.apply(
        x.reshape(seeds, *x.shape[-3:]),
        *(w.reshape(seeds, *w.shape[len(leading) :]) for w in weights),
        differentiate,
    )
    return y.reshape(*leading, *y.shape[1:])


class _StackedGRU(torch.autograd.Function):
    """The equations of `torch.nn.GRU`, for x [S, B, L, D] and weights [S, ...]:

        r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)      z_t likewise
        n_t = tanh(W_in x_t + b_in + r_t * m_t),   m_t = W_hn h_{t-1} + b_hn
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Backward walks the positions once to carry dh_{t-1} from dh_t; whatever else depends on one
    position alone, and all gradients of weights, are computed for all positions together.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, w_ih, w_hh, b_ih, b_hh, differentiate = arguments
        hidden = w_hh.shape[-1]
        # The inputs' share of every gate; overwritten by the gates r, z and n themselves.
        gates = torch.baddbmm(b_ih.unsqueeze(1), x.flatten(1, 2), w_ih.mT)
        gates = gates.unflatten(1, x.shape[1:3])  # [S, B, L, 3 H]
        y = x.new_empty(*x.shape[:3], hidden)
        state, shift, weight = x.new_zeros(*x.shape[:2], hidden), b_hh.unsqueeze(1), w_hh.mT
        for own, out in zip(gates.unbind(2), y.unbind(2), strict=True):
            recurrent = torch.baddbmm(shift, state, weight)
            reset, update = (
                own[..., : 2 * hidden]
                .add_(recurrent[..., : 2 * hidden])
                .sigmoid_()
                .split(hidden, -1)
            )
            new = own[..., 2 * hidden :].addcmul_(reset, recurrent[..., 2 * hidden :]).tanh_()
            state = torch.lerp(new, state, update, out=out)
        if differentiate:
            ctx.save_for_backward(x, w_ih, w_hh, b_hh, gates, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, w_ih, w_hh, b_hh, gates, y = ctx.saved_tensors
        hidden = w_hh.shape[-1]
        before = torch.cat([torch.zeros_like(y[:, :, :1]), y[:, :, :-1]], 2)  # h_{t-1}
        reset, update, new = gates.split(hidden, -1)
        new_recurrent = torch.baddbmm(
            b_hh[:, None, 2 * hidden :], before.flatten(1, 2), w_hh[:, 2 * hidden :].mT
        ).view_as(new)  # m_t
        # d(argument of a gate) / dh_t, element by element
        by_new = (1 - update) * (1 - new.square())
        slopes = torch.stack(
            [
                by_new * new_recurrent * reset * (1 - reset),
                (before - new) * update * (1 - update),
                by_new * reset,  # of m_t
            ],
            3,
        )  # [S, B, L, 3, H]
        by_state = torch.empty_like(y)  # dh_t
        by_gate = torch.empty_like(slopes)
        carried = torch.zeros_like(y[:, :, 0])
        for t in reversed(range(y.shape[2])):
            own = torch.add(grad[:, :, t], carried, out=by_state[:, :, t])
            torch.mul(slopes[:, :, t], own.unsqueeze(2), out=by_gate[:, :, t])
            carried = torch.baddbmm(own * update[:, :, t], by_gate[:, :, t].flatten(2), w_hh)
        recurrent = by_gate.flatten(3).flatten(1, 2)  # [S, B L, 3 H]
        grad_w_hh = torch.bmm(recurrent.mT, before.flatten(1, 2))
        grad_b_hh = recurrent.sum(1)
        torch.mul(by_new, by_state, out=by_gate[..., 2, :])  # the input's share lacks the factor r
        grad_x = torch.bmm(recurrent, w_ih).view_as(x)
        grad_w_ih = torch.bmm(recurrent.mT, x.flatten(1, 2))
        return grad_x, grad_w_ih, grad_w_hh, recurrent.sum(1), grad_b_hh, None


def _kernel(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    compute = seed_after_seed if x.device.type == "cpu" else seeds_at_once
    return compute(x, w_ih, w_hh, b_ih, b_hh)


_gru = define(
    "gru(Tensor x, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh) -> Tensor", _kernel
)
