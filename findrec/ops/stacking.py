"""How an op of this package comes to work under `torch.vmap`.

Every op is written for tensors with any number of leading stack dimensions *S, the same on each:
one call computes all stacked seeds. Under `vmap` over seeds the batching rule is then the same for
every op: move the seeds' dimension to the front, expand what the seeds share, call the op once.

The rule is registered on the dispatcher rather than through `torch.library.register_vmap` or
`torch.autograd.Function.vmap`, because a training step makes dozens of small calls: forward and
backward of an op that does nothing cost 17 us a call this way, 56 and 79 us through
`torch.library.register_vmap` (on a `Library` and on a `custom_op`), and 3 us for a built-in op.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

_LIBRARY = torch.library.Library("findrec", "DEF")
_BATCHED = torch._C.DispatchKeySet(torch._C.DispatchKey.FuncTorchBatched)


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

    def batched(*arguments: Any) -> Tensor:
        level = _functorch.current_level()
        unwrapped = [
            _functorch._unwrap_batched(value, level) if isinstance(value, Tensor) else (value, None)
            for value in arguments
        ]
        size = next(value.shape[dim] for value, dim in unwrapped if dim is not None)
        with torch._C._ExcludeDispatchKeyGuard(_BATCHED):
            stacked = [
                value
                if not isinstance(value, Tensor)
                else value.expand(size, *value.shape)
                if dim is None
                else value.movedim(dim, 0)
                if dim
                else value
                for value, dim in unwrapped
            ]
            return _functorch._add_batch_dim(op(*stacked), 0, level)

    _LIBRARY.impl(name, batched, "FuncTorchBatched")
    return op
