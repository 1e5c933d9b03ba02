"""Every choice of FindRec: what the paper says, and a switch for what it leaves open.

The defaults are the paper's text (reading A of its two "Implementation Details" paragraphs, with
reading B's values where A has none). docs/paper-readings.md lists the open choices with their
alternatives.
"""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from findrec.mamba import MambaSizes
from findrec.recommender import ModelConfig
from findrec.routing import Attention


@dataclass(frozen=True)
class StreamsConfig(ModelConfig):
    """Of the streams of section 2.1, which FindRec and late fusion share."""

    dim: int = 64
    """D, width of item embeddings and of the ID stream. Section 3.3: 64 for Beauty and ML-100k, 128
    for MicroLens; 128 everywhere in reading B."""
    max_length: int = 50
    """Section 3.3: 50 for Beauty and MicroLens, 100 for ML-100k; 50 everywhere in reading B."""
    dropout: float = 0.3
    """Section 3.3: 0.3 for Beauty and MicroLens, 0.2 for ML-100k; 0.2 everywhere in reading B."""

    align_dim: int = 512
    """Width of the text and image streams. Section 3.3: 512; reading B 256; swept in table 8."""

    layers: int = 2
    """Mamba layers of the ID stream; swept in table 7."""
    modality_layers: int | None = None
    """Mamba layers of the text and image streams; None for as many as `layers`. Figure 1 names
    "Mamba-FFN" and "modality-specific encoders" without a number; 0 leaves a projection."""
    d_state: int = 16
    """Section 3.3, reading B."""
    d_conv: int = 4
    """Not in the paper; Mamba's default."""
    expand: int = 2
    """Section 3.3, reading B."""
    alpha: float = 0.1
    """Start of the learnable residual scale of section 2.1; the released code's value."""
    feed_forward: bool = False
    """Follows every Mamba layer by a feed-forward layer, as figure 1's "Mamba-FFN" may mean."""

    @property
    def mamba(self) -> MambaSizes:
        """Sizes of every Mamba layer."""
        return MambaSizes(self.d_state, self.d_conv, self.expand)

    @property
    def depth_of_modalities(self) -> int:
        """Mamba layers of the text and image streams."""
        return self.layers if self.modality_layers is None else self.modality_layers


@dataclass(frozen=True)
class FindRecConfig(StreamsConfig):
    """FindRec's configuration. Raises ValueError for values that make no model."""

    # Input of the ID stream, section 2.1
    id_input: Literal["id", "fused"] = "id"
    """Input of the ID stream: e_id, or e_fused = Concat(e_id, e_txt, e_img) projected to D, which
    section 2.1 defines and never uses."""

    # Coordination, section 2.2
    iicm_weight: float = 1e-3
    """lambda of eq. 5, swept in table 6; 0 is the ablation "w/o IICM"."""
    iicm_sign: Literal["text", "equation"] = "text"
    """`text` maximises E[K], as the text says; `equation` minimises it, as eqs. 2 and 5 do."""
    iicm_entropy: float = 0.01
    """beta, the weight of the entropy term in L_IICM; the paper gives neither formula nor weight.
    At D = 64 this makes its gradient about as large as the alignment's. 0 leaves it out."""
    iicm_kl: float = 0.0
    """Weight of a KL divergence from N(0, I) in L_IICM; section 2.2 names one without a formula."""
    iicm_align: Literal["image-text", "id"] = "image-text"
    """Image with text (eq. 1), or both with the ID stream (abstract and contributions)."""
    iicm_positions: Literal["all", "last"] = "all"
    """Samples: every valid position, or each user's last (the "last" of eq. 1, taken literally)."""
    iicm_pairs: Literal["paired", "all"] = "paired"
    """E[K] of eq. 2 over image and text of the same position, or over all pairs of samples."""
    iicm_bandwidth: Literal["median", "svgd"] = "median"
    """sigma^2 = median of squared distances; or 2 sigma^2 = h = median / log(n + 1), as in the
    Stein variational gradient descent that section 2.2 cites (figure 2 writes h)."""
    iicm_samples: int = 256
    """n, positions of the batch that L_IICM is estimated on."""
    iicm_ridge: float = 0.1
    """eta of the Stein gradient estimator."""

    # Attention and routing, section 2.3
    heads: int = 8
    """H, swept in table 9."""
    attention: Attention = "positions"
    """What cross-attention runs over; `none` is the ablation "w/o Cross-Attn"."""
    experts: int = 4
    """N_e, swept in figure 3; 1 is the ablation "w/o MoE": one expert of the same width."""
    router_temperature: float = 1.0
    """Of the softmax over experts; the paper has none, the released code 0.1."""

    # Fusion and prediction, section 2.4
    fusion: Literal["ffn", "sum"] = "ffn"
    """S = FFN(z_final), eq. 4; or S = z_id + Linear(O_exp), which leaves the ID stream's state in
    S as it is."""
    score_with: Literal["id", "fused"] = "id"
    """Items are scored by e_id, or by e_fused projected to D."""

    def __post_init__(self) -> None:
        for name in ("dim", "align_dim", "max_length", "heads", "experts", "iicm_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.align_dim % self.heads:
            raise ValueError(
                f"align_dim {self.align_dim} does not divide into {self.heads} heads: "
                "change align_dim or heads"
            )
        for name in ("iicm_weight", "iicm_entropy", "iicm_kl"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"{name} is {getattr(self, name)}: weights are at least 0; to minimise the "
                    'kernel mean set iicm_sign to "equation"'
                )
        for name in ("iicm_ridge", "router_temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise ValueError(f"{name} is {value!r}: choose one of {get_args(hint)}")
