"""FindRec as what is very likely its released code computes it: a reading beside the paper's text.

The authors' repository was not available; a third party's public copy of its model files was read
(docs/paper-readings.md says where, and how certain its origin is). No code is taken from it; this
is written from what it computes. Whether the paper's numbers came from that code is unknown.

Where it differs from the paper: text and image have no Mamba layers; each modality has a
variational bottleneck between projection and attention; L_IICM is the mean of a kernel of Stein's
form with learned scores, plus the bottlenecks' KL divergence, with weight 0.1; text attends to
image as well; the gates have temperature 0.1; every Linear weight is redrawn from N(0, 0.01).

With its configuration that code does not run. It is repaired with the smallest changes:
 * Attention runs over the positions of one user, causally. In that code it ran over the users of a
   batch (its tensors had users where the attention expected positions), so that a user's scores
   depended on the other users of the batch. The contract forbids that, and it is not offered.
 * The padding mask is that of each user; in that code it was transposed.
 * The two streams, together of width 2 D, go through a linear layer to D, as in one of the two
   files; the other file gave them to a Mamba stack of width D (`fusion="mamba"` puts that stack
   behind the linear layer).
 * The bottleneck's noise is off at evaluation (`noise_at_evaluation` turns it on).
That code computes the state at the last position of every prefix. Here all positions are computed
at once, which gives the same states: there is one attention layer and its inputs are position-wise,
so with a causal mask each position attends to exactly its prefix.

Glossary
    B users, L positions, D = dim, M = align_dim = H * d over H heads, n sampled positions
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, normalize

from findrec.coordination import (
    BANDWIDTH_FLOOR,
    masked_mean,
    median_of,
    pair_mask,
    rbf,
    sample_positions,
    squared_distances,
)
from findrec.layers import Dropout, FeatureProjection, ItemEmbedding, attention_weights
from findrec.mamba import MambaBlock, MambaSizes
from findrec.ops import dropout, normal
from findrec.recommender import Aux, Batch, Catalogue, Modality, ModelConfig, Output, Recommender
from findrec.routing import gate_statistics

LOG_VARIANCE_LIMIT = 10.0
"""Bound on the log-variance, which the released code lacks: exp of larger values would overflow."""


@dataclass(frozen=True)
class ReleasedFindRecConfig(ModelConfig):
    """Values of the configuration found beside the code, mostly the paper's reading B."""

    dim: int = 128
    max_length: int = 50
    dropout: float = 0.2
    align_dim: int = 256
    """Width of projections, bottlenecks and attention."""
    layers: int = 2
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    alpha: float = 0.1
    heads: int = 8
    experts: int = 4
    router_dim: int = 256
    router_temperature: float = 0.1
    inner_dropout: float = 0.1
    """In bottlenecks, router and fusion."""
    bottleneck_weight: float = 0.1
    """Of the kernel mean plus KL; the paper's lambda is 1e-3."""
    samples: int = 128
    """Positions of the batch that the kernel runs over; there, a batch of 128 prefixes."""
    fusion: Literal["linear", "mamba"] = "linear"
    init: Literal["released", "standard"] = "released"
    """`released` redraws every Linear weight from N(0, 0.01), Mamba's own too, which undoes the
    initialisation of its step size; `standard` leaves them as their layers draw them."""
    noise_at_evaluation: bool = False
    """Samples the bottleneck at evaluation too, so that two evaluations differ."""

    def __post_init__(self) -> None:
        if self.align_dim % self.heads:
            raise ValueError(
                f"align_dim {self.align_dim} does not divide into {self.heads} heads: "
                "change align_dim or heads"
            )


