"""Rows at the paper's widths on synthetic data of the datasets' shape, so that no bundle is needed.

What a training step costs depends on how many items there are, how long the sequences are and how
wide the features, not on what they mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.core import builder
from benchmark.data.sequences import Histories, Queries, Windows
from benchmark.feature_controls import apply_feature_control
from benchmark.plan import spec_of
from benchmark.runs.spec import Precision, RunSpec
from benchmark.settings.registry import get_profile, methods
from benchmark.train.engine import TrainingRun
from findrec.recommender import Attribute, Catalogue, Features


@dataclass(frozen=True)
class Shape:
    """Sizes of a dataset, as its bundle has them (docs/data.md)."""

    items: int
    windows: int
    lengths: tuple[int, ...]
    """Quantiles of the inputs in a training window, evenly spaced from the least to the largest."""
    attributes: dict[str, tuple[int, int]]
    """Values of each attribute and the most that an item has."""


SHAPES = {
    "beauty": Shape(
        2_423,
        4_425,
        (4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 8, 9, 10, 11, 13, 15, 19, 25, 41, 50),
        {"brand": (289, 1), "category": (188, 5)},
    ),
    "ml-100k": Shape(1_349, 1_859, (16, 20, 25, 34, 46, 60, 86, *[100] * 14), {"genre": (18, 6)}),
}
TEXT_WIDTH, IMAGE_WIDTH, LAYERS, LAYER_WIDTH = 384, 1_280, 3, 320
"""Widths of the packaged encoders; both modalities are there on every dataset, as in the paper."""


def trained_rows() -> list[str]:
    """Names of the rows that are trained, the paper's Table 2, the multimodal ones last."""
    shown = [name for name, own in methods().items() if own.category not in ("reading", "arm")]
    rows = [name for name in shown if hasattr(methods()[name].cls, "forward")]
    return sorted(rows, key=lambda name: bool(methods()[name].modalities))


def catalogue(shape: Shape) -> Catalogue:
    """Random features and attributes; every tenth item lacks a picture."""
    generator = torch.Generator().manual_seed(0)
    rows = shape.items + 1

    def features(width: int, present: torch.Tensor) -> Features:
        values = torch.randn(rows, width, generator=generator) * present.unsqueeze(1)
        layers = torch.randn(rows, LAYERS, LAYER_WIDTH, generator=generator)
        return Features(values, present, layers * present[:, None, None])

    some, most = torch.arange(rows) > 0, torch.arange(rows) % 10 > 0
    attributes = {
        name: Attribute(torch.randint(0, size + 1, (rows, many), generator=generator), size)
        for name, (size, many) in shape.attributes.items()
    }
    return Catalogue(
        shape.items, features(TEXT_WIDTH, some), features(IMAGE_WIDTH, most), attributes
    )


def windows(shape: Shape, length: int, most: int | None = None) -> Windows:
    """Windows of `length` inputs with lengths as the dataset's; `most`: how many at most."""
    rng = np.random.default_rng(0)
    count = min(shape.windows, most or shape.windows)
    grid = np.linspace(0, 1, len(shape.lengths))
    inputs = np.interp(rng.random(count), grid, shape.lengths).astype(np.int64)
    inputs[0] = max(shape.lengths)
    held = np.minimum(inputs, length) + 1
    items = rng.integers(1, shape.items + 1, (count, length + 1))
    items[np.arange(length + 1) >= held[:, None]] = 0
    return Windows(items, np.zeros(count, np.int64), np.arange(count))


NO_QUERIES = Queries(*(np.zeros(0, np.int64) for _ in range(6)))
"""Nothing is evaluated."""


def spec_at(row: str, dataset: str, *, profile: str) -> RunSpec:
    """The row's settings on the dataset under a profile."""
    return spec_of(row, dataset, get_profile(profile))


def training_run(
    spec: RunSpec,
    seeds: Sequence[int],
    device: torch.device,
    *,
    capture: bool,
    precision: Precision = "fp32",
    most_windows: int | None = None,
) -> TrainingRun:
    """A run of a spec on synthetic data, about to take its first step.

    capture: whether its steps become CUDA graphs where the device can have them.
    """
    shape = SHAPES[spec.dataset]
    everything = Histories(np.arange(1, shape.items + 1), np.array([0, shape.items]))
    fed = apply_feature_control(catalogue(shape), spec, everything, seeds[0])
    training = spec.with_training(precision=precision).training
    assert training is not None
    data = windows(shape, spec.protocol.max_length, most_windows)
    run = TrainingRun(
        builder(spec, fed), training, data, NO_QUERIES, seeds, device, None, lambda _: None, None
    )
    if not capture:
        run.fixed_step.capture = None
    return run
