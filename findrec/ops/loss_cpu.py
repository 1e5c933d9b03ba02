"""Softmax, loss and gradient of one chunk of logits as compiled loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from findrec.ops.compiled import compiled
from findrec.ops.exponential import PER_LN2, exp2

Array = NDArray[np.floating[Any]]


@compiled(
    "int64, int64, real[:,::1], real[::1], int64[::1], real[::1], real[::1], boolean",
    fastmath=("contract", "reassoc"),
)
def softmax(
    start: int,
    stop: int,
    logits: Array,
    largest: Array,
    targets: NDArray[np.int64],
    weights: Array,
    losses: Array,
    differentiate: bool,
) -> None:
    """Rows start .. stop - 1 of logits [M, N]; largest, targets, weights, losses: [M].

    losses = weights * cross-entropy; the logits are overwritten, with `differentiate` by their
    gradient. Rows of weight 0 are not looked at. `reassoc` lets the sums run in vectors.
    """
    real = logits.dtype.type
    zero, one, per_ln2 = real(0), real(1), real(PER_LN2)
    for m in range(start, stop):
        row = logits[m]
        weight = weights[m]
        if weight == zero:
            losses[m] = zero
            for n in range(row.shape[0]):
                row[n] = zero
            continue
        top = largest[m]
        chosen = row[targets[m]]
        total = zero
        for n in range(row.shape[0]):
            e = exp2((row[n] - top) * per_ln2)
            row[n] = e
            total += e
        losses[m] = weight * (np.log(total) + (top - chosen))
        if differentiate:
            scale = weight * (one / total)
            for n in range(row.shape[0]):
                row[n] *= scale
            row[targets[m]] -= weight
