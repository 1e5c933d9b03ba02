"""Multilayer perceptron along one axis: the building block of the MLP-Mixer family.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, section 2.
SMLP4Rec mixes along the sequence, the channels and the features of an item; MMMLP along the first
two.
"""

from torch import Tensor, nn

from findrec.layers import Dropout
from findrec.recommender import Batch


class AxisMLP(nn.Module):
    """Linear, GELU, dropout, linear, dropout along one axis, the same for all other coordinates.

    size: length of that axis; inner: width of the hidden layer; uses: how often one forward pass
    applies these weights. Weights that are shared by several layers still draw a mask for each.
    """

    def __init__(
        self, size: int, inner: int, p: float, site: str, *, axis: int, bias: bool, uses: int = 1
    ) -> None:
        super().__init__()
        self.axis = axis
        self.first = nn.Linear(size, inner, bias=bias)
        self.second = nn.Linear(inner, size, bias=bias)
        self.activation = nn.GELU()
        self.inner_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.inner") for use in range(uses))
        self.outer_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.outer") for use in range(uses))

    def forward(self, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """[B, ...] -> [B, ...]"""
        # Contiguous, else the gradient of x takes another kernel alone than among stacked seeds.
        hidden = self.activation(self.first(x.movedim(self.axis, -1).contiguous()))
        hidden = self.second(self.inner_dropout[use](hidden, batch))
        mixed: Tensor = self.outer_dropout[use](hidden, batch)
        return mixed.movedim(-1, self.axis)
