"""Centring and scaling of features, so that every modality enters a model at the same size.

EfficientNet's vectors have a norm of 17, MiniLM's of 1 and an id embedding of 0.16, and 43 % of the
posters' energy is a mean that all share. Models see (values - mean) / scale, with the mean vector
of the items that have the modality and one scale: the root mean square over all entries is then 1,
and the ratio of any two distances is the encoder's. Layer states have their own constants each,
since layers differ in size as modalities do.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSTANT = 1e-12
"""Deviations this far below the largest value are rounding: the features are all the same."""


@dataclass(frozen=True)
class Scaling:
    """The constants of one array of features: raw = values * scale + mean."""

    mean: NDArray[np.float64]
    """[F]"""
    scale: float
    """Above 0."""

    def apply(self, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """[M, F] raw -> [M, F] centred and scaled, computed in float64."""
        scaled: NDArray[np.float64] = (raw.astype(np.float64) - self.mean) / self.scale
        return scaled.astype(np.float32)


def fit_scaling(raw: NDArray[np.floating]) -> Scaling:
    """The constants of [M, F] features, M >= 0.

    Features that are the same for all items, or none, have the scale 1: they become zero, as
    something that tells no item from another should. Sums are rounded once (`math.fsum`), so that
    the constants, and with them a bundle's hash, are the same on every machine.
    """
    items, width = raw.shape
    if items == 0:
        return Scaling(np.zeros(width), 1.0)
    mean = np.array([math.fsum(column) / items for column in raw.T.astype(np.float64)])
    deviation = raw.astype(np.float64) - mean
    scale = math.sqrt(math.fsum(np.square(deviation).ravel()) / deviation.size)
    if scale <= CONSTANT * float(np.abs(raw).max(initial=0)):
        scale = 1.0
    return Scaling(mean, scale)
