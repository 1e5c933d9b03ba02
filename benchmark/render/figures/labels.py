"""Names at the ends of lines, where a legend would send the eye to and fro."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from benchmark.render.figures.style import INK, QUIET


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends, in the units of its axes, and what it is called."""

    x: float
    y: float
    text: str
    bold: bool = False


def name_ends(panel: Axes, ends: Sequence[LineEnd], *, size: float = 6.5) -> None:
    """Write every line's name right of all lines, none over another and none over the panel's
    title; thin lines join them to the ends. The y axis must have its limits; the x axis is widened
    to make room."""
    if not ends:
        return
    points = 72 / panel.figure.dpi
    left, right = panel.get_xlim()
    width = right - left
    longest = max(len(end.text) for end in ends)
    share = 0.6 * size * longest / (panel.bbox.width * points)  # a letter is 0.6 of the size wide
    panel.set_xlim(left, left + width / max(1 - share, 0.4))
    low, high = panel.get_ylim()
    gap = 1.25 * size / (panel.bbox.height * points)
    apart = spread([(end.y - low) / (high - low) for end in ends], gap, 1 - gap / 2)
    for end, y in zip(ends, apart, strict=True):
        panel.annotate(
            end.text, (end.x, end.y), (right + 0.06 * width, low + y * (high - low)), va="center",
            fontsize=size, color=INK, fontweight="bold" if end.bold else "normal",
            annotation_clip=False, zorder=5,
            arrowprops={
                "arrowstyle": "-", "color": QUIET, "lw": 0.4, "shrinkA": 1, "shrinkB": 4,
                "relpos": (0, 0.5),  # from the name's beginning, not across other names
            },
        )  # fmt: skip


def spread(places: Sequence[float], gap: float, highest: float = np.inf) -> npt.NDArray[np.float64]:
    """Places moved as little as possible in the sense of least squares, in their order, `gap` apart
    at least and none above `highest`.

    With y_i = place_i - i * gap in sorted order the conditions are that y rises and that its last
    value, hence every value, is at most highest - (n - 1) * gap. The answer is the isotonic
    regression of y (pool adjacent violators), cut at that bound.
    """
    order = np.argsort(places, kind="stable")
    wanted = np.asarray(places, float)[order] - gap * np.arange(len(places))
    pools: list[tuple[float, int]] = []
    for value in wanted:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, m), (before, n) = pools.pop(), pools.pop()
            pools.append(((before * n + last * m) / (n + m), n + m))
    fitted = np.concatenate([np.full(n, value) for value, n in pools]) if pools else np.empty(0)
    fitted = np.minimum(fitted, highest - gap * (len(places) - 1))
    moved = np.empty(len(places))
    moved[order] = fitted + gap * np.arange(len(places))
    return moved
