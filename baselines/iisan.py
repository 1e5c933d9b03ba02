"""IISAN: side adapters over a frozen encoder's layer states, for each modality and between the two.

Fu et al., "IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation with
Decoupled PEFT", SIGIR 2024, section 3. The encoders are never run in training: what is learned is a
small network beside them that reads the cached states of their layers.

    block            SANB(x) = x + up(ReLU(down(x)))
    intra-modal      h_k = SANB_k(g_k s_k + (1 - g_k) h_{k-1}),   h_0 = 0
    inter-modal      m_k = SANB_k(m_{k-1} + g_k v_k + (1 - g_k) t_k),   m_0 = 0
    gates            g_k = sigmoid(mu_k / 0.1), mu_k a scalar that starts at 0
    item vector      Linear(concat(W_v h_v, W_t h_t, W_m m))

s_k is the state of the k-th layer that is read (LayerDrop: not all of them), v_k and t_k those of
image and text. Item vectors go into a SASRec-like encoder (learned positions, LayerNorm, post-norm
blocks with ReLU) and are what its states score against. The article describes these parts; the
formulas above are its released code's.

Layers of different depth or width follow IISAN-Versa (Fu et al., TKDE 2025): the deeper encoder's
surplus lower layers are adapted alone, and the wider states are projected to the narrower width
before they are mixed.

Where we differ from the released code (`Code_Cached/`)
    * Loss: in-batch softmax with popularity correction there, the suite's full softmax here.
    * Two linear layers in a row (fc and its projection to the item's width) are one here.
    * There sequences are padded at the left, so that the last item has the last position; here
      positions count from the first item of the window.
    * Its attention has no biases and its LayerNorms 1e-6 for our 1e-12.
    * Its adapters define a dropout and do not apply it; nor do we.

An item is its modalities and nothing else, so items with the same text (and image) are one to this
model: Beauty's 2,423 items have 999 different texts. `ids` adds an id embedding to the item vector,
for such data; it is no part of the method.

An item that lacks a modality has a learned state in the place of each of its layer states. A
modality that the dataset lacks leaves its networks out, and the inter-modal one with it. With
neither, items have their id embedding alone: the released code's branch without modalities.

The item vectors are needed for all items in every step, since the softmax is over all of them; a
part of the batch with fewer positions than there are items computes its own alone.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.transformer import PositionEmbedding, TransformerEncoder
from findrec.layers import Dropout, ItemEmbedding
from findrec.recommender import (
    Batch,
    Catalogue,
    Features,
    Modality,
    ModelConfig,
    Objective,
    Output,
    Recommender,
)

TEMPERATURE = 0.1


@dataclass(frozen=True)
class IISANConfig(ModelConfig):
    """Defaults from the released code's `parameters.py` and `run_IISAN.py`."""

    dropout: float = 0.1
    layers: int = 2
    """Blocks of the sequence encoder."""
    heads: int = 2
    bottleneck: int = 64
    """Width to which an adapter projects down."""
    every: int = 1
    """Every so many of the layer states at hand one is read, counted from the last. The paper reads
    every second layer (LayerDrop): 2 for a cache of all layers, 1 for one that is thinned already,
    as this suite's encoders keep it."""

    ids: bool = False
    """Whether an item's vector has an id embedding added; always so without modalities."""


class LayerStates(nn.Module):
    """A modality's layer states; an item that lacks it has a learned state in place of each."""

    layers: Tensor
    """[K, N + 1, F], only the layers that are kept"""
    present: Tensor

    def __init__(self, features: Features, modality: str, every: int) -> None:
        super().__init__()
        if features.layers is None:
            raise ValueError(
                f"IISAN adapts the states of an encoder's layers, and the {modality} features of "
                "this dataset hold the pooled output alone: build them with layer states, or leave "
                f"{modality} out"
            )
        depth = features.layers.shape[1]
        kept = features.layers[:, (depth - 1) % every :: every]
        # A view: the states of a large catalogue are the largest thing in memory.
        self.register_buffer("layers", kept.transpose(0, 1), persistent=False)
        self.register_buffer("present", features.present, persistent=False)
        self.depth, self.width = kept.shape[1:]
        self.missing = nn.Parameter(torch.zeros(self.width))

    def forward(self, rows: Tensor | slice) -> list[Tensor]:
        """The kept layers from the lowest to the last, each [M, F], of M items."""
        present = self.present[rows].unsqueeze(-1)
        dtype = self.missing.dtype
        return [torch.where(present, layer[rows].to(dtype), self.missing) for layer in self.layers]


class Adapter(nn.Module):
    """The block: down, ReLU, up, and a skip connection."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[M, F] -> [M, F]"""
        return x + self.up(torch.relu(self.down(x)))


class SideNetwork(nn.Module):
    """What both networks have: an adapter and a gate for each layer, and a projection to D."""

    def __init__(self, width: int, depth: int, config: IISANConfig) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(Adapter(width, config.bottleneck) for _ in range(depth))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.projection = nn.Linear(width, config.dim)

    def opening(self) -> tuple[Tensor, ...]:
        """g_k of each layer."""
        return torch.sigmoid(self.gates / TEMPERATURE).unbind()


