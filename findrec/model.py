"""FindRec (Wang et al., KDD '25), top to bottom as in section 2 of the paper.

Glossary
    B users, L positions, N items, D = dim, M = align_dim = H * d_h over H heads
    e_id, e_txt, e_img    [B, L, D | M | M]  an item's embedding, projected text and image features
    z_id, z_txt, z_img    [B, L, D | M | M]  streams: states of Mamba layers over these sequences
    o                     [B, L, M]  z_img plus the text states it attends to, head by head
    o_exp                 [B, L, M]  outputs of the experts for o, weighted by their gates
    states                [B, L, D]  S of eq. 4; item i scores the inner product with its e_id

Where the paper is silent or contradicts itself, the choice is a field of `FindRecConfig`. A
modality that no item has is left out: o is then the other modality's stream, without attention and
alignment; without both modalities, S = FFN(z_id). An item that lacks one modality has a learned
vector in its place, and its positions are left out of the alignment.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from findrec.config import FindRecConfig, StreamsConfig
from findrec.coordination import coordination_losses, coordination_weights
from findrec.layers import Dropout, FeatureProjection, Fusion, ItemEmbedding
from findrec.mamba import MambaBlock
from findrec.recommender import Aux, Batch, Catalogue, Modality, Output, Recommender
from findrec.routing import CrossAttention, ExpertRouting, gate_statistics


class FindRec(Recommender):
    """Streams (2.1), coordination (2.2), attention and routing (2.3), fusion (2.4)."""

    Config = FindRecConfig
    objective = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    config: FindRecConfig
    fusion: nn.Module

    def __init__(self, config: FindRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        c = config
        self.items = ItemEmbedding(catalogue.items, c.dim)
        self.features, self.streams = features_and_streams(c, catalogue, self.modalities)
        width = c.dim  # of the concatenation of eq. 3
        if self.features:
            width += c.align_dim
            self.attention = CrossAttention(c.heads, c.attention)
            self.routing = ExpertRouting(
                c.align_dim,
                c.heads,
                c.experts,
                c.dropout,
                "routing",
                temperature=c.router_temperature,
            )
        if "fused" in (c.id_input, c.score_with):
            self.fuse = nn.Linear(c.dim + len(self.features) * c.align_dim, c.dim)
        self.coordinated = c.iicm_weight > 0 and (
            len(self.features) == 2 or (c.iicm_align == "id" and len(self.features) == 1)
        )
        if self.coordinated and c.iicm_align == "id":
            self.id_to_align = nn.Linear(c.dim, c.align_dim)
        if c.fusion == "ffn":
            self.fusion = Fusion(width, 2 * c.dim, c.dim, c.dropout)
        elif self.features:
            self.fusion = nn.Linear(c.align_dim, c.dim)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D], and what `aux_losses` compares across users."""
        z = self._streams(batch)  # 2.1 Feature extraction and ID modelling
        if not self.features:
            return Output(z["id"] if self.config.fusion == "sum" else self.fusion(z["id"], batch))

        # 2.3 Cross-modal attention and expert routing
        if len(self.features) == 2:
            o = self.attention(z["image"], z["text"], batch)
        else:
            (o,) = (z[name] for name in self.features)
        o_exp, gates = self.routing(o, batch)

        # 2.4 Fusion
        if self.config.fusion == "sum":
            states = z["id"] + self.fusion(o_exp)
        else:
            z_final = torch.cat([z["id"], o_exp], -1)  # eq. 3
            states = self.fusion(z_final, batch)  # eq. 4
        return Output(states, self._aux(z, gates, batch) if batch.training else {})

    def _streams(self, batch: Batch) -> dict[str, Tensor]:
        """z of every stream: "id" [B, L, D], "text" and "image" [B, L, M]."""
        e = {"id": self.items(batch.items)}
        e |= {name: project(batch.items) for name, project in self.features.items()}
        if self.config.id_input == "fused":
            e["id"] = self.fuse(torch.cat(list(e.values()), -1))  # e_fused
        return {name: stream(e[name], batch) for name, stream in self.streams.items()}

    def _aux(
        self, z: Mapping[str, Tensor], gates: Tensor | None, batch: Batch
    ) -> dict[str, Tensor]:
        """Streams [B, L, M] for the coordination, gates [B, L, H, K] for the statistics."""
        aux = {} if gates is None else {"gates": gates.detach()}
        if self.coordinated:
            for name in self.features:
                aux |= {name: z[name], f"has_{name}": self._projection(name).has(batch.items)}
            if self.config.iicm_align == "id":
                aux["id"] = self.id_to_align(z["id"])
        return aux

    def aux_losses(self, aux: Aux, valid: Tensor, key: Tensor) -> dict[str, Tensor]:
        """L_IICM of section 2.2 (eqs. 1 and 2), part by part, and how the experts were used."""
        losses = coordination_losses(self.config, aux, valid, key) if self.coordinated else {}
        if "gates" in aux:
            losses |= gate_statistics(aux["gates"], valid)
        return losses

    def aux_loss_weights(self) -> dict[str, float]:
        """lambda of eq. 5 on the parts of L_IICM; the gates' statistics are only logged."""
        return coordination_weights(self.config) if self.coordinated else {}

    def item_table(self) -> Tensor:
        """[N, D]: e_id, or e_fused projected to D."""
        e_id = self.items.table()
        if self.config.score_with == "id":
            return e_id
        return self.fuse(
            torch.cat([e_id, *(self._projection(n).table() for n in self.features)], -1)
        )

    @torch.no_grad()
    def snapshot(self, batch: Batch) -> dict[str, Tensor]:
        """States of the streams at the same positions, as figure 2 shows them, and gate use.

        "text", "image": [n, M], the streams at the last position of each user whose item there has
        both modalities, after a LayerNorm without affine, as IICM compares them (section 2.2).
        "id": [n, D], the ID stream there, likewise; where IICM aligns with it, its projection
        [n, M]. "gates": [H, K], mean gate of every expert in every head over all valid positions;
        each row sums to 1. Raises ValueError for a model without both modalities.
        """
        if len(self.features) < 2:
            raise ValueError("a snapshot shows text and image states, and the model lacks one")
        user = torch.arange(len(batch.items))
        last = (batch.items > 0).sum(1) - 1
        z = self._streams(batch)
        present = torch.ones(len(user), dtype=torch.bool)
        for name in self.features:
            present &= self._projection(name).has(batch.items)[user, last]
        compared = dict(z)
        if self.coordinated and self.config.iicm_align == "id":
            compared["id"] = self.id_to_align(z["id"])
        states = {
            name: layer_norm(x[user, last], x.shape[-1:])[present] for name, x in compared.items()
        }
        _, gates = self.routing(self.attention(z["image"], z["text"], batch), batch)
        if gates is None:  # one expert
            return states | {"gates": torch.ones(self.config.heads, 1)}
        return states | {"gates": gates[batch.items > 0].mean(0)}

    def _projection(self, name: str) -> FeatureProjection:
        return cast(FeatureProjection, self.features[name])


