"""One training step's loss, written in the plainest way: dense logits, one device, no engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from findrec.recommender import Batch, Recommender


@dataclass(frozen=True)
class Step:
    """Data of one training step; every field [B, L], or [S, B, L] for a stack of seeds."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


class StepLoss(nn.Module):
    """Loss of one training step of one seed."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        weights: Tensor,
        key: Tensor,
        groups: Sequence[tuple[Tensor, int]] | None = None,
    ) -> Tensor:
        """groups: (rows, length) of each part of the batch that is run on its own."""
        users, length = inputs.shape
        groups = groups or [(torch.arange(users), length)]
        states: Tensor | None = None
        aux: dict[str, Tensor] = {}
        for rows, cut in groups:
            output = self.model(Batch(inputs[rows, :cut], rows, key, training=True))
            states = _place(states, output.states, rows, users, length)
            for name, value in output.aux.items():
                aux[name] = _place(aux.get(name), value, rows, users, length)
        assert states is not None
        log_q = (states @ self.model.item_table().T).log_softmax(-1)
        chosen = log_q.gather(-1, (targets - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
        loss = -(chosen * weights).sum() / weights.sum()
        losses = self.model.aux_losses(aux, inputs > 0, key)
        loss_weights = self.model.aux_loss_weights()
        assert set(loss_weights) <= set(losses), "a weight is given for a loss that does not exist"
        for name, weight in loss_weights.items():
            loss = loss + weight * losses[name]
        return loss


def _place(whole: Tensor | None, part: Tensor, rows: Tensor, users: int, length: int) -> Tensor:
    """Write a group's [B', L', ...] into the whole batch's [B, L, ...]."""
    short = length - part.shape[1]
    padding = part.new_zeros(part.shape[0], short, *part.shape[2:])
    part = torch.cat([part, padding], 1)
    if whole is None:
        whole = part.new_zeros(users, *part.shape[1:])
    return whole.index_copy(0, rows, part)