class ReleasedFindRec(Recommender):
    """The released code's computation with the smallest repairs."""

    Config = ReleasedFindRecConfig
    objective = "causal"
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    config: ReleasedFindRecConfig

    def __init__(self, config: ReleasedFindRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        c = config
        self.items = ItemEmbedding(catalogue.items, c.dim, std=0.01)
        self.id_stream = self._mamba("id")
        self.features = nn.ModuleDict()
        self.bottlenecks = nn.ModuleDict()
        for name in self.modalities:
            features = catalogue.features(name)
            if features is not None and bool(features.present.any()):
                self.features[name] = FeatureProjection(features, c.align_dim)
                self.bottlenecks[name] = Bottleneck(c, name)
        self.paired = len(self.features) == 2
        width = c.dim
        if self.features:
            head = c.align_dim // c.heads * len(self.features)
            self.attention = CrossAttention(c, list(self.features))
            self.routing = Routing(c, head)
            self.modal_fusion = nn.Linear(c.heads * c.dim, c.dim)
            self.modal_norm = nn.LayerNorm(c.dim)
            self.modal_dropout = Dropout(c.inner_dropout, "modal_fusion")
            width += c.dim
        if self.paired:
            self.scores = nn.ModuleDict({name: ScoreNetwork(c, name) for name in self.features})
        self.fusion = nn.Linear(width, c.dim)
        self.fusion_norm = nn.LayerNorm(c.dim)
        self.fusion_dropout = Dropout(c.dropout, "fusion")
        self.fusion_stack = self._mamba("fusion") if c.fusion == "mamba" else nn.ModuleList()
        self.final_norm = nn.LayerNorm(c.dim)
        if c.init == "released":
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=0.01)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)

    def _mamba(self, random_stream: str) -> nn.ModuleList:
        c = self.config
        sizes = MambaSizes(c.d_state, c.d_conv, c.expand)
        return nn.ModuleList(
            MambaBlock(c.dim, sizes, c.dropout, f"{random_stream}.{layer}", alpha=c.alpha)
            for layer in range(c.layers)
        )

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D]."""
        z_final = self.items(batch.items)
        for block in self.id_stream:
            z_final = block(z_final, batch)
        aux: dict[str, Tensor] = {}
        if self.features:
            z: dict[str, Tensor] = {}
            for name, project in self.features.items():
                projected = normalize(project(batch.items), dim=-1)
                z[name], aux[f"kl_{name}"] = self.bottlenecks[name](projected, batch)
            modal, gates = self.routing(self.attention(z, batch), batch)
            modal = self.modal_dropout(self.modal_norm(torch.relu(self.modal_fusion(modal))), batch)
            z_final = torch.cat([z_final, normalize(modal, dim=-1)], -1)
            aux["gates"] = gates.detach()
            aux |= z if self.paired else {}
        states = self.fusion_norm(self.fusion(z_final))
        states = self.fusion_dropout(torch.relu(states), batch)
        for block in self.fusion_stack:
            states = block(states, batch)
        return Output(self.final_norm(states), aux if batch.training else {})

    def aux_losses(self, aux: Aux, valid: Tensor, key: Tensor) -> dict[str, Tensor]:
        """`kernel`, the mean of the Stein-like kernel, and `kl`, the mean over the modalities."""
        if not self.features:
            return {}
        length = valid.shape[1]
        index, mask = sample_positions(valid, self.config.samples, key, random_stream="released")
        # A coordinate that padding does not change.
        rows = index // length * self.config.max_length + index % length
        divergences = [
            masked_mean(aux[f"kl_{name}"].flatten()[index], mask) for name in self.features
        ]
        losses = {"kl": torch.stack(divergences).mean()} | gate_statistics(aux["gates"], valid)
        if self.paired:
            x, y = (aux[name].flatten(0, 1)[index] for name in ("image", "text"))
            score_x, score_y = self.scores["image"](x, key, rows), self.scores["text"](y, key, rows)
            kernel = stein_like_kernel(x, score_x, y, score_y, mask)
            losses["kernel"] = masked_mean(kernel.flatten(), pair_mask(mask).flatten())
        return losses

    def aux_loss_weights(self) -> dict[str, float]:
        names = ["kl", "kernel"][: len(self.features)]
        return dict.fromkeys(names, self.config.bottleneck_weight)

    def item_table(self) -> Tensor:
        return self.items.table()


def stein_like_kernel(
    x: Tensor, score_x: Tensor, y: Tensor, score_y: Tensor, mask: Tensor
) -> Tensor:
    """k (s_x . s_y + (x - y) . s_y / v + |x - y|^2 / v^2 - M / v), [n, n], for x, y, s [n, M].

    v = sigma^2 = median of |x_i - y_j|^2 over all pairs, halved. Stein's kernel has
    k (s_x . s_y + (x - y) . (s_x - s_y) / v - |x - y|^2 / v^2 + M / v). So the term in s_x alone is
    absent, and the term in s_y alone and the trace have their signs turned: with both scores zero,
    minimising it draws x and y together. It has no lower bound, since nothing fits s to a score.
    """
    distances = squared_distances(x, y)
    variance = median_of(distances.detach(), pair_mask(mask)) / 2
    variance = variance.clamp(min=max(BANDWIDTH_FLOOR, 0.1**2), max=10.0**2)
    first_order = x @ score_y.transpose(-1, -2) - (y * score_y).sum(-1)
    return rbf(distances, variance) * (
        score_x @ score_y.transpose(-1, -2)
        + first_order / variance
        + distances / variance**2
        - x.shape[-1] / variance
    )


class Bottleneck(nn.Module):
    """Mean and log-variance of a Gaussian per position, a draw from it, and its KL from N(0, I)."""

    def __init__(self, config: ReleasedFindRecConfig, name: str) -> None:
        super().__init__()
        width = config.align_dim
        self.first = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(config.inner_dropout, f"bottleneck.{name}")
        self.second = nn.Linear(width, 2 * width)
        self.always_noisy = config.noise_at_evaluation
        self.random_stream = f"bottleneck.{name}.noise"

    def forward(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B, L, M] -> the draw, of length 1, [B, L, M], and the divergence [B, L]."""
        hidden = nn.functional.gelu(self.dropout(self.norm(self.first(x)), batch))
        mean, log_variance = self.second(hidden).chunk(2, -1)
        log_variance = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        z = mean
        if batch.training or self.always_noisy:
            noise = normal(batch.key, self.random_stream, batch.rows, *mean.shape[1:]).to(
                mean.dtype
            )
            z = mean + noise * (0.5 * log_variance).exp()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return normalize(z, dim=-1), kl


