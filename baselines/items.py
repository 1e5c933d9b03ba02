"""Item embedding of the "(MM)" rows, and which items have the same features.

"(MM)" is an embedding per item plus its projected features. The paper's section 3.2 says no more
than that SASRec (MM) "directly mixes modal features into ID embeddings" and feeds them "into the
original SASRec network as additional features". SASRec has one item embedding, used at the input
and for scoring (Kang and McAuley 2018, section III-D), so the mixed embedding has both uses here:
the features of an item then also enter its scores, which helps rare items. Features at the input
alone are a reading (`mixed_table = False`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from findrec.layers import FeatureProjection, ItemEmbedding
from findrec.recommender import Catalogue, Modality


class MixedItemEmbedding(nn.Module):
    """e_i + sum over modalities m of (W_m x_i^m + b_m); without modalities simply e_i.

    A modality that the catalogue lacks has no term; an item that lacks a modality has a learned
    vector in place of the projection.
    """

    def __init__(
        self, catalogue: Catalogue, dim: int, modalities: Sequence[Modality], *, std: float = 0.02
    ) -> None:
        super().__init__()
        self.ids = ItemEmbedding(catalogue.items, dim, std=std)
        self.features = nn.ModuleDict(
            {
                name: FeatureProjection(features, dim)
                for name, features in catalogue.available(modalities).items()
            }
        )

    def forward(self, items: Tensor) -> Tensor:
        """[B, L] ids -> [B, L, D], zero at padding."""
        x = self.ids(items)
        for projection in self.features.values():
            x = x + projection(items)
        return x

    def table(self, *, mixed: bool) -> Tensor:
        """[N, D], with the features or, if not `mixed`, of the ids alone."""
        x = self.ids.table()
        if mixed:
            for projection in self.features.values():
                assert isinstance(projection, FeatureProjection)
                x = x + projection.table()
        return x


class DistinctItems:
    """One item for each distinct value of the features, so that vectors that depend on features
    alone are computed once for all items that share them.

    By brand and category alone, Beauty's 2,423 items have 999 different texts.
    """

    ids: Tensor
    """[U] ascending, the first item with each distinct value; ids[0] is 0, the padding"""
    inverse: Tensor
    """[N + 1]: item i has the features of item ids[inverse[i]] (as `torch.unique` calls it)"""

    def __init__(self, *features: tuple[Tensor, Tensor]) -> None:
        """features: for each modality, values [N + 1, ...] and where they are present [N + 1];
        two items that lack a modality are equal in it whatever their values. Without modalities
        both attributes are empty."""
        arrays = [(values.numpy(), present.tolist()) for values, present in features]
        seen: dict[tuple[bytes | None, ...], int] = {}
        ids: list[int] = []
        inverse: list[int] = []
        for item in range(len(arrays[0][1]) if arrays else 0):
            key = tuple(
                values[item].tobytes() if present[item] else None for values, present in arrays
            )
            if key not in seen:
                seen[key] = len(ids)
                ids.append(item)
            inverse.append(seen[key])
        self.ids, self.inverse = torch.tensor(ids), torch.tensor(inverse)

    def select(self, values: Tensor) -> Tensor:
        """The rows of `ids`; not copied if these are all rows, because features are large."""
        return values if len(self.ids) == len(values) else values[self.ids]
