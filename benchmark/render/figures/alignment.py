"""Figure 2: what the alignment does to real states, before and after training.

The paper's figure 2 is a drawing. Ours is drawn from a stored run of FindRec, trained for some
hundred steps on a dataset that has both modalities: its snapshot holds the states of the text and
the image stream at the same positions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analyse.alignment import kernel_values, squared_distances
from benchmark.analyse.statistics import FloatArray
from benchmark.render.figures.style import (
    AFTER,
    BEFORE,
    IMAGE_COLOUR,
    QUIET,
    TEXT_COLOUR,
    TWO_COLUMNS,
    figure,
)
from benchmark.runs.schema import RunResult

LINKS = 12
"""Pairs that the figure joins by a line."""


@dataclass(frozen=True)
class States:
    """States of both streams at the same n positions, after LayerNorm without affine, as IICM
    compares them (section 2.2)."""

    text: FloatArray
    """[n, D]"""
    image: FloatArray
    """[n, D]"""


@dataclass(frozen=True)
class Snapshot:
    """One model before and after training."""

    before: States
    after: States
    gates: FloatArray
    """[H, K]: mean gate of every expert in every head after training; each row sums to 1."""
    steps: int


def snapshot_of(run: RunResult) -> Snapshot:
    """What `FindRec.snapshot` left with a finished run. Raises KeyError for a run without it."""
    arrays = {name: a.astype(np.float64) for name, a in run.artefacts["snapshot"].items()}
    before, after = (
        States(arrays[f"{when}.text"], arrays[f"{when}.image"]) for when in ("before", "after")
    )
    return Snapshot(before, after, arrays["after.gates"], run.record.steps)


def principal_plane(states: States) -> tuple[FloatArray, FloatArray, float]:
    """(text [n, 2], image [n, 2], share of variance) in the first two principal components of both
    modalities together. Signs are fixed: each component's largest loading is positive."""
    both = np.concatenate([states.text, states.image])
    centred = both - both.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    share = float((singular[:2] ** 2).sum() / (singular**2).sum())
    flat = centred @ axes.T
    return flat[: len(states.text)], flat[len(states.text) :], share


# ---------------------------------------------------------------- drawing


def draw_alignment(seen: Snapshot, dataset: str) -> Figure:
    """Left and middle: both streams in their principal plane, with kernel contours of either.
    Right: the kernel over pairs of one position against pairs of different ones."""
    drawn = figure(TWO_COLUMNS, 2.75)
    axes = drawn.subplots(1, 3, gridspec_kw={"width_ratios": [1, 1, 0.95]})
    _plane(axes[0], seen.before, f"{dataset}, before training")
    _plane(axes[1], seen.after, f"after {seen.steps} steps")
    legend = drawn.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=7
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    _distributions(axes[2], seen)
    return drawn


def _plane(axes: Axes, states: States, title: str) -> None:
    text, image, share = principal_plane(states)
    both = np.concatenate([text, image])
    low, high = both.min(0), both.max(0)
    margin = 0.18 * (high - low)
    x = np.linspace(low[0] - margin[0], high[0] + margin[0], 90)
    y = np.linspace(low[1] - margin[1], high[1] + margin[1], 90)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    for points, colour, marker, line, label in (
        (text, TEXT_COLOUR, "o", "solid", "text states"),
        (image, IMAGE_COLOUR, "^", "dashed", "image states"),
    ):
        squared = squared_distances(points, points)
        h = np.median(squared[squared > 0]) / np.log(len(points) + 1)
        field = np.exp(-squared_distances(grid, points) / h).mean(1).reshape(90, 90)
        levels = field.max() * np.array([0.15, 0.4, 0.7])
        axes.contour(x, y, field, levels, colors=colour, linewidths=0.8, linestyles=line)
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=6,
            marker=marker,
            color=colour,
            alpha=0.35,
            lw=0,
            label=label,
        )
    for at in np.linspace(0, len(text) - 1, LINKS).astype(int):
        pair = np.stack([text[at], image[at]])
        joined = "the two states of one position" if at == 0 else None
        axes.plot(*pair.T, color=QUIET, lw=0.6, alpha=0.8, label=joined)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[], xlabel=f"2 components, {100 * share:.0f} % of variance")
    axes.grid(False)


def _distributions(axes: Axes, seen: Snapshot) -> None:
    edges = np.linspace(0, 1, 26)
    for at, (states, label) in enumerate([(seen.before, "before"), (seen.after, "after")]):
        paired, unpaired = kernel_values(states.image, states.text)
        colour = (BEFORE, AFTER)[at]
        style: dict[str, Any] = {
            "bins": edges,
            "density": True,
            "histtype": "step",
            "color": colour,
        }
        axes.hist(paired, **style, lw=1.4, label=f"{label}, one position: {paired.mean():.2f}")
        axes.hist(
            unpaired,
            **style,
            lw=0.9,
            ls=(0, (3, 1.5)),
            label=f"{label}, others: {unpaired.mean():.2f}",
        )
    axes.set_title("Kernel K and its mean")
    axes.set(xlabel="K(image, text), eq. 1", ylabel="density")
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.55 * top)
    axes.legend(loc="upper left", fontsize=6.5)
