"""The loss of one step, for one seed: forward in parts, joined, scored against all items."""

import torch
from torch import Tensor

from findrec.ops import cross_entropy
from findrec.recommender import Batch, Recommender


def losses(
    model: Recommender,
    key: Tensor,
    items: list[Tensor],
    rows: list[Tensor],
    layout: Tensor,
    task: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """One seed's loss and its parts, by name.

    items: per group [b, l]; rows: per group [b]; layout: [B, L] flat index of a position among the
    groups' joined ones; task: all items [B, L], then user, position, targets and weights [M].
    """
    table = model.item_table()
    outputs = [
        model(Batch(part, row, key, training=True, table=table))
        for part, row in zip(items, rows, strict=True)
    ]

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([t.flatten(0, 1) for t in tensors])

    all_items, user, position, targets, weights = task
    states = joined([o.states for o in outputs])[layout[user, position]]
    recommendation = cross_entropy(states, table, targets, weights)
    aux = {name: joined([o.aux[name] for o in outputs])[layout] for name in outputs[0].aux}
    auxiliary = model.aux_losses(aux, all_items > 0, key)
    weighted = [weight * auxiliary[name] for name, weight in model.aux_loss_weights().items()]
    loss = recommendation + sum(weighted)
    return loss, {"recommendation": recommendation, **auxiliary}


def layout_of(
    parts: list[tuple[Tensor, int]], users: int, length: int, device: torch.device
) -> Tensor:
    """[B, L]: where position (user, t) stands in the joined groups; 0 past a group's own length."""
    layout = torch.zeros(users, length, dtype=torch.int64, device=device)
    offset = 0
    for rows, longest in parts:
        count = len(rows) * longest
        block = torch.arange(offset, offset + count, device=device).view(len(rows), longest)
        layout[rows, :longest] = block
        offset += count
    return layout
