"""Integrated information coordination, IICM (paper, section 2.2): align streams, keep entropy.

    L_IICM = -E[K(z_img, z_txt)] + beta * (s(z_txt) + s(z_img)) + gamma * KL

Glossary
    n         samples: valid positions of the batch, of which `mask` [n] marks the real ones
    z         [n, D] a stream's states, after LayerNorm without affine
    K         RBF kernel exp(-|x - y|^2 / (2 sigma^2)), eq. 1
    g         [n, D] estimate of grad log q(z), the score of the density that z comes from
    s(z)      surrogate whose gradient is minus the entropy's: minimising it raises the entropy

Where the paper leaves something open, the choice is a field of `FindRecConfig` named `iicm_*`:
 * Eq. 2 defines L_IICM = E[K] and eq. 5 adds it to a minimised loss, which would push the streams
   apart; the text says that it draws them together. The text is followed.
 * The entropy term has no formula. Its gradient is the Stein gradient estimator's (Li and Turner
   2018, eq. 7, which the section describes): with H = -E[log q(z)], the gradient of H along a
   sample z_i is -g_i / n, so s(z) = mean(sum(g * z)) with g held constant.
 * Without LayerNorm the entropy would grow with the scale of z alone, without bound.
 * sigma^2 is the median of |x_i - y_j|^2 over all pairs i != j of the samples. Over the aligned
   pairs alone, E[K] would be near exp(-1/2) however well or badly they are aligned.
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from findrec.config import FindRecConfig
from findrec.ops import uniform
from findrec.recommender import Aux

BANDWIDTH_FLOOR = 1e-4
"""Least sigma^2; states after LayerNorm have |z|^2 = D, so this is far below any distance met."""


def coordination_losses(
    config: FindRecConfig, aux: Aux, valid: Tensor, key: Tensor
) -> dict[str, Tensor]:
    """The parts of L_IICM by name: `alignment`, `entropy`, `kl`, each summed over pairs of streams.

    aux: `text`, `image` and, if they are aligned with it, `id`, each [B, L, D]; `has_text` and
    `has_image` [B, L] bool, the positions whose item has the modality. valid: [B, L] bool.
    """
    modalities = [name for name in ("text", "image") if name in aux]
    if config.iicm_align == "id":
        pairs = [(name, "id") for name in modalities]
    else:
        pairs = [("text", "image")]
    losses: dict[str, Tensor] = {}
    for pair in pairs:
        eligible = valid
        for name in pair:
            if name in modalities:
                eligible = eligible & aux[f"has_{name}"]
        if config.iicm_positions == "last":
            eligible = last_only(eligible)
        index, mask = sample_positions(
            eligible, config.iicm_samples, key, random_stream="-".join(pair)
        )
        x, y = (normalise(aux[name].flatten(0, 1)[index]) for name in pair)
        streams = [z for name, z in zip(pair, (x, y), strict=True) if name in modalities]
        for name, value in pair_losses(config, x, y, streams, mask).items():
            losses[name] = losses[name] + value if name in losses else value
    return losses


def pair_losses(
    config: FindRecConfig, x: Tensor, y: Tensor, streams: list[Tensor], mask: Tensor
) -> dict[str, Tensor]:
    """The parts for one pair of streams x, y [n, D]; `streams`: those that are regularised."""
    kernel = mean_kernel(x, y, mask, pairs=config.iicm_pairs, bandwidth=config.iicm_bandwidth)
    losses = {"alignment": -kernel if config.iicm_sign == "text" else kernel}
    if config.iicm_entropy > 0:
        ridge = config.iicm_ridge
        losses["entropy"] = torch.stack([entropy_surrogate(z, mask, ridge) for z in streams]).sum()
    if config.iicm_kl > 0:
        losses["kl"] = torch.stack([kl_to_standard_normal(z, mask) for z in streams]).sum()
    return losses


def coordination_weights(config: FindRecConfig) -> dict[str, float]:
    """Weights of L_IICM's parts in the loss of eq. 5: lambda times their weight in L_IICM."""
    weights = {"alignment": 1.0, "entropy": config.iicm_entropy, "kl": config.iicm_kl}
    return {name: config.iicm_weight * weight for name, weight in weights.items() if weight > 0}


# ---- samples ------------------------------------------------------------------------------------


def sample_positions(
    eligible: Tensor, n: int, key: Tensor, *, random_stream: str
) -> tuple[Tensor, Tensor]:
    """At most n eligible positions of a batch, users first.

    Positions of one user are not independent samples, so one position of every user is taken before
    a second one of any. eligible: [B, L] bool. Returns indices into the flattened batch and whether
    each is real, both [min(n, B * L)]: the shape never depends on the data. Draws are keyed by row
    and position.
    """
    users, length = eligible.shape
    rows = torch.arange(users, device=eligible.device)
    draws = uniform(key, f"iicm.position.{random_stream}", rows, length)
    order = torch.where(eligible, draws, 2.0).argsort(dim=-1, stable=True)
    rank = order.argsort(dim=-1)  # [B, L]: 0 for the position of a user that is taken first
    priority = rank + uniform(key, f"iicm.user.{random_stream}", rows).unsqueeze(-1)
    priority = torch.where(eligible, priority, float("inf")).flatten()
    index = priority.argsort(stable=True)[: min(n, users * length)]
    return index, eligible.flatten()[index]