def features_and_streams(
    config: StreamsConfig, catalogue: Catalogue, modalities: Sequence[Modality]
) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """The projections of the features, and the streams: "id", and each modality that some item has.

    Both by name; streams in the order of the concatenation, "id" first.
    """
    c = config
    projections = nn.ModuleDict()
    streams = nn.ModuleDict({"id": Stream(c, c.dim, c.layers, "id")})
    for name in modalities:
        features = catalogue.features(name)
        if features is not None and bool(features.present.any()):
            projections[name] = FeatureProjection(features, c.align_dim)
            streams[name] = Stream(c, c.align_dim, c.depth_of_modalities, name)
    return projections, streams


class Stream(nn.Module):
    """z = MambaLayers(e): dropout, scaled residual Mamba blocks (2.1), and the LayerNorm that ends
    a stack of pre-normalised blocks."""

    def __init__(self, config: StreamsConfig, dim: int, layers: int, random_stream: str) -> None:
        super().__init__()
        self.dropout = Dropout(config.dropout, f"{random_stream}.input")
        self.blocks = nn.ModuleList(
            MambaBlock(
                dim,
                config.mamba,
                config.dropout,
                f"{random_stream}.{layer}",
                alpha=config.alpha,
                feed_forward=config.feed_forward,
            )
            for layer in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, e: Tensor, batch: Batch) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        x = self.dropout(e, batch)
        for block in self.blocks:
            x = block(x, batch)
        return self.norm(x)
