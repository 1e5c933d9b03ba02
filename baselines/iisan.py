"""IISAN: side adapters over a frozen encoder's layer states, for each modality and between the two.

Fu et al., "IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation with
Decoupled PEFT", SIGIR 2024, section 3. The encoders are not run in training: a small network beside
them is learned, whose input is the cached states of their layers.

    block            SANB(x) = x + up(ReLU(down(x)))
    intra-modal      h_k = SANB_k(g_k s_k + (1 - g_k) h_{k-1}),   h_0 = 0
    inter-modal      m_k = SANB_k(m_{k-1} + g_k v_k + (1 - g_k) t_k),   m_0 = 0
    gates            g_k = sigmoid(mu_k / 0.1), mu_k a scalar that starts at 0
    item vector      Linear(concat(W_v h_v, W_t h_t, W_m m))

s_k is the state of the k-th layer that is used (LayerDrop: not all are), v_k and t_k those of image
and text. Item vectors are the input of a SASRec-like encoder (learned positions, LayerNorm,
post-norm blocks with ReLU), and its states are scored against them. The article describes these
parts; the formulas above are its released code's.

Layers of different depth or width follow IISAN-Versa (Fu et al., TKDE 2025): the deeper encoder's
surplus lower layers are adapted alone, and the wider states are projected to the narrower width
before they are mixed.

Where we differ from the released code (`Code_Cached/`)
    * Loss: in-batch softmax with popularity correction there, the suite's full softmax here.
    * Two linear layers in a row (fc and its projection to the item's width) are one here.
    * There sequences are padded at the left, so that the last item has the last position; here
      positions count from the first item of the window.
    * Its attention has no biases and its LayerNorms 1e-6 for our 1e-12.
    * Its adapters define a dropout and do not apply it; there is none here.

An item's vector depends on its modalities alone, so items with the same text (and image) have the
same vector: by brand and category alone, Beauty's 2,423 items have 999. `ids` adds an id embedding
to the item vector for such data; it is not part of the method.

An item that lacks a modality has a learned state in place of each of its layer states. A
modality that the dataset lacks leaves its networks out, and the inter-modal one with it. With
neither, items have their id embedding alone: the released code's branch without modalities.

The softmax is over all items, so every step computes the vectors of all items, once for each
distinct item. A part of the batch with fewer positions than distinct items computes only its own.
What backward needs of the adapted states, about 0.4 MB an item at the paper's encoders (six layers
of width 1,024 in each modality), is the largest part of a step's memory.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.items import DistinctItems
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
    """1 uses all cached layer states, 2 every second one, counted from the last. The paper uses
    every second layer (LayerDrop): 2 for a cache of all layers, 1 for a cache of every second one,
    as this suite's encoders keep it."""

    ids: bool = False
    """Whether an item's vector has an id embedding added; always so without modalities."""


def kept_layers(features: Features, modality: str, every: int) -> Tensor:
    """[N + 1, K, F], every `every`-th layer, counted down from the last.

    A view: the states of a large catalogue are the largest thing in memory. Raises ValueError where
    the features have no layer states.
    """
    if features.layers is None:
        raise ValueError(
            f"IISAN adapts the states of an encoder's layers, and the {modality} features of "
            "this dataset hold the pooled output alone: build them with layer states, or leave "
            f"{modality} out"
        )
    return features.layers[:, (features.layers.shape[1] - 1) % every :: every]


class LayerStates(nn.Module):
    """A modality's layer states; an item that lacks it has a learned state in place of each.

    layers: [U, K, F]; present: [U].
    """

    layers: Tensor
    present: Tensor

    def __init__(self, layers: Tensor, present: Tensor) -> None:
        super().__init__()
        self.register_buffer("layers", layers, persistent=False)
        self.register_buffer("present", present, persistent=False)
        self.depth, self.width = layers.shape[1:]
        self.missing = nn.Parameter(torch.zeros(self.width))

    def forward(self, rows: Tensor | slice) -> list[Tensor]:
        """The states of M rows, [M, F] for each layer, from the lowest to the last."""
        present = self.present[rows].unsqueeze(-1)
        layers = self.layers[rows].to(self.missing.dtype)
        return [torch.where(present, state, self.missing) for state in layers.unbind(1)]


