"""Plain late fusion: FindRec without what stands between its streams and its feed-forward network.

What FindRec is compared with to see whether its machinery helps. Streams, feature projections and
scores are FindRec's (section 2.1 of the paper), and the fusion has the form of eq. 4:

    S = FFN(Concat(z_id, z_txt, z_img))

There is no cross-attention, no coordination (IICM) and no expert. The width of the FFN makes up for
their parameters: by default it gives the model as many as FindRec has.

Glossary: as in `findrec.model`. A modality that no item has is left out of the concatenation;
without both, S = FFN(z_id), as in FindRec.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from findrec.config import FindRecConfig, StreamsConfig
from findrec.layers import Fusion, ItemEmbedding
from findrec.model import FindRec, features_and_streams
from findrec.recommender import Batch, Catalogue, Modality, Output, Recommender


@dataclass(frozen=True)
class LateFusionConfig(StreamsConfig):
    """Late fusion's configuration. Raises ValueError for values that make no model, or none of the
    FindRec that it is compared with."""

    heads: int = 8
    """Of the FindRec whose number of parameters `inner` follows; late fusion has no heads."""
    experts: int = 4
    """Likewise."""
    inner: int | None = None
    """Inner width of the FFN; None for the one that gives as many parameters as FindRec has, to
    within half of what one unit of the width has."""

    def __post_init__(self) -> None:
        if self.inner is not None and self.inner < 1:
            raise ValueError(f"inner is {self.inner}: it must be at least 1, or None")
        self.of_findrec()

    def of_findrec(self) -> FindRecConfig:
        """The FindRec with the same streams, otherwise with its defaults."""
        shared = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "inner"}
        return FindRecConfig(**shared)


class LateFusion(Recommender):
    """Streams (section 2.1), concatenated, and the fusion of section 2.4."""

    Config = LateFusionConfig
    objective = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = FindRec.modalities
    config: LateFusionConfig

    def __init__(self, config: LateFusionConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        c = config
        self.items = ItemEmbedding(catalogue.items, c.dim)
        self.features, self.streams = features_and_streams(c, catalogue, self.modalities)
        width = c.dim + len(self.features) * c.align_dim
        inner = c.inner
        if inner is None:
            with torch.device("meta"):  # shapes alone: nothing is allocated or drawn
                wanted = _parameters(FindRec(c.of_findrec(), catalogue))
            # Fusion has (width + 1) inner + (inner + 1) D parameters and 2 D of its LayerNorm.
            inner = round((wanted - _parameters(self) - 3 * c.dim) / (width + 1 + c.dim))
        self.fusion = Fusion(width, inner, c.dim, c.dropout)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D]."""
        e = {"id": self.items(batch.items)}
        e |= {name: project(batch.items) for name, project in self.features.items()}
        z = [stream(e[name], batch) for name, stream in self.streams.items()]
        return Output(self.fusion(torch.cat(z, -1), batch))

    def item_table(self) -> Tensor:
        """[N, D]: e_id."""
        return self.items.table()


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
