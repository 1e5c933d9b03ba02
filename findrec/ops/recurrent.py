"""A GRU layer that can be stacked over seeds."""

import torch
from torch import Tensor

_library = torch.library.Library("findrec", "FRAGMENT")
_library.define("gru(Tensor x, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh) -> Tensor")


def _gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    initial = x.new_zeros(1, x.shape[0], w_hh.shape[1])
    output: Tensor = torch._VF.gru(  # type: ignore[attr-defined]
        x, initial, (w_ih, w_hh, b_ih, b_hh), True, 1, 0.0, False, False, True
    )[0]
    return output


def _gru_of_stack(info, in_dims, *arguments):  # type: ignore[no-untyped-def]
    columns = (
        [tensor] * info.batch_size if dim is None else tensor.unbind(dim)
        for tensor, dim in zip(arguments, in_dims, strict=True)
    )
    return torch.stack([gru(*seed) for seed in zip(*columns, strict=True)]), 0


# Composite, so that autograd differentiates torch's own kernels and nothing is derived here.
_library.impl("gru", _gru, "CompositeImplicitAutograd")
torch.library.register_vmap("findrec::gru", _gru_of_stack, lib=_library)


def gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """States of one GRU layer after every position, [B, L, H], from a zero state.

    x: [B, L, D]; w_ih: [3 H, D]; w_hh: [3 H, H]; b_ih, b_hh: [3 H], with gates and equations as in
    `torch.nn.GRU`. Seeds of a stack run one after the other.
    """
    output: Tensor = torch.ops.findrec.gru.default(x, w_ih, w_hh, b_ih, b_hh)
    return output