def last_only(eligible: Tensor) -> Tensor:
    """[B, L] bool -> the last True of every row."""
    following = eligible.flip(-1).cumsum(-1).flip(-1)
    return eligible & (following == 1)


def normalise(z: Tensor) -> Tensor:
    """LayerNorm without affine, [n, D]."""
    return layer_norm(z, z.shape[-1:])


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [n] where mask [n]; 0 where nothing is."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


# ---- kernel and alignment (eqs. 1 and 2) --------------------------------------------------------


def mean_kernel(x: Tensor, y: Tensor, mask: Tensor, *, pairs: str, bandwidth: str) -> Tensor:
    """E[K(x, y)], eq. 2, over the pairs of one position or over all of them.

    x, y: [n, D]; mask: [n]. bandwidth: `median`, sigma^2 = median; `svgd`, 2 sigma^2 = h =
    median / log(n + 1) (Liu and Wang 2016, section 5), which figure 2's h may be.
    """
    between = pair_mask(mask)
    with torch.no_grad():
        variance = median_of(squared_distances(x, y), between & ~_diagonal(mask))
        if bandwidth == "svgd":
            variance = variance / (2 * (mask.sum() + 1).to(x.dtype).log())
        variance = variance.clamp(min=BANDWIDTH_FLOOR)
    if pairs == "all":
        kernel = rbf(squared_distances(x, y), variance)
        return masked_mean(kernel.flatten(), between.flatten())
    return masked_mean(rbf((x - y).square().sum(-1), variance), mask)  # eq. 1


def rbf(distances: Tensor, variance: Tensor) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)), eq. 1, from squared distances."""
    return torch.exp(-distances / (2 * variance))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, [n, D] x [m, D] -> [n, m]"""
    squares = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * x @ y.transpose(-1, -2)).clamp(min=0)


def median_of(values: Tensor, mask: Tensor) -> Tensor:
    """Lower median of the values where the mask is set; 1 where it is nowhere set."""
    chosen = torch.where(mask, values, float("nan")).flatten()
    return torch.nanmedian(chosen, -1).values.nan_to_num(nan=1.0)


def pair_mask(mask: Tensor) -> Tensor:
    """[n] -> [n, n]: both are real."""
    return mask.unsqueeze(-1) & mask.unsqueeze(-2)


def _diagonal(mask: Tensor) -> Tensor:
    return torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)


# ---- entropy ------------------------------------------------------------------------------------


@torch.no_grad()
def stein_score(z: Tensor, mask: Tensor, ridge: float) -> Tensor:
    """Stein gradient estimate of grad log q at every sample: G = -(K + eta I)^-1 <grad, K>.

    z: [n, D], mask: [n]; returns [n, D], zero where masked. <grad, K>_i is the sum over j of
    grad_{z_j} K(z_i, z_j). Masked samples are unit rows of K, so that the rest is solved as if
    they were not there. The estimate shrinks towards zero as the dimension grows: its slope on the
    true score of a standard Gaussian is about 1 for D <= 4 at n = 2,000, 0.8 for D = 64 at n = 256
    and 0.5 for D = n = 512, all with eta = 0.1.
    """
    both, diagonal = pair_mask(mask), _diagonal(mask)
    distances = squared_distances(z, z)
    variance = median_of(distances, both & ~diagonal).clamp(min=BANDWIDTH_FLOOR)
    kernel = torch.where(both & ~diagonal, rbf(distances, variance), 0)
    gradient = (kernel.sum(-1, keepdim=True) * z - kernel @ z) / variance
    gradient = torch.where(mask.unsqueeze(-1), gradient, 0)
    factor, _ = torch.linalg.cholesky_ex(kernel + diagonal * (1 + ridge))
    half = torch.linalg.solve_triangular(factor, gradient, upper=False)
    return -torch.linalg.solve_triangular(factor.transpose(-1, -2), half, upper=True)


def entropy_surrogate(z: Tensor, mask: Tensor, ridge: float) -> Tensor:
    """s(z) = mean(sum(g * z)), g constant; its gradient is minus that of the entropy of z."""
    return masked_mean((stein_score(z, mask, ridge) * z).sum(-1), mask)


def kl_to_standard_normal(z: Tensor, mask: Tensor) -> Tensor:
    """KL of a Gaussian with the means and variances of z's channels from N(0, I), per channel.

    One reading of "KL divergence regularization", which section 2.2 names without a formula.
    """
    weight = (mask / mask.sum().clamp(min=1)).unsqueeze(-1).to(z.dtype)
    mean = (weight * z).sum(0)
    variance = (weight * (z - mean).square()).sum(0).clamp(min=BANDWIDTH_FLOOR)
    return 0.5 * (mean.square() + variance - 1 - variance.log()).mean()
