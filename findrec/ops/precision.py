"""Ops that compute in float32 where autocast has made their inputs bfloat16."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def single_precision(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Decorator: inside of `torch.autocast`, bfloat16 inputs are taken as float32 and the op runs
    outside of it. Elsewhere nothing changes.

    For ops that autocast does not know: a recurrence whose state would lose what it adds up, and
    kernels that take float32 alone.
    """

    @wraps(function)
    def outside(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        kind = next(
            value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor)
        )
        if kind not in ("cpu", "cuda") or not torch.is_autocast_enabled(kind):
            return function(*args, **kwargs)
        single: Any = {name: _single(value) for name, value in kwargs.items()}
        values: Any = map(_single, args)
        with torch.autocast(kind, enabled=False):
            return function(*values, **single)

    return outside


def _single(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if half else value
