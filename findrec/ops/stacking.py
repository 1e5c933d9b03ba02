"""How an op of this package comes to work under `torch.vmap`.

Every op is written for tensors with any number of leading stack dimensions *S, the same on each:
one call computes all stacked seeds. Under `vmap` over seeds the batching rule is then the same for
every op: move the seeds' dimension to the front, expand what the seeds share, call the op once.

The rule adds about 0.1 ms to a call on a CPU, and a training step makes 3 (GRU4Rec) to 26 (FindRec)
calls: at most 1 % of an eager step of ten seeds with batches of 32 at quick widths.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("findrec", "DEF")


def define(schema: str, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The op `findrec::<schema>`, to be called instead of `kernel`.

    kernel: differentiable; takes tensors with any number of leading stack dimensions, the same
    number and sizes on each, and returns one tensor that has them too.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    # Composite: autograd goes through the kernel, which brings its own autograd.Function if any.
    _LIBRARY.impl(name, kernel, "CompositeImplicitAutograd")
    op: Callable[..., Tensor] = getattr(torch.ops.findrec, name).default

    def batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
        stacked = [
            value
            if not isinstance(value, Tensor)
            else value.expand(info.batch_size, *value.shape)
            if dim is None
            else value.movedim(dim, 0)
            for value, dim in zip(arguments, in_dims, strict=True)
        ]
        return op(*stacked), 0

    torch.library.register_vmap(f"findrec::{name}", batched, lib=_LIBRARY)
    return op
