"""What a constant recovers of a row's price of history items: the curve, and the constant that
recovers most of it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmark.analyse.analysis_plan import split_arm
from benchmark.analyse.dose import MOST, Response
from benchmark.analyse.retention import RetainedRow
from benchmark.plan import OWN_MODEL
from benchmark.render.figures.style import FAINT, QUIET, TWO_COLUMNS, figure, method_style
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.retention import dose_text
from benchmark.runs.ranks import PENALTIES
from benchmark.settings.registry import methods


def draw_doses(
    found: Mapping[str, tuple[Sequence[str], Sequence[RetainedRow]]],
    notes: Mapping[str, DatasetNote],
) -> Figure:
    """A line of panels a dataset. Left, the share of the gap between history kept and left out that
    each constant recovers, a curve a row. Right, in the table's order, the smallest constant that
    recovers most of it with its interval; an arrow where it is larger than all that were counted,
    and a word where no gap is shown. found: as `benchmark.render.tables.retention.retained` gives
    it."""
    shown = _responses(found)
    heights = [max(len(rows), 6) for rows in shown.values()]
    drawn = figure(TWO_COLUMNS, 0.17 * sum(heights) + 0.7 * len(shown) + 0.2)
    axes = drawn.subplots(len(shown), 2, squeeze=False, height_ratios=heights)
    for (curves, constants), (dataset, rows) in zip(axes, shown.items(), strict=True):
        for at, (name, response) in enumerate(rows):
            _curve(curves, name, response)
            _constant(constants, at, name, response)
        curves.axhline(MOST, color=QUIET, lw=0.7, ls=(0, (4, 2)))
        curves.set_xlim(0, PENALTIES[-1])
        curves.set_ylim(0, 1.03)
        curves.yaxis.set_major_formatter(PercentFormatter(1.0))
        curves.set_ylabel("of the gap recovered")
        curves.set_title(notes[dataset].title)
        constants.set_yticks(range(len(rows)), [name for name, _ in rows])
        for label, (name, _) in zip(constants.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if name == OWN_MODEL else "normal")
        constants.set_ylim(len(rows) - 0.5, -0.6)
        constants.set_xlim(0, PENALTIES[-1] * 1.08)
        constants.set_title(f"{MOST:.0%} recovered at".replace("%", " %"))
        for panel in (curves, constants):
            panel.grid(True, axis="x")
            panel.grid(False, axis="y")
            panel.set_xlabel("taken from history items, sd of a query's scores")
    return drawn


def are_there(found: Mapping[str, tuple[Sequence[str], Sequence[RetainedRow]]]) -> bool:
    """Whether any row's runs have lowered scores, which some references lack."""
    return bool(_responses(found))


def _responses(
    found: Mapping[str, tuple[Sequence[str], Sequence[RetainedRow]]],
) -> dict[str, list[tuple[str, Response]]]:
    """Of the datasets that have any."""
    responses = {
        dataset: [(row.name, row.response) for row in rows if row.response is not None]
        for dataset, (_, rows) in found.items()
    }
    return {dataset: rows for dataset, rows in responses.items() if rows}


def _curve(panel: Axes, name: str, response: Response) -> None:
    if response.recovery is None:
        return  # shares of a gap that is not shown are noise
    row, variant = split_arm(name, methods())
    shares = response.shares
    counted = [0.0, *PENALTIES]
    panel.plot(
        counted,
        [shares[c] for c in counted],
        color=method_style(row).colour,
        ls="-" if variant == "base" else (0, (1.2, 1.2)),
        lw=1.8 if name == OWN_MODEL else 0.9,
        zorder=3 if name == OWN_MODEL else 2,
    )


def _constant(panel: Axes, at: int, name: str, response: Response) -> None:
    panel.axhline(at, color=FAINT, lw=0.4, zorder=0)
    recovery = response.recovery
    if recovery is None:
        panel.text(0.05, at, "no gap shown", fontsize=6, color=QUIET, va="center")
        return
    colour = method_style(split_arm(name, methods())[0]).colour
    end = PENALTIES[-1] * 1.04
    low, value, high = (min(part, end) for part in (recovery.low, recovery.constant, recovery.high))
    panel.plot([low, high], [at, at], color=colour, lw=1.1)
    if math.isinf(recovery.constant):
        panel.plot(value, at, ">", color=colour, ms=4)
        panel.text(value - 0.1, at - 0.02, dose_text(np.inf), fontsize=6, ha="right", va="center")
        return
    panel.plot(value, at, "o", color=colour, ms=5 if name == OWN_MODEL else 3.6)
