"""Cross-modal attention and expert routing (paper, section 2.3).

Glossary
    B users, L positions, H heads, d = d_h the width of a head, K = N_e experts
    z_img, z_txt   [B, L, H * d]  the image and the text stream
    O              [B, L, H, d]   image states plus attended text states, per head
    g              [B, L, H, K]   gates: weights of the experts

Both experts and router are shared by the heads: the paper writes Expert_k, without h.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from findrec.layers import Dropout, attention_weights, merge_heads, split_heads
from findrec.recommender import Batch

Attention = Literal["positions", "channels", "none"]
"""What A^h = Softmax(z_img z_txt^T / sqrt(d_h)) runs over.

positions  the positions up to one's own: the streams' last layers as sequences
channels   the d_h channels of one position: z_last as a column vector, taken literally
none       O = z_img + z_txt, the ablation "w/o Cross-Attn"; also what z_last as a row would give,
           since the softmax of a single number is 1
"""


class CrossAttention(nn.Module):
    """O^h = z_img^h + A^h z_txt^h, for every head."""

    def __init__(self, heads: int, over: Attention) -> None:
        super().__init__()
        self.heads = heads
        self.over = over

    def forward(self, image: Tensor, text: Tensor, batch: Batch) -> Tensor:
        """Each [B, L, H * d] -> [B, L, H * d]"""
        if self.over == "none":
            return image + text
        if self.over == "channels":
            return image + self._over_channels(image, text)
        queries, keys = split_heads(image, self.heads), split_heads(text, self.heads)
        weights = attention_weights(queries, keys, batch.valid, causal=True)  # A [B, H, L, L]
        return image + merge_heads(weights @ keys)

    def _over_channels(self, image: Tensor, text: Tensor) -> Tensor:
        rows, columns = (x.unflatten(-1, (self.heads, -1)) for x in (image, text))
        width = rows.shape[-1]
        outer = rows.unsqueeze(-1) * columns.unsqueeze(-2) / width**0.5  # [B, L, H, d, d]
        return (outer.softmax(-1) * columns.unsqueeze(-2)).sum(-1).flatten(-2)


class ExpertRouting(nn.Module):
    """E^h = sum_k g_k^h Expert_k(O^h), the heads concatenated.

    An expert is Linear, ReLU, dropout; the router LayerNorm, Linear, GELU, LayerNorm, Linear,
    softmax. With one expert there is nothing to route and no router: the ablation "w/o MoE".
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        experts: int,
        dropout: float,
        random_stream: str,
        *,
        temperature: float,
    ) -> None:
        super().__init__()
        width = dim // heads
        self.heads = heads
        self.n_experts = experts
        self.temperature = temperature
        self.experts = nn.Linear(width, experts * width)  # all experts side by side
        self.dropout = Dropout(dropout, f"{random_stream}.experts")
        self.router: nn.Module | None = None
        if experts > 1:
            self.router = nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.GELU(),
                nn.LayerNorm(width),
                nn.Linear(width, experts),
            )

    def forward(self, o: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """o: [B, L, H * d] -> O_exp [B, L, H * d] and the gates [B, L, H, K], if there are any."""
        heads = o.unflatten(-1, (self.heads, -1))  # O [B, L, H, d]
        hidden = self.dropout(torch.relu(self.experts(heads)), batch)  # [B, L, H, K * d]
        if self.router is None:
            return hidden.flatten(-2), None
        gates = (self.router(heads) / self.temperature).softmax(-1)
        outputs = hidden.unflatten(-1, (self.n_experts, -1))  # [B, L, H, K, d]
        return (gates.unsqueeze(-1) * outputs).sum(-2).flatten(-2), gates


def gate_statistics(gates: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Mean use of each expert and entropy of the gates; logged, never trained on.

    gates: [B, L, H, K]; valid: [B, L]. `expert_k` is the mean gate over valid positions and heads,
    `gate_entropy` the mean entropy of a gate in units of log K: 1 is uniform, 0 one expert alone.
    """
    gates = gates.detach()
    share = valid / valid.sum().clamp(min=1)
    mean = (gates.mean(2) * share.unsqueeze(-1)).sum((0, 1))
    surprise = -gates.clamp(min=1e-12).log()
    entropy = (gates * surprise).sum(-1).mean(-1) / math.log(gates.shape[-1])
    statistics = {f"expert_{k + 1}": value for k, value in enumerate(mean.unbind())}
    return statistics | {"gate_entropy": (entropy * share).sum()}
