"""The order in which a seed sees its training windows."""

import numpy as np


class BatchOrder:
    """A seed's endless order of windows: one permutation after another, cut into full batches."""

    def __init__(self, windows: int, seed: int) -> None:
        self.windows, self.seed = windows, seed
        self.epoch = -1
        self.permutation = np.empty(0, dtype=np.int64)

    def batch(self, step: int, size: int) -> np.ndarray:
        """[size] int64 indices of the step's windows; depends on seed and step alone."""
        at = np.arange(step * size, (step + 1) * size)
        chosen = [
            self._epoch(e)[at[at // self.windows == e] % self.windows]
            for e in range(at[0] // self.windows, at[-1] // self.windows + 1)
        ]
        return np.concatenate(chosen)

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.epoch, self.permutation = epoch, rng.permutation(self.windows)
        return self.permutation
