"""UniSRec: Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems,
KDD 2022.

Followed: parametric whitening (eq. 2), mixture-of-experts adaptor with noisy gates (eqs. 3-5),
Transformer over item plus position (eqs. 6-7), contrastive tasks between sequence and item and
between two views of a sequence (eqs. 8-10), transductive fine-tuning with an ID embedding beside
the text.

The model is trained from scratch on one dataset, in the transductive setting: the authors'
pre-training on five other Amazon domains would be data that no other row is given.
`contrast` > 0 adds the two pre-training tasks to the recommendation loss on this dataset's own
sequences.

What differs, and which one is the default
    scores      The paper: softmax of s . (v + e). The code: of the cosine over a temperature of
                0.07. Default the code's: 1 / temperature stands in the states, the norm in both.
    noise       Eq. 5, on the gates of the inputs, in training. The code adds 0.01 to its standard
                deviation, and also draws noise (and dropout) for the items that are scored. Here
                the scored items' gates are clean, in training as at the end.
    dropout     The code drops entries of the text vector anew for every expert; here once for all
                of them, so that one product serves all experts.
    modalities  UniSRec knows text alone. Images get an adaptor of their own, and the outputs are
                added; a modality that the dataset lacks has no adaptor, and an item that lacks one
                has a learned vector in place of the adaptor's output.
    tasks       The code takes B prefixes of a batch; here one prefix is drawn of each user. Its
                second augmentation (dropping words) needs the encoder, and is left out: items are
                dropped, with the code's ratio of 0.2. Negatives whose target is the anchor's are
                left out; the code counts them with a logit of 0. Item vectors are those that are
                scored, with the ID embedding.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, softplus

from baselines.items import DistinctItems
from baselines.transformer import EPS, PositionEmbedding, TransformerEncoder
from findrec.layers import Dropout, ItemEmbedding, init_normal
from findrec.ops import normal, uniform
from findrec.recommender import (
    Aux,
    Batch,
    Catalogue,
    Features,
    Modality,
    ModelConfig,
    Output,
    Recommender,
)


@dataclass(frozen=True)
class UniSRecConfig(ModelConfig):
    """Defaults from the released props/UniSRec.yaml unless said otherwise."""

    dropout: float = 0.5
    """On the embedding, the attention weights and the output of each half of a block."""
    layers: int = 2
    """Blocks."""
    heads: int = 2
    """Attention heads."""
    inner: int = 4
    """Width of the feed-forward network in multiples of `dim` (released: 256 at a width of 300;
    this is RecBole's SASRec, as in the other rows)."""
    experts: int = 8
    """Experts of an adaptor."""
    adaptor_dropout: float = 0.2
    """On the features."""
    temperature: float = 0.07
    """Of the cosine scores and of the contrastive tasks."""
    transductive: bool = True
    """Whether items have an ID embedding beside their features (its transductive setting)."""
    contrast: float = 0.0
    """Weight of the pre-training tasks (eq. 10) in the loss; 0 leaves them out."""
    contrast_views: float = 1e-3
    """lambda of eq. 10: weight of the task between two views within them."""
    drop_items: float = 0.2
    """Share of items that the second view of a sequence lacks."""


class UniSRec(Recommender):
    """A Transformer over adapted features plus IDs, scored by cosine."""

    Config = UniSRecConfig
    config: UniSRecConfig
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")

    def __init__(self, config: UniSRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.adaptors = nn.ModuleDict(
            {
                name: Adaptor(features, config, name)
                for name, features in catalogue.available(self.modalities).items()
            }
        )
        if not config.transductive and not self.adaptors:
            raise ValueError(
                "UniSRec without ID embeddings needs features, and the dataset has none: set "
                "transductive to true"
            )
        self.ids = ItemEmbedding(catalogue.items, config.dim) if config.transductive else None
        self.positions = PositionEmbedding(config.max_length, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.dropout = Dropout(config.dropout, "embedding")
        self.encoder = TransformerEncoder(
            config.dim,
            layers=config.layers,
            heads=config.heads,
            inner=config.inner * config.dim,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            causal=True,
        )
        init_normal(self)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D], of norm 1 / temperature."""
        items, states = self.encode(batch)
        scaled = states / self.config.temperature
        if not (batch.training and self.config.contrast):
            return Output(scaled)
        aux = {
            "items": normalize(items, dim=-1),
            "ids": batch.items,
            "states": states,
            "view": self.second_view(batch),
        }
        return Output(scaled, aux)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Item vectors v + e and states of norm 1 (eqs. 6-7), each [B, L, D]."""
        parts = [adaptor(batch) for adaptor in self.adaptors.values()]
        if self.ids is not None:
            parts.append(self.ids(batch.items))
        items = sum(parts[1:], parts[0])
        x = self.dropout(self.norm(items + self.positions(batch.items)), batch)
        return items, normalize(self.encoder(x, batch), dim=-1)

    def item_table(self) -> Tensor:
        """[N, D] of norm 1."""
        parts = []
        for adaptor in self.adaptors.values():
            assert isinstance(adaptor, Adaptor)
            parts.append(adaptor.table())
        if self.ids is not None:
            parts.append(self.ids.table())
        return normalize(sum(parts[1:], parts[0]), dim=-1)

    # ---- contrastive tasks, eqs. 8-10 ------------------------------------------------------

    def second_view(self, batch: Batch) -> Tensor:
        """States of the sequence with a share of its items dropped, [B, L, D].

        The first item is always kept. The kept items move to the left; the state at a position is
        the one after the last item that was kept up to that position.
        """
        length = batch.items.shape[-1]
        draws = uniform(batch.key, "view.drop", batch.rows, length)
        first = torch.arange(length, device=batch.items.device) == 0
        keep = ((draws >= self.config.drop_items) | first) & batch.valid
        moved_to = keep.cumsum(-1) - 1
        # Dropped items are written to one further column, which is cut off.
        wider = torch.zeros_like(batch.items[..., :1]).expand(-1, length + 1)
        kept = wider.scatter(-1, torch.where(keep, moved_to, length), batch.items)[..., :length]
        seed, step = batch.key.unbind()
        # A key that no step has, so that both views have draws of their own.
        view = Batch(kept, batch.rows, torch.stack([seed, ~step]), batch.training)
        states = self.encode(view)[1]
        return states.gather(-2, moved_to.clamp(min=0).unsqueeze(-1).expand_as(states))

    def aux_losses(self, aux: Aux, valid: Tensor, key: Tensor) -> dict[str, Tensor]:
        """Eqs. 8 and 9 over one prefix of each user, drawn among those that have a next item."""
        if not aux:
            return {}
        choices = valid.sum(-1) - 1
        users = torch.arange(len(valid), device=valid.device)
        draw = uniform(key, "prefix", users)
        end = (draw * choices).long().clamp(max=choices - 1).clamp(min=0)
        target_at = (end + 1).clamp(max=valid.shape[-1] - 1)
        state = _at(aux["states"], end)
        targets = aux["ids"].gather(-1, target_at.unsqueeze(-1)).squeeze(-1)
        usable = choices > 0
        same = (targets.unsqueeze(-1) == targets) & (users.unsqueeze(-1) != users)
        masked = same | ~usable
        return {
            "sequence_item": self.contrast(state, _at(aux["items"], target_at), masked, usable),
            "sequence_sequence": self.contrast(state, _at(aux["view"], end), masked, usable),
        }

    def contrast(self, left: Tensor, right: Tensor, masked: Tensor, usable: Tensor) -> Tensor:
        """Mean over users of -log softmax of the own pair among all pairs that are not masked."""
        logits = left @ right.transpose(-1, -2) / self.config.temperature
        logits = logits.masked_fill(masked, torch.finfo(logits.dtype).min)
        own = logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1)
        return -(own * usable).sum() / usable.sum().clamp(min=1)

    def aux_loss_weights(self) -> dict[str, float]:
        """l_SI + lambda l_SS (eq. 10), times `contrast`."""
        weight = self.config.contrast
        if not weight:
            return {}
        return {
            "sequence_item": weight,
            "sequence_sequence": weight * self.config.contrast_views,
        }


class Adaptor(nn.Module):
    """Whitening and experts of one modality: sum_k g_k (x - b_k) W_k (eqs. 2-5).

    What does not depend on the position is computed once for each distinct item, if there are
    fewer of those than positions.
    """

    values: Tensor
    """[U, F], of the items with different features"""
    present: Tensor
    inverse: Tensor
    """[N + 1], each item's row in `values`, see `DistinctItems`"""

    def __init__(self, features: Features, config: UniSRecConfig, random_stream: str) -> None:
        super().__init__()
        distinct = DistinctItems((features.values, features.present))
        self.register_buffer("values", distinct.select(features.values), persistent=False)
        self.register_buffer("present", distinct.select(features.present), persistent=False)
        self.register_buffer("inverse", distinct.inverse, persistent=False)
        width, experts = features.values.shape[1], config.experts
        self.random_stream = random_stream
        self.experts = nn.Linear(width, experts * config.dim, bias=False)
        self.whitening = nn.Parameter(torch.zeros(experts, width))
        self.gate = nn.Parameter(torch.zeros(experts, width))
        self.noise = nn.Parameter(torch.zeros(experts, width))
        self.missing = nn.Parameter(torch.zeros(config.dim))
        self.dropout = Dropout(config.adaptor_dropout, f"{random_stream}.features")

    def forward(self, batch: Batch) -> Tensor:
        """[B, L] ids -> [B, L, D], zero at padding."""
        rows = self.inverse[batch.items]
        vectors = self.noisy(rows, batch) if batch.training else self.clean(rows)
        return vectors * batch.valid.unsqueeze(-1)

    def table(self) -> Tensor:
        """[N, D] of all items, with clean gates."""
        return self.mixed(self.values, self.present)[self.inverse[1:]]

    def clean(self, rows: Tensor) -> Tensor:
        """Rows [...] of `values` -> [..., D], without noise and dropout."""
        if rows.numel() < len(self.values):
            return self.mixed(self.values[rows], self.present[rows])
        return self.mixed(self.values, self.present)[rows]

    def mixed(self, x: Tensor, present: Tensor) -> Tensor:
        """Features [..., F] -> [..., D] with clean gates."""
        experts = len(self.experts.weight)
        # One product for experts and gates, because one with as few columns as gates is slow.
        product = linear(x, torch.cat([self.experts.weight, self.gate]))
        outputs, logits = product.split([experts, len(self.gate)], dim=-1)
        return self.mix(outputs, logits.softmax(-1), present)

    def noisy(self, rows: Tensor, batch: Batch) -> Tensor:
        """Rows [B, L] of `values` -> [B, L, D] in training."""
        logits, spread = self.gates(rows).unflatten(-1, (2, -1)).unbind(-2)
        draws = normal(batch.key, f"{self.random_stream}.gate", batch.rows, *logits.shape[1:])
        logits = logits + draws.to(logits.dtype) * softplus(spread)  # eq. 5
        outputs = self.experts(self.dropout(self.values[rows], batch))
        return self.mix(outputs, logits.softmax(-1), self.present[rows])

    def gates(self, rows: Tensor) -> Tensor:
        """Rows [...] of `values` -> [..., 2 K]: x W_g and x W_noise, which dropout leaves alone."""
        weight = torch.cat([self.gate, self.noise])
        if rows.numel() < len(self.values):
            return linear(self.values[rows], weight)
        return linear(self.values, weight)[rows]

    def mix(self, outputs: Tensor, gates: Tensor, present: Tensor) -> Tensor:
        """Products x W_k [..., K D] and gates [..., K] -> [..., D] (eqs. 2 and 3).

        sum_k g_k (x - b_k) W_k is computed as sum_k g_k x W_k - sum_k g_k b_k W_k: one product for
        all experts, and the whitening on D numbers instead of K D.
        """
        shape = (len(self.whitening), -1)
        weight = self.experts.weight.unflatten(0, shape)
        shift = (weight @ self.whitening.unsqueeze(-1)).squeeze(-1)
        mixed = (gates.unsqueeze(-2) @ outputs.unflatten(-1, shape)).squeeze(-2) - gates @ shift
        return torch.where(present.unsqueeze(-1), mixed, self.missing)


def _at(x: Tensor, position: Tensor) -> Tensor:
    """x [B, L, D] at one position of each user, [B] -> [B, D]"""
    return x.gather(1, position[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)
