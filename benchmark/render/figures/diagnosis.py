"""The diagnosis as one picture: which protocol puts our rows where the printed ones are?"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmark.analyse.diagnosis import Fit
from benchmark.evaluate.metrics import PAPER_METRICS
from benchmark.render.figures.style import (
    FAINT,
    FIT_COLOURS,
    INK,
    QUIET,
    TWO_COLUMNS,
    figure,
    method_style,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.diagnosis import chosen

PANELS: Sequence[tuple[str, str, str | None]] = (
    ("NDCG@10", "NDCG@10", None),
    ("NDCG@5 / @10", "NDCG@5", "NDCG@10"),
    ("MRR / NDCG @10", "MRR@10", "NDCG@10"),
)
"""Title, numerator and denominator: the level, and two shapes."""

SHAPES = (0.4, 1.1)
"""What is shown of a shape; marks further out stand at the edge as small arrows."""

BAND = "#e9dfc7"


def draw_diagnosis(fits: Sequence[Fit], datasets: Mapping[str, DatasetNote]) -> Figure:
    """A row a dataset. In each panel a line a hypothesis, best first, with a mark for every row of
    ours as the hypothesis predicts it; above them open marks at the printed numbers, and a band
    down from them. A hypothesis fits where its marks lie in the band in all three panels.

    fits: by dataset, in the order of the lines.
    """
    shown = {
        name: [fit for fit in fits if fit.dataset == name and fit.predictions] for name in datasets
    }
    shown = {name: own for name, own in shown.items() if own}
    if not shown:
        drawn = figure(TWO_COLUMNS, 1.0)
        panel = drawn.subplots()
        panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
        panel.set_axis_off()
        return drawn
    heights = [len(own) + 1.6 for own in shown.values()]
    drawn = figure(TWO_COLUMNS, 0.27 * sum(heights) + 0.45 * len(shown) + 0.3)
    axes = drawn.subplots(
        len(shown), len(PANELS), squeeze=False, height_ratios=heights, width_ratios=[1.35, 1, 1]
    )
    for panels, (name, own) in zip(axes, shown.items(), strict=True):
        for panel, (title, metric, base) in zip(panels, PANELS, strict=True):
            _panel(panel, own, metric, base)
            panel.set_title(title)
        panels[0].set_title(f"{datasets[name].title}: {PANELS[0][0]}")
        panels[0].set_yticks(range(-1, len(own)), ["printed", *(_label(fit) for fit in own)])
        panels[0].tick_params(axis="y", labelsize=6.5)
        for label, fit in zip(panels[0].get_yticklabels()[1:], own, strict=True):
            label.set_color(FIT_COLOURS.get(fit.verdict, INK))
        for at, fit in enumerate(own):
            panels[-1].text(
                1.03, at, _verdict(fit), transform=panels[-1].get_yaxis_transform(), va="center",
                fontsize=6.5, color=FIT_COLOURS.get(fit.verdict, QUIET),
                weight="bold" if fit.verdict in FIT_COLOURS else "normal",
            )  # fmt: skip
    handles = {
        label: handle
        for panel in axes.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=6, fontsize=6.5)
    return drawn


def _panel(panel: Axes, fits: Sequence[Fit], metric: str, base: str | None) -> None:
    printed = [
        _value(found.printed, metric, base)
        for found in fits[0].predictions.values()
        if found.printed is not None
    ]
    panel.axvspan(min(printed), max(printed), color=BAND, lw=0, zorder=0)
    marks = [*printed]
    for at, fit in enumerate(fits):
        panel.axhline(at, color=FAINT, lw=0.5, zorder=1)
        rows = list(fit.predictions.items())
        for place, (row, found) in enumerate(rows):
            style = method_style(row)
            height = at + 0.42 * (place - (len(rows) - 1) / 2) / max(len(rows) - 1, 1)
            value = _value(found.values, metric, base)
            if base is not None and math.isfinite(value) and not SHAPES[0] < value < SHAPES[1]:
                left = value <= SHAPES[0]
                panel.plot(
                    SHAPES[0] + 0.015 if left else SHAPES[1] - 0.015, height, color=style.colour,
                    marker="<" if left else ">", ls="none", ms=2.6, mfc="white", mew=0.7,
                )  # fmt: skip
            elif math.isfinite(value) and value > 0:
                marks.append(value)
                if base is None:
                    ends = (_value(found.low, metric, base), _value(found.high, metric, base))
                    panel.plot(ends, (height, height), color=style.colour, lw=0.7, zorder=2)
                panel.plot(
                    value, height, color=style.colour, marker=style.marker, ls="none", ms=3.6,
                    label=row if found.printed is not None else f"{row} (not printed)", zorder=3,
                )  # fmt: skip
            if at == 0 and found.printed is not None:
                panel.plot(
                    _value(found.printed, metric, base), -1 + height, color=style.colour, ms=4.2,
                    marker=style.marker, ls="none", mfc="white", mew=1.0, zorder=3,
                )  # fmt: skip
    panel.set_ylim(len(fits) - 0.4, -1.6)
    panel.grid(False)
    panel.set_yticks(range(-1, len(fits)), [""] * (len(fits) + 1))
    if base is None:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        # by the marks alone: an interval that ends near zero would squeeze them on this scale
        low, high = min(marks) / 1.5, panel.get_xlim()[1]
        panel.set_xlim(low, high)
        levels = (0.001, 0.01, 0.1) if high / low > 100 else (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
        panel.set_xticks([level for level in levels if low <= level <= high])
        panel.xaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_xlim(*SHAPES)


def _verdict(fit: Fit) -> str:
    """Of all that was predicted, and of this dataset alone where that says something else."""
    if fit.others is None or not fit.elsewhere or fit.others.verdict == fit.verdict:
        return fit.verdict
    return f"{fit.verdict}\n(here alone: {fit.others.verdict})"


def _value(metrics: np.ndarray, metric: str, base: str | None) -> float:
    value = float(metrics[PAPER_METRICS.index(metric)])
    if base is None:
        return value
    below = float(metrics[PAPER_METRICS.index(base)])
    return value / below if below else math.nan


def _label(fit: Fit) -> str:
    """The hypothesis, and under it what was fitted."""
    said = chosen(fit)
    return f"{fit.hypothesis.name}\n{said}" if said else fit.hypothesis.name