class SideAdapter(nn.Module):
    """The block SANB: x + up(ReLU(down(x)))."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[M, F] -> [M, F]"""
        return x + self.up(torch.relu(self.down(x)))


class SideNetwork(nn.Module):
    """What both networks have: an adapter and a gate for each layer, and a projection to D."""

    def __init__(self, width: int, depth: int, config: IISANConfig) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(SideAdapter(width, config.bottleneck) for _ in range(depth))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.projection = nn.Linear(width, config.dim)

    def gate_values(self) -> tuple[Tensor, ...]:
        """g_k of each layer."""
        return torch.sigmoid(self.gates / TEMPERATURE).unbind()


class IntraModal(SideNetwork):
    """One modality's layers, each gated against the adapted state of the layers below."""

    def forward(self, states: list[Tensor]) -> Tensor:
        """K states [M, F] -> [M, D]"""
        h = states[0].new_zeros(())
        for s, g, adapter in zip(states, self.gate_values(), self.adapters, strict=True):
            h = adapter(torch.lerp(h, s, g))  # g s + (1 - g) h
        return self.projection(h)


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
        """States [M, F] of both, of which the last ones are paired -> [M, D]."""
        depth = len(self.adapters)
        m = image[0].new_zeros(())
        layers = zip(
            image[-depth:], text[-depth:], self.align_image, self.align_text,
            self.gate_values(), self.adapters, strict=True,
        )  # fmt: skip
        for v, t, align_image, align_text, g, adapter in layers:
            m = adapter(m + torch.lerp(align_text(t), align_image(v), g))  # m + g v + (1 - g) t
        return self.projection(m)


class IISAN(Recommender):
    """Fu et al. 2024. Raises ValueError where a modality's features come without layer states."""

    Config = IISANConfig
    objective: ClassVar[Objective] = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "text")
    config: IISANConfig
    inverse: Tensor
    """[N + 1], each item's row in the layer states, see `DistinctItems`"""

    def __init__(self, config: IISANConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        features = catalogue.available(self.modalities)
        layers = {name: kept_layers(x, name, config.every) for name, x in features.items()}
        distinct = DistinctItems(*((layers[name], x.present) for name, x in features.items()))
        self.register_buffer("inverse", distinct.inverse, persistent=False)
        self.n_distinct = len(distinct.ids)
        states = {
            name: LayerStates(distinct.select(layers[name]), distinct.select(x.present))
            for name, x in features.items()
        }
        self.states = nn.ModuleDict(dict[str, nn.Module](states.items()))
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
        x = self.items(batch.items, batch.table) + self.positions(batch.items)
        return Output(self.encoder(self.dropout(self.norm(x), batch), batch))

    def items(self, items: Tensor, table: Tensor | None) -> Tensor:
        """[B, L] ids -> [B, L, D], zero at padding; looked up in the item table if it is given."""
        if table is not None:
            vectors = table[(items - 1).clamp(min=0)]
            return vectors * (items > 0).unsqueeze(-1)
        if self.fusion is None:
            assert self.ids is not None
            return self.ids(items)
        rows = self.inverse[items]
        if items.numel() < self.n_distinct:
            vectors = self.item_vectors(rows.flatten()).unflatten(0, items.shape)
        else:
            vectors = self.item_vectors(slice(None))[rows]
        vectors = vectors * (items > 0).unsqueeze(-1)
        return vectors if self.ids is None else vectors + self.ids(items)

    def item_table(self) -> Tensor:
        """[N, D]"""
        if self.fusion is None:
            assert self.ids is not None
            return self.ids.table()
        vectors = self.item_vectors(slice(None))[self.inverse[1:]]
        return vectors if self.ids is None else vectors + self.ids.table()

    def item_vectors(self, rows: Tensor | slice) -> Tensor:
        """Linear(concat(W_v h_v, W_t h_t, W_m m)) of M rows of the layer states, [M, D]."""
        assert self.fusion is not None
        states = {modality: states(rows) for modality, states in self.states.items()}
        streams = [network(states[modality]) for modality, network in self.intra.items()]
        if self.inter is not None:
            streams.append(self.inter(states["image"], states["text"]))
        return self.fusion(torch.cat(streams, -1))
