"""SMLP4Rec: one shared mixing layer along sequence, channels and features, all three in parallel.

Gao et al., "SMLP4Rec: An Efficient all-MLP Architecture for Sequential Recommendations", ACM TOIS
42(3), 2024, which extends MLP4Rec (Li et al., IJCAI 2022, sections 3.2-3.5). An item at a position
is a column of vectors, its id's and one for each of its attributes, so a user is a block
[features, positions, channels]. One layer normalises the block and adds three perceptrons of it:

    y = MLP_feature(n) + MLP_sequence(n) + MLP_channel(n),   n = LayerNorm(x)

where MLP4Rec runs them one after the other, each with a norm and a skip connection of its own. All
layers share the weights of one. The state is the id's vector at the last position after a final
LayerNorm, and scores against the item embeddings.

Sources. The article is behind a paywall; its abstract says what it changes (parallel instead of
cascading mixers, fewer norms) and the released code (`smlprec.py`, for RecBole 1.0) says how. Every
equation here is the released code's: perceptrons without biases and with GELU, no skip connection
around a layer, N(0, 0.02) for all weights, one layer applied `layers` times.

Where we depart from that code
    * Its padding item has an attribute of its own, whose vector is learned; here padding is zero.
    * Its window is fixed at 50; here it is `max_length`.
    * It reads the attributes that its configuration lists, which is not published; here they are
      genre, brand and category, if the dataset has them. Without any, there is no feature
      perceptron. Vectors of several values are averaged (`pooling_mode: mean` in MLP4Rec's
      configuration).
    * The last layer computes only the vector that is used.

Sequences stay padded at the right, as in RecBole, so position t of the window is the t-th item.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.mixer import AxisMLP, last_position, relative_to_padding, select_position
from findrec.layers import ItemEmbedding, init_normal
from findrec.recommender import (
    Attribute,
    Batch,
    Catalogue,
    ModelConfig,
    Objective,
    Output,
    Recommender,
)


@dataclass(frozen=True)
class SMLP4RecConfig(ModelConfig):
    """Defaults from the released code where it fixes a value, else from MLP4Rec's configuration."""

    dropout: float = 0.5
    layers: int = 8
    """How often the one mixing layer is applied."""
    expansion: int = 3
    """Hidden width of a perceptron over the length of its axis."""
    residual: bool = False
    """Whether a layer's input is added to its output, as in MLP4Rec; the released code does not."""
    attributes: bool = True
    """False leaves the feature direction out even where the dataset has attributes."""


class AttributeEmbedding(nn.Module):
    """The mean vector of an item's values of one attribute; zero where it has none."""

    values: Tensor

    def __init__(self, attribute: Attribute, dim: int, std: float = 0.02) -> None:
        super().__init__()
        self.register_buffer("values", attribute.values, persistent=False)
        self.weight = nn.Parameter(torch.empty(attribute.size + 1, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, items: Tensor) -> Tensor:
        """[B, L] ids -> [B, L, D]"""
        values = self.values[items]
        present = (values > 0).to(self.weight.dtype)
        total = (nn.functional.embedding(values, self.weight) * present.unsqueeze(-1)).sum(-2)
        return total / present.sum(-1, keepdim=True).clamp(min=1)


class SMLP4Rec(Recommender):
    """Gao et al. 2024; a block is [B, F, L, D] with F = 1 + the number of attributes."""

    Config = SMLP4RecConfig
    objective: ClassVar[Objective] = "last"
    fixed_length: ClassVar[bool] = True
    config: SMLP4RecConfig

    ATTRIBUTES: ClassVar[tuple[str, ...]] = ("genre", "brand", "category")

    def __init__(self, config: SMLP4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = ItemEmbedding(catalogue.items, config.dim)
        self.attributes = nn.ModuleList(
            AttributeEmbedding(catalogue.attributes[name], config.dim)
            for name in self.ATTRIBUTES
            if config.attributes and name in catalogue.attributes
        )

        def mixer(size: int, axis: int, random_stream: str) -> AxisMLP:
            inner, p = config.expansion * size, config.dropout
            return AxisMLP(size, inner, p, random_stream, axis=axis, bias=False, uses=config.layers)

        self.norm = nn.LayerNorm(config.dim)
        self.sequence = mixer(config.max_length, -2, "sequence")
        self.channel = mixer(config.dim, -1, "channel")
        self.feature = mixer(1 + len(self.attributes), -2, "feature") if self.attributes else None
        self.final_norm = nn.LayerNorm(config.dim, eps=1e-12)
        init_normal(self)

    def forward(self, batch: Batch) -> Output:
        last = last_position(batch)
        final = self.config.layers - 1
        if final == 0:
            # No layer has mixed positions yet: normed vectors depend on the item alone, and the
            # attributes are used at the last position alone.
            normed, padding = relative_to_padding(
                lambda items: self.norm(self.items(items)), batch.items, self.n_items
            )
            column = self.block(batch.items.gather(1, last.unsqueeze(1)))
            y = self.last_layer(normed, column, last, batch, final, padding)
        else:
            x = self.block(batch.items)
            for layer in range(final):
                x = self.layer(x, batch, layer)
            y = self.last_layer(self.norm(x[:, 0]), select_position(x, last), last, batch, final)
        state = self.final_norm(y)
        return Output(state.expand(-1, batch.items.shape[1], -1))  # the last position is read

    def block(self, items: Tensor) -> Tensor:
        """[B, L] ids -> vectors of ids and attributes, [B, F, L, D]"""
        vectors = [self.items(items), *(attribute(items) for attribute in self.attributes)]
        return torch.stack(vectors, 1)

    def layer(self, x: Tensor, batch: Batch, use: int) -> Tensor:
        """[B, F, L, D] -> [B, F, L, D]"""
        n = self.norm(x)
        y = self.sequence(n, batch, use) + self.channel(n, batch, use)
        if self.feature is not None:
            y = y + self.feature(n.flatten(-2), batch, use).unflatten(-1, n.shape[-2:])
        return x + y if self.config.residual else y

    def last_layer(
        self,
        normed: Tensor,
        column: Tensor,
        last: Tensor,
        batch: Batch,
        use: int,
        padding: Tensor | None = None,
    ) -> Tensor:
        """The layer's output for the id at the last position alone, [B, 1, D].

        normed: [B, L, D], the ids' rows after the norm; column: [B, F, 1, D], the last position
        before it; last: [B]; padding: as for `AxisMLP.output_at`.
        """
        n = self.norm(column)
        y = self.sequence.output_at(last, normed.unsqueeze(1), batch, use, padding)
        y = y + self.channel(n[:, :1], batch, use)
        if self.feature is not None:
            y = y + self.feature(n.flatten(-2), batch, use)[:, :1].unsqueeze(-2)
        return (column[:, :1] + y if self.config.residual else y)[:, 0]

    def item_table(self) -> Tensor:
        return self.items.table()
