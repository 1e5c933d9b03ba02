"""MMMLP: mixers of ids, texts and images, fused at the last position.

Liang et al., "MMMLP: Multi-modal Multilayer Perceptron for Sequential Recommendations", WWW 2023,
section 3. Its three modules are
    Feature Mixer Layer   a stack of mixer layers for each modality's sequence (ids, text, image);
    Fusion Mixer Layer    the modalities concatenated along the channels, normalised and projected
                          to the width of an item;
    Prediction Layer      the state at the last position, normalised, against the item embeddings.
A mixer layer is MLP-Mixer's: x + MLP_sequence(LayerNorm(x)), then x + MLP_channel(LayerNorm(x)).

Where the released code (`mmmlp.py`, for RecBole) differs from such a stack; `released` has it all
    * A modality has one mixer layer, whose weights serve every layer of its stack.
    * The text and image loops start from their input in every round, so four rounds are one layer.
    * One LayerNorm serves as the norm of the ids at the start and of the state at the end.
Default is the stack, whose layers have weights of their own.

What cannot be followed. Images enter that code as raw pixels through a vision mixer that is run
once without being trained, texts as 300-d word vectors; here both are the catalogue's frozen
features, projected linearly to the width of an item embedding (FeatureProjection); an item that
lacks a modality has a learned vector instead. A modality that the dataset lacks has no stack. The
article's equations were not available in full: the modules are named after it, and their
computation follows the code except for the points above.

Sequences stay padded at the right, as in RecBole. Linear layers start from N(0, 0.02); sequence
mixers, which are convolutions of width 1 in that code and so escape its initialisation, keep
torch's default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.mixer import AxisMLP, last_position, per_item, relative_to_padding, select_position
from findrec.layers import FeatureProjection, ItemEmbedding, init_normal
from findrec.recommender import (
    Batch,
    Catalogue,
    Modality,
    ModelConfig,
    Objective,
    Output,
    Recommender,
)


@dataclass(frozen=True)
class MMMLPConfig(ModelConfig):
    """Defaults from the released code where it fixes a value, else from MLP4Rec's configuration."""

    dropout: float = 0.5
    layers: int = 4
    """Mixer layers of each modality; the code's text and image loops make four rounds."""
    expansion: int = 4
    """Hidden width of a perceptron over the length of its axis."""
    released: bool = False
    """The released code's computation instead of a stack: see the head of this file."""


class MixerLayer(nn.Module):
    """Pre-norm mixing along the sequence, then along the channels, each with a skip connection."""

    def __init__(self, config: MMMLPConfig, random_stream: str, *, uses: int = 1) -> None:
        super().__init__()
        p, length, dim = config.dropout, config.max_length, config.dim
        self.sequence_norm = nn.LayerNorm(dim)
        self.sequence = AxisMLP(
            length,
            config.expansion * length,
            p,
            f"{random_stream}.sequence",
            axis=-2,
            bias=True,
            uses=uses,
        )
        self.channel_norm = nn.LayerNorm(dim)
        self.channel = AxisMLP(
            dim,
            config.expansion * dim,
            p,
            f"{random_stream}.channel",
            axis=-1,
            bias=True,
            uses=uses,
        )
        init_normal(self.channel)

    def forward(self, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        x = x + self.sequence(self.sequence_norm(x), batch, use)
        return x + self.channel(self.channel_norm(x), batch, use)

    def output_at(
        self,
        last: Tensor,
        x: Tensor,
        normed: Tensor,
        batch: Batch,
        use: int = 0,
        padding: Tensor | None = None,
    ) -> Tensor:
        """The same at one position of each user, -> [B, 1, D].

        last: [B]; x: [B, 1, D], the input there; normed: [B, L, D], the input everywhere after
        `sequence_norm`; padding: as for `AxisMLP.output_at`.
        """
        x = x + self.sequence.output_at(last, normed, batch, use, padding)
        return x + self.channel(self.channel_norm(x), batch, use)


class FeatureMixer(nn.Module):
    """The Feature Mixer Layer of one modality: its input normalised, then mixed `layers` times.

    shared: every layer has the weights of the first, as in the released code.
    """

    def __init__(
        self, config: MMMLPConfig, n_items: int, random_stream: str, *, layers: int, shared: bool
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.rounds = layers if shared else 1
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.layers = nn.ModuleList(
            MixerLayer(config, f"{random_stream}.{layer}", uses=self.rounds)
            for layer in range(1 if shared else layers)
        )

    def forward(self, vectors: Callable[[Tensor], Tensor], last: Tensor, batch: Batch) -> Tensor:
        """The mixed state at the last position, [B, 1, D].

        vectors: item ids [...] -> [..., D], zero at padding; last: [B].
        """

        def start(items: Tensor) -> Tensor:
            return self.norm(vectors(items))

        *before, final = [(layer, use) for use in range(self.rounds) for layer in self.layers]
        layer, use = final
        assert isinstance(layer, MixerLayer)
        if not before:  # no layer has mixed positions yet: normed vectors depend on the item alone
            norm = layer.sequence_norm
            relative, padding = relative_to_padding(
                lambda items: norm(start(items)), batch.items, self.n_items
            )
            x = start(batch.items.gather(1, last.unsqueeze(1)))
            return layer.output_at(last, x, relative, batch, use, padding)
        x = per_item(start, batch.items, self.n_items)
        for earlier, earlier_use in before:
            x = earlier(x, batch, earlier_use)
        return layer.output_at(last, select_position(x, last), layer.sequence_norm(x), batch, use)


class MMMLP(Recommender):
    """Liang et al. 2023."""

    Config = MMMLPConfig
    objective: ClassVar[Objective] = "last"
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    fixed_length: ClassVar[bool] = True
    config: MMMLPConfig

    def __init__(self, config: MMMLPConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        released = config.released
        self.items = ItemEmbedding(catalogue.items, config.dim)
        self.item_mixer = FeatureMixer(
            config, catalogue.items, "items", layers=config.layers, shared=released
        )
        self.features = nn.ModuleDict()
        self.mixers = nn.ModuleDict()
        layers = 1 if released else config.layers
        for modality, features in catalogue.available(self.modalities).items():
            self.features[modality] = FeatureProjection(features, config.dim)
            self.mixers[modality] = FeatureMixer(
                config, catalogue.items, modality, layers=layers, shared=False
            )
        width = (1 + len(self.features)) * config.dim
        self.fusion_norm = nn.LayerNorm(width, eps=1e-12)
        self.fusion = nn.Linear(width, config.dim)
        self.final_norm = self.item_mixer.norm if released else nn.LayerNorm(config.dim, eps=1e-12)
        init_normal(self.features)
        init_normal(self.fusion)

    def forward(self, batch: Batch) -> Output:
        last = last_position(batch)
        mixed = [self.item_mixer(self.items, last, batch)]
        for modality, features in self.features.items():
            mixed.append(self.mixers[modality](features, last, batch))
        state = self.final_norm(self.fusion(self.fusion_norm(torch.cat(mixed, -1))))
        return Output(state.expand(-1, batch.items.shape[1], -1))  # the last position is read

    def item_table(self) -> Tensor:
        return self.items.table()
