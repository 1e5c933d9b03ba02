"""Multilayer perceptrons along one axis: the building block of the MLP-Mixer family.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, section 2.
SMLP4Rec mixes along the sequence, the channels and the features of an item; MMMLP along the first
two. Both predict from the last position alone, so their last layer computes nothing else.

Shapes: B users, L positions, D width.
"""

import torch
from torch import Tensor, nn

from findrec.layers import Dropout
from findrec.recommender import Batch


class AxisMLP(nn.Module):
    """Linear, GELU, dropout, linear, dropout along one axis, the same for all other coordinates.

    size: length of that axis; inner: width of the hidden layer; axis: -1 or -2; uses: how often one
    forward pass applies these weights. Layers that share weights still draw a mask each.
    """

    def __init__(
        self, size: int, inner: int, p: float, site: str, *, axis: int, bias: bool, uses: int = 1
    ) -> None:
        super().__init__()
        if axis not in (-1, -2):
            raise ValueError(f"axis is {axis}: choose -1 or -2")
        self.axis = axis
        self.first = nn.Linear(size, inner, bias=bias)
        self.second = nn.Linear(inner, size, bias=bias)
        self.activation = nn.GELU()
        self.inner_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.inner") for use in range(uses))
        self.outer_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.outer") for use in range(uses))

    def forward(self, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """[B, ...] -> [B, ...]"""
        y = self._linear(self.second, self._hidden(x, batch, use))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def at(self, index: Tensor, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """One output row of axis -2 for each user: [B] and [B, ..., size, D] -> [B, ..., 1, D]."""
        hidden = self._hidden(x, batch, use)
        shape = (-1, *[1] * (hidden.dim() - 2), hidden.shape[-2])
        y = self.second.weight[index].reshape(shape) @ hidden
        if self.second.bias is not None:
            y = y + self.second.bias[index].reshape(-1, *[1] * (hidden.dim() - 1))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def _hidden(self, x: Tensor, batch: Batch, use: int) -> Tensor:
        hidden: Tensor = self.activation(self._linear(self.first, x))
        kept: Tensor = self.inner_dropout[use](hidden, batch)
        return kept

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        if self.axis == -1:
            return layer(x)
        y = layer.weight @ x  # no transposed copies
        return y if layer.bias is None else y + layer.bias.unsqueeze(-1)


def last_position(batch: Batch) -> Tensor:
    """[B] index of each user's last item; sequences are padded at the right."""
    return (batch.valid.sum(-1) - 1).clamp(min=0)


def pick(x: Tensor, index: Tensor) -> Tensor:
    """One position of each user: [B, ..., L, D] and [B] -> [B, ..., 1, D]."""
    index = index.reshape(-1, *[1] * (x.dim() - 1))
    return x.gather(-2, index.expand(*x.shape[:-2], 1, x.shape[-1]))


def place(state: Tensor, index: Tensor, length: int) -> Tensor:
    """Inverse of `pick` with zeros elsewhere: [B, 1, D] and [B] -> [B, L, D]."""
    here = torch.arange(length, device=index.device) == index.unsqueeze(-1)
    return state * here.unsqueeze(-1)