class ScoreNetwork(nn.Module):
    """The learned "score" of the Stein-like kernel: [n, M] -> [n, M]."""

    def __init__(self, config: ReleasedFindRecConfig, name: str) -> None:
        super().__init__()
        width = config.align_dim
        self.first = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width)
        self.second = nn.Linear(2 * width, width)
        self.p = config.inner_dropout
        self.random_stream = f"score.{name}"

    def forward(self, z: Tensor, key: Tensor, rows: Tensor) -> Tensor:
        hidden = dropout(self.norm(self.first(z)), self.p, key, self.random_stream, rows)
        return self.second(nn.functional.gelu(hidden))


class CrossAttention(nn.Module):
    """Image attends to text and text to image, with projections of its own for every head.

    With one modality, its own normalised heads are passed on.
    """

    def __init__(self, config: ReleasedFindRecConfig, names: list[str]) -> None:
        super().__init__()
        width = config.align_dim
        self.heads = config.heads
        self.project = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        self.dropout = nn.ModuleDict(
            {name: Dropout(config.dropout, f"attention.{name}") for name in names}
        )
        head = width // config.heads
        self.to_text = HeadAttention(config, "to_text") if len(names) == 2 else None
        self.to_image = HeadAttention(config, "to_image") if len(names) == 2 else None
        self.scale = nn.Parameter(torch.ones(config.heads, head * len(names)))
        self.shift = nn.Parameter(torch.zeros(config.heads, head * len(names)))

    def forward(self, z: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """name -> [B, L, M]; returns the heads of all modalities, [B, L, H, d or 2 d]."""
        heads = {}
        for name, x in z.items():
            x = self.dropout[name](self.norm[name](self.project[name](x)), batch)
            x = normalize(x, dim=-1).unflatten(-1, (self.heads, -1))
            heads[name] = x / x.shape[-1] ** 0.5
        if self.to_text is not None and self.to_image is not None:
            image, text = heads["image"], heads["text"]
            attended = [
                image + self.to_text(image, text, batch),
                text + self.to_image(text, image, batch),
            ]
        else:
            attended = list(heads.values())
        joined = torch.cat(attended, -1)
        return layer_norm(joined, joined.shape[-1:]) * self.scale + self.shift


class HeadAttention(nn.Module):
    """Single-head attention for each of H heads apart, over the positions up to one's own."""

    def __init__(self, config: ReleasedFindRecConfig, random_stream: str) -> None:
        super().__init__()
        width = config.align_dim // config.heads
        bound = (6 / (4 * width)) ** 0.5  # Xavier's, over query, key and value together
        self.weight = nn.Parameter(
            torch.empty(3, config.heads, width, width).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(3, config.heads, width))
        self.out_weight = nn.Parameter(torch.empty(config.heads, width, width).normal_(std=0.01))
        self.out_bias = nn.Parameter(torch.zeros(config.heads, width))
        self.dropout = Dropout(config.dropout, f"attention.{random_stream}")

    def forward(self, queries: Tensor, others: Tensor, batch: Batch) -> Tensor:
        """Each [B, L, H, d] -> [B, L, H, d]"""
        inputs = (queries, others, others)
        q, k, v = (
            x.transpose(1, 2) @ weight + bias.unsqueeze(1)
            for x, weight, bias in zip(inputs, self.weight, self.bias, strict=True)
        )  # [B, H, L, d]
        weights = self.dropout(attention_weights(q, k, batch.valid, causal=True), batch)
        out = weights @ v @ self.out_weight + self.out_bias.unsqueeze(1)
        return out.transpose(1, 2)


class Routing(nn.Module):
    """Gates at a low temperature over experts with outputs of length 1, shared by the heads."""

    def __init__(self, config: ReleasedFindRecConfig, width: int) -> None:
        super().__init__()
        self.n_experts = config.experts
        self.temperature = config.router_temperature
        self.experts = nn.Linear(width, config.experts * config.dim)
        self.dropout = Dropout(config.dropout, "experts")
        self.router_norm = nn.LayerNorm(width)
        self.router_first = nn.Linear(width, config.router_dim)
        self.router_dropout = Dropout(config.inner_dropout, "router")
        self.router_inner_norm = nn.LayerNorm(config.router_dim)
        self.router_second = nn.Linear(config.router_dim, config.experts)

    def forward(self, heads: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B, L, H, W] -> [B, L, H * D] and the gates [B, L, H, experts]"""
        inner = self.router_first(self.router_norm(normalize(heads, dim=-1)))
        inner = self.router_dropout(nn.functional.gelu(inner), batch)
        logits = self.router_second(self.router_inner_norm(inner))
        gates = (logits / self.temperature).softmax(-1)
        outputs = self.dropout(torch.relu(self.experts(heads)), batch)
        outputs = normalize(outputs.unflatten(-1, (self.n_experts, -1)), dim=-1)
        return (gates.unsqueeze(-1) * outputs).sum(-2).flatten(-2), gates
