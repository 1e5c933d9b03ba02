"""S seeds of one model as one stack: parameters [S, ...], shared buffers, calls for all of them.

On a GPU all seeds are computed at once, under vmap. A CPU gains nothing from that, and rounds a
product or a sum over [1, n] otherwise than one over [S, n]; there one seed is computed after the
other, so that what a seed gives depends on no neighbour, to the bit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from findrec.recommender import Recommender


class _Method(nn.Module):
    """Lets `functional_call`, which only knows `forward`, run any function of the model."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self.model, *args)


class Stack:
    """The stacked parameters of S seeds and the way to call the model with them.

    Each seed is initialised as it would be alone, on the CPU, so that neither its neighbours nor
    the device change where it starts.
    """

    vectorised: bool
    """Whether calls run under vmap: everywhere but on a CPU."""

    def __init__(
        self, build: Callable[[], Recommender], seeds: Sequence[int], device: torch.device
    ) -> None:
        models = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                models.append(build())
        # Stacked before the first model moves to the device, and parameters alone: buffers are the
        # same for all seeds, and large.
        each = [dict(_Method(model).named_parameters()) for model in models]
        self.parameters: dict[str, Tensor] = {
            name: torch.stack([own[name].detach() for own in each]).to(device).requires_grad_()
            for name in each[0]
        }
        self.model = models[0].to(device)
        self._method = _Method(self.model)
        self.seeds = list(seeds)
        self.vectorised = device.type != "cpu"

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        in_dims: tuple[int | None, ...],
        parameters: dict[str, Tensor] | None = None,
    ) -> Any:
        """`function(model, *args)` for every seed at once.

        args: pytrees of tensors; in_dims: for each, 0 if it carries a leading [S], None if all
        seeds share it. Results carry a leading [S].
        """

        def one_seed(own: dict[str, Tensor], *own_args: Any) -> Any:
            return functional_call(self._method, own, (function, *own_args))

        stacked = self.parameters if parameters is None else parameters
        if self.vectorised:
            return torch.vmap(one_seed, in_dims=(0, *in_dims))(stacked, *args)
        by_seed = zip(*(p.unbind() for p in stacked.values()), strict=True)
        results = [
            one_seed(
                dict(zip(stacked, own, strict=True)),
                *(
                    argument if dim is None else tree_map(lambda t, at=at: t[at], argument)
                    for argument, dim in zip(args, in_dims, strict=True)
                ),
            )
            for at, own in enumerate(by_seed)
        ]
        leaves = zip(*(tree_flatten(result)[0] for result in results), strict=True)
        return tree_unflatten([torch.stack(leaf) for leaf in leaves], tree_flatten(results[0])[1])

    @property
    def parameters_per_seed(self) -> int:
        return sum(p[0].numel() for p in self.parameters.values())