class IntraModal(SideNetwork):
    """One modality's layers, each gated against the adapted state so far."""

    def forward(self, states: list[Tensor]) -> Tensor:
        """K states [M, F] -> [M, D]"""
        h: Tensor | None = None
        for state, gate, adapter in zip(states, self.opening(), self.adapters, strict=True):
            h = adapter(gate * state if h is None else gate * state + (1 - gate) * h)
        projected: Tensor = self.projection(h)
        return projected


class InterModal(SideNetwork):
    """Pairs of image and text layers, gated against each other and added to the state so far."""

    def __init__(self, image: LayerStates, text: LayerStates, config: IISANConfig) -> None:
        width, depth = min(image.width, text.width), min(image.depth, text.depth)
        super().__init__(width, depth, config)

        def alignment(states: LayerStates) -> nn.ModuleList:
            narrow = states.width == width
            return nn.ModuleList(
                nn.Identity() if narrow else nn.Linear(states.width, width) for _ in range(depth)
            )

        self.align_image, self.align_text = alignment(image), alignment(text)

    def forward(self, image: list[Tensor], text: list[Tensor]) -> Tensor:
        """Layers are paired from the last down; each [M, F] -> [M, D]."""
        depth = len(self.adapters)
        pairs = zip(image[-depth:], text[-depth:], strict=True)
        m: Tensor | None = None
        for k, ((v, t), gate) in enumerate(zip(pairs, self.opening(), strict=True)):
            mixed = gate * self.align_image[k](v) + (1 - gate) * self.align_text[k](t)
            m = self.adapters[k](mixed if m is None else m + mixed)
        projected: Tensor = self.projection(m)
        return projected


class IISAN(Recommender):
    """Fu et al. 2024. Raises ValueError where a modality's features come without layer states."""

    Config = IISANConfig
    objective: ClassVar[Objective] = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "text")
    config: IISANConfig

    def __init__(self, config: IISANConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        found = {name: catalogue.features(name) for name in self.modalities}
        states: dict[str, LayerStates] = {
            name: LayerStates(features, name, config.every)
            for name, features in found.items()
            if features is not None
        }
        self.states = nn.ModuleDict({**states})
        self.intra = nn.ModuleDict(
            {name: IntraModal(state.width, state.depth, config) for name, state in states.items()}
        )
        both = len(states) == 2
        self.inter = InterModal(states["image"], states["text"], config) if both else None
        streams = len(self.intra) + (self.inter is not None)
        self.fusion = nn.Linear(streams * config.dim, config.dim) if streams else None
        self.ids: ItemEmbedding | None = None
        if config.ids or not streams:
            std = math.sqrt(2 / (catalogue.items + config.dim))
            self.ids = ItemEmbedding(catalogue.items, config.dim, std=std)
        self.positions = PositionEmbedding(config.max_length, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout, "items")
        self.encoder = TransformerEncoder(
            config.dim,
            layers=config.layers,
            heads=config.heads,
            inner=4 * config.dim,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            causal=True,
            activation="relu",
        )
        nn.init.xavier_normal_(self.positions.weight)
        for layer in self.encoder.modules():
            if isinstance(layer, nn.Linear):
                # queries, keys and values stand in one matrix, each [D, D]
                for part in layer.weight.split(min(layer.weight.shape)):
                    nn.init.xavier_normal_(part)
                nn.init.zeros_(layer.bias)

    def forward(self, batch: Batch) -> Output:
        x = self.items(batch.items) + self.positions(batch.items)
        return Output(self.encoder(self.dropout(self.norm(x), batch), batch))

    def items(self, items: Tensor) -> Tensor:
        """[B, L] ids -> [B, L, D], zero at padding."""
        if self.fusion is None or items.numel() >= self.n_items:
            vectors = nn.functional.embedding((items - 1).clamp(min=0), self.item_table())
            return vectors * (items > 0).unsqueeze(-1)
        vectors = self.fused(items.flatten()).unflatten(0, items.shape)
        vectors = vectors * (items > 0).unsqueeze(-1)
        return vectors if self.ids is None else vectors + self.ids(items)

    def fused(self, rows: Tensor | slice) -> Tensor:
        """[M, D] from the modalities of M rows of the catalogue."""
        assert self.fusion is not None
        states = {modality: states(rows) for modality, states in self.states.items()}
        streams = [network(states[modality]) for modality, network in self.intra.items()]
        if self.inter is not None:
            streams.append(self.inter(states["image"], states["text"]))
        return self.fusion(torch.cat(streams, -1))

    def item_table(self) -> Tensor:
        if self.ids is None:
            return self.fused(slice(1, None))
        ids = self.ids.table()
        return ids if self.fusion is None else ids + self.fused(slice(1, None))
