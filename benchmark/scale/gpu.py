"""Time and memory of training on one GPU, by the cost model of docs/performance.md.

A step takes between the largest and the sum of three times: its bytes over the memory's bandwidth,
its float32 products over the peak of the multiplication units, and its kernels as parts of a graph.
The table there, counted for one seed on Beauty (2,423 items, 5,317 positions of 256 windows after
its batch is cut into parts), gives what a position costs. What depends on the catalogue is added:
the passes over the logits, the products that make them and their gradients, and the optimizer's
passes over the item table. Nothing of it has been measured on a GPU.
"""

from dataclasses import dataclass

BANDWIDTH = 3.35e12
"""Bytes a second, as published for the H100 SXM, which docs/performance.md counts with."""
FLOPS = 67e12
"""Float32 operations a second, without tensor cores, likewise."""
KERNEL = 1.5e-6
"""Seconds a kernel of a graph: a guess, as it says there."""
GPU_BYTES = 80e9

WINDOWS = 256
"""In a step."""
POSITIONS = 5_317
"""In a step, after a batch of Beauty is cut into parts; other data are taken to be as long."""
BEAUTY_ITEMS = 2_423

LOGIT_PASSES = 13
"""Over the logits of a full softmax in a step."""
SAMPLED_PASSES = 13
"""The same of a sampled one, whose logits are fewer: taken to be as many."""
TABLE_PASSES = 9
"""Over the item table in a step: gradient written and read, parameter and two moments read and
written, and the gradient set to zero."""
RANKING_PASSES = 5
"""Over the scores of a query when it is ranked."""


@dataclass(frozen=True)
class Row:
    """A row of the table in docs/performance.md: a seed's step on Beauty at the paper's widths."""

    name: str
    dim: int
    """Width of the states that score items."""
    gigabytes: float
    teraflop: float
    kernels: int


ROWS = (Row("SASRec", 64, 1.8, 0.008, 762), Row("FindRec", 64, 19.7, 0.291, 2_689))
"""Kernels are those of a stack of ten."""


@dataclass(frozen=True)
class Step:
    """A training step of a stack of seeds."""

    memory: float
    products: float
    kernels: float
    """Seconds of each."""

    @property
    def least(self) -> float:
        return max(self.memory, self.products, self.kernels)

    @property
    def most(self) -> float:
        return self.memory + self.products + self.kernels


def step(row: Row, items: int, seeds: int, negatives: int | None = None) -> Step:
    """items: of the catalogue. negatives: items drawn in a step for a sampled softmax."""
    competing = items if negatives is None else negatives
    passes = LOGIT_PASSES if negatives is None else SAMPLED_PASSES
    logits = POSITIONS * (competing * passes - BEAUTY_ITEMS * LOGIT_PASSES) * 4
    table = (items - BEAUTY_ITEMS) * row.dim * 4 * TABLE_PASSES
    products = 6 * POSITIONS * (competing - BEAUTY_ITEMS) * row.dim
    return Step(
        seeds * (row.gigabytes * 1e9 + logits + table) / BANDWIDTH,
        seeds * (row.teraflop * 1e12 + products) / FLOPS,
        row.kernels * KERNEL,
    )


def ranking(row: Row, items: int, queries: int, seeds: int) -> float:
    """Seconds of ranking every item for each query, at least: the passes over the scores."""
    return seeds * queries * items * 4 * RANKING_PASSES / BANDWIDTH


def table_bytes(row: Row, items: int, seeds: int) -> float:
    """The item table, its gradient and AdamW's two moments."""
    return 16.0 * seeds * items * row.dim
