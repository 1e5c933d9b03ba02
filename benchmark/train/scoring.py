"""Scores of trained stacks: histories in, one row of scores a seed out."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.train.objectives import query
from benchmark.train.stack import Stack
from findrec.recommender import Batch, Recommender


def scorer(stack: Stack, parameters: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """History [B, L] -> scores [S, B, N], in evaluation mode: a module that behaves otherwise in
    training, as `nn.Dropout` does, is still here."""
    model = stack.model.eval()
    seeds = len(next(iter(parameters.values())))
    key = torch.zeros(2, dtype=torch.int64, device=next(iter(parameters.values())).device)
    with torch.no_grad():
        table = stack.call(lambda m: m.item_table(), in_dims=(), parameters=parameters)

    def states(m: Recommender, items: Tensor, end: Tensor, table: Tensor) -> Tensor:
        rows = torch.arange(len(items), device=items.device)
        output = m(Batch(items, rows, key, table=table)).states
        return output.gather(1, end.view(-1, 1, 1).expand(-1, 1, output.shape[-1])).squeeze(1)

    @torch.no_grad()
    def score(history: Tensor) -> Tensor:
        model.eval()
        items, end = query(model.objective, history, model.n_items + 1)
        if not model.fixed_length:
            items = items[:, : int(end.max()) + 1]
        found = stack.call(
            states, items, end, table, in_dims=(None, None, 0), parameters=parameters
        )
        if seeds == 1:
            return (found[0] @ table[0].T).unsqueeze(0)
        return found @ table.transpose(1, 2)

    return score
