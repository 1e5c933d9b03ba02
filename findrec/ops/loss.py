"""Full-softmax cross-entropy."""

from torch import Tensor


def cross_entropy(states: Tensor, table: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """sum(weights * CE). states: [M, D]; table: [N, D]; targets: [M] int64 in 0..N - 1; weights: [M]."""
    logits = states @ table.transpose(-1, -2)
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (weights * (logits.logsumexp(-1) - chosen)).sum()
