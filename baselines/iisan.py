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

An item that lacks a modality has a learned state in place of each of its layer states. A
modality that the dataset lacks leaves its networks out, and the inter-modal one with it. With
neither, items have their id embedding alone: the released code's branch without modalities.

The item vectors are needed for all items in every step, since the softmax is over all of them, and
are computed once for items with the same states; a part of the batch with fewer positions than
there are different items computes its own alone.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

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
    """Every so many of the layer states at hand one is read, counted from the last. The paper reads
    every second layer (LayerDrop): 2 for a cache of all layers, 1 for one that is thinned already,
    as this suite's encoders keep it."""

    ids: bool = False
    """Whether an item's vector has an id embedding added; always so without modalities."""


@dataclass(frozen=True)
class State:
    """One layer's state of M items, of which some lack the modality."""

    values: Tensor
    """[M, F]"""
    present: Tensor
    """[M]; the others have `missing` as their state."""
    missing: Tensor
    """[F]"""

    def times(self, weight: Tensor) -> Tensor:
        """Products with the rows of weight [R, F] -> [M, R].

        `missing` takes its place after the product, so that backward needs no gradient of the
        values, which are constants.
        """
        product = linear(self.values.to(weight.dtype), weight)
        return torch.where(self.present.unsqueeze(-1), product, weight @ self.missing)


def kept_layers(features: Features, modality: str, every: int) -> Tensor:
    """[N + 1, K, F], every so many layers from the last down.

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

    def forward(self, rows: Tensor | slice) -> list[State]:
        """The layers from the lowest to the last, of M rows."""
        present = self.present[rows]
        return [State(self.layers[rows, k], present, self.missing) for k in range(self.depth)]


class Adapter(nn.Module):
    """The weights of a block: x + up(ReLU(down(x)))."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)


class SideNetwork(nn.Module):
    """What both networks have: an adapter and a gate for each layer, and a projection to D.

    The state h of F numbers is never built. Nothing reads it but the adapters' down-projections and
    the last projection, all of them linear, so what is carried from layer to layer is what those
    that still come will read of it. Only the frozen states meet a matrix of width F then, and
    backward goes through their weights alone, not through F numbers of every item.
    """

    def __init__(self, width: int, depth: int, config: IISANConfig) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(Adapter(width, config.bottleneck) for _ in range(depth))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.projection = nn.Linear(width, config.dim)

    def opening(self) -> tuple[Tensor, ...]:
        """g_k of each layer."""
        return torch.sigmoid(self.gates / TEMPERATURE).unbind()

    def readers(self, k: int) -> Tensor:
        """[R, F]: the down-projections from adapter k on and the last projection."""
        downs = [self.adapter(later).down.weight for later in range(k, len(self.adapters))]
        return torch.cat([*downs, self.projection.weight])

    def adapter(self, k: int) -> Adapter:
        adapter = self.adapters[k]
        assert isinstance(adapter, Adapter)
        return adapter

    def adapt(self, k: int, read: Tensor) -> Tensor:
        """What readers(k) read of adapter k's input -> what readers(k + 1) read of its output."""
        down, up = self.adapter(k).down, self.adapter(k).up
        own, rest = read.tensor_split([len(down.weight)], dim=-1)
        hidden = torch.relu(own + down.bias)
        later = self.readers(k + 1)
        return rest + linear(hidden, later @ up.weight, later @ up.bias)


class IntraModal(SideNetwork):
    """One modality's layers, each gated against the adapted state so far."""

    def forward(self, states: list[State]) -> Tensor:
        """K states of M items -> [M, D]"""
        h: Tensor | None = None
        for k, (state, gate) in enumerate(zip(states, self.opening(), strict=True)):
            # A gate on the readers costs less than one on what they read of every item.
            s = state.times(gate * self.readers(k))
            h = self.adapt(k, s if h is None else s + (1 - gate) * h)
        assert h is not None
        return h + self.projection.bias


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

    def forward(self, image: list[State], text: list[State]) -> Tensor:
        """Layers are paired from the last down; states of M items -> [M, D]."""
        depth = len(self.adapters)
        pairs = zip(image[-depth:], text[-depth:], strict=True)
        m: Tensor | None = None
        for k, ((image_state, text_state), gate) in enumerate(
            zip(pairs, self.opening(), strict=True)
        ):
            readers = self.readers(k)
            v = aligned(image_state, self.align_image[k], gate * readers)
            t = aligned(text_state, self.align_text[k], (1 - gate) * readers)
            m = self.adapt(k, v + t if m is None else m + v + t)
        assert m is not None
        return m + self.projection.bias


def aligned(state: State, alignment: nn.Module, readers: Tensor) -> Tensor:
    """What readers [R, F] read of M aligned states, [M, R].

    The alignment is multiplied into the readers, which are fewer than items.
    """
    if isinstance(alignment, nn.Linear):
        return state.times(readers @ alignment.weight) + readers @ alignment.bias
    return state.times(readers)


class IISAN(Recommender):
    """Fu et al. 2024. Raises ValueError where a modality's features come without layer states."""

    Config = IISANConfig
    objective: ClassVar[Objective] = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "text")
    config: IISANConfig
    inverse: Tensor
    """[N + 1], each item's row in the layer states, where items with the same states have one"""

    def __init__(self, config: IISANConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        found = {name: catalogue.features(name) for name in self.modalities}
        features = {name: x for name, x in found.items() if x is not None}
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
        """[B, L] ids -> [B, L, D], zero at padding; looked up in the item table if there is one."""
        if table is not None:
            vectors = table[(items - 1).clamp(min=0)]
            return vectors * (items > 0).unsqueeze(-1)
        if self.fusion is None:
            assert self.ids is not None
            return self.ids(items)
        rows = self.inverse[items]
        if items.numel() < self.n_distinct:
            vectors = self.fused(rows.flatten()).unflatten(0, items.shape)
        else:
            vectors = self.fused(slice(None))[rows]
        vectors = vectors * (items > 0).unsqueeze(-1)
        return vectors if self.ids is None else vectors + self.ids(items)

    def item_table(self) -> Tensor:
        """[N, D]"""
        if self.fusion is None:
            assert self.ids is not None
            return self.ids.table()
        vectors = self.fused(slice(None))[self.inverse[1:]]
        return vectors if self.ids is None else vectors + self.ids.table()

    def fused(self, rows: Tensor | slice) -> Tensor:
        """[M, D] of M rows of the layer states."""
        assert self.fusion is not None
        states = {modality: states(rows) for modality, states in self.states.items()}
        streams = [network(states[modality]) for modality, network in self.intra.items()]
        if self.inter is not None:
            streams.append(self.inter(states["image"], states["text"]))
        return self.fusion(torch.cat(streams, -1))
