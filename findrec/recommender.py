"""The contract that every model keeps, so that one engine can train, stack and score them all.

A model is an ordinary single-seed `torch.nn.Module`. Other seeds, optimisers, targets and metrics
are not its concern but the engine's.

Glossary (used in every model file)
    N   items in the catalogue; ids run from 1 to N, 0 is padding, N + 1 the cloze mask
    B   users in a batch, L positions of a sequence (padded at the right), D width of a state
    F   width of a frozen encoder's feature vector

Rules that the engine relies on (each has a contract test that a new model inherits)
    * `forward` is strictly per user: no user's row depends on another user's.
    * Sequences are padded at the right, and the values in the padding change no valid state.
    * Randomness comes from `findrec.ops` alone, keyed by `batch.key` and explicit coordinates;
      no `nn.Dropout`, no dropout inside a fused attention, no global generator.
    * Buffers are constants that all seeds share (feature tables); whatever differs between seeds is
      a parameter.
    * Everything in `forward`, `aux_losses` and `item_table` has a `torch.vmap` batching rule, makes
      no data-dependent shape and never reads a tensor's value on the host.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

Objective = Literal["causal", "cloze", "last"]
"""What a model is trained on.

causal  a state at every position predicts the next item
cloze   masked positions predict the item that stood there (BERT4Rec)
last    one state, at a prefix's last position, predicts the next item
"""

Modality = Literal["text", "image"]

Aux = Mapping[str, Tensor]
"""Auxiliary outputs of a model by name, each [B, L, ...]."""


@dataclass(frozen=True)
class FeatureScaling:
    """What features were centred and scaled by: raw = values * scale + mean."""

    mean: Tensor
    """[F] float64; of layers [K, F']."""
    scale: Tensor
    """[1] float64; of layers [K, 1]."""

    def raw(self, values: Tensor, present: Tensor) -> Tensor:
        """[N + 1, F] or [N + 1, K, F'] -> the same in float32 as the encoder made it, with zeros
        where the item lacks the modality."""
        there = present.reshape(-1, *[1] * (values.dim() - 1))
        return (values.double() * self.scale + self.mean).mul(there).float()


@dataclass(frozen=True)
class Features:
    """One modality of all items, from a frozen encoder. Row 0 is padding and zero."""

    values: Tensor
    """[N + 1, F] float32; zero where the item lacks the modality."""
    present: Tensor
    """[N + 1] bool; False for padding and for items that lack the modality."""
    layers: Tensor | None = None
    """[N + 1, K, F'] pooled states after K layers of the encoder, or None where none were kept."""
    scaling: FeatureScaling | None = None
    """What `values` were centred and scaled by; None where they are as the encoder made them."""
    layer_scaling: FeatureScaling | None = None
    """Likewise of `layers`, each with constants of its own."""

    def raw(self) -> "Features":
        """The features as the encoder made them, to the precision of float32."""
        values, layers = self.values, self.layers
        if self.scaling is not None:
            values = self.scaling.raw(values, self.present)
        if layers is not None and self.layer_scaling is not None:
            layers = self.layer_scaling.raw(layers, self.present)
        return Features(values, self.present, layers)


@dataclass(frozen=True)
class Attribute:
    """A categorical attribute, such as genre, brand or category; an item may have several."""

    values: Tensor
    """[N + 1, V] int64; values run from 1 to `size`, 0 fills up."""
    size: int


@dataclass(frozen=True)
class Catalogue:
    """What a model is given about the items besides their ids."""

    items: int
    """N, the number of items."""
    text: Features | None = None
    image: Features | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def features(self, modality: Modality) -> Features | None:
        """The modality's features, or None where the dataset lacks it."""
        return self.text if modality == "text" else self.image

    def available(self, modalities: Sequence[Modality]) -> dict[Modality, Features]:
        """Features of those modalities that the dataset has, in the given order."""
        found = {name: self.features(name) for name in modalities}
        return {name: features for name, features in found.items() if features is not None}


@dataclass(frozen=True)
class ModelConfig:
    """Fields that every model has; a model's own config extends it and documents its sources."""

    dim: int = 64
    """D, width of the item embedding."""
    max_length: int = 50
    """L, the window: at most so many last items of a user are seen."""
    dropout: float = 0.2


@dataclass(frozen=True)
class Batch:
    """Users' sequences, padded at the right."""

    items: Tensor
    """[B, L] int64: 1..N, 0 for padding, N + 1 for the cloze mask."""
    rows: Tensor
    """[B] int64: each user's row in the whole batch, of which this may be a part. A coordinate of
    keyed randomness, so that cutting a batch into groups changes no draw."""
    key: Tensor
    """[2] int64: seed and step."""
    training: bool = False
    """Whether dropout, noise and sampling are on."""
    table: Tensor | None = None
    """[N, D'] the model's `item_table()`, if the caller has computed it: a model whose input
    vectors are the rows of the table need not compute them again. It changes no result."""

    @property
    def valid(self) -> Tensor:
        """[B, L] bool: where a real item (or the cloze mask) stands."""
        return self.items > 0


@dataclass(frozen=True)
class Output:
    """What `forward` returns: states to score with, and auxiliary outputs."""

    states: Tensor
    """[B, L, D']; item i scores the inner product of the state with `item_table()[i - 1]`.
    A `last` model's prediction is read at the last valid position alone."""
    aux: Aux = field(default_factory=dict)
    """What `aux_losses` compares across users."""


class Recommender(nn.Module, ABC):
    """Base class of FindRec and of every baseline.

    Subclasses set the class variables, build themselves from `(config, catalogue)` and write
    `forward` and `item_table`; `aux_losses` only where the loss compares users of a batch.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    objective: ClassVar[Objective] = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ()
    """Modalities that the method uses if the dataset has them."""
    fixed_length: ClassVar[bool] = False
    """True if some weight has the size of the window, so that batches must be padded to it."""

    config: Any
    """An instance of `Config`; subclasses narrow the type."""

    def __init__(self, config: Any, catalogue: Catalogue) -> None:
        super().__init__()
        if not isinstance(config, self.Config):
            raise TypeError(
                f"{type(self).__name__} takes a {self.Config.__name__}, not {type(config).__name__}"
            )
        self.config = config
        self.n_items = catalogue.items

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D'], and auxiliary outputs, each user seen alone."""

    @abstractmethod
    def item_table(self) -> Tensor:
        """[N, D'] vectors that states are scored against; row i - 1 belongs to item i."""

    def aux_losses(self, aux: Aux, valid: Tensor, key: Tensor) -> dict[str, Tensor]:
        """Auxiliary losses by name, each a scalar; here alone may users of a batch be compared.

        aux: `Output.aux` of the whole batch, name -> [B, L, ...], in the order of its rows;
        valid: [B, L] bool; key: [2] int64. Called once a step, in training only.
        """
        return {}

    def aux_loss_weights(self) -> dict[str, float]:
        """Weight of each auxiliary loss; one without a weight is logged and not trained on."""
        return {}
