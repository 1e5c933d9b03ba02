"""Hyperparameters against quality, Figure 3 among them.

Levels of ours that would overlap stand side by side at each setting, with their intervals as bars.
The printed numbers have an axis of their own under ours: their level is another one (other
features, widths and steps), and on one axis either would be squashed to a line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.render.figures.style import FAINT, QUIET, SERIES, TWO_COLUMNS, figure
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import SWEEPS

_DODGE = 0.16
"""Between two series at one setting; settings are 1 apart."""


@dataclass(frozen=True)
class _Series:
    """One line of a panel."""

    label: str
    metric: str
    protocol: History
    colour: str
    line: Any
    marker: str
    validation: bool = False


_DASH, _DOT = (0, (4, 1.5)), (0, (1.2, 1.2))


def _fig3_series(family: str, protocol: History) -> tuple[_Series, ...]:
    return (
        _Series("cut-off 10", f"{family}@10", protocol, SERIES[0], "-", "s"),
        _Series("cut-off 5", f"{family}@5", protocol, SERIES[1], _DASH, "o"),
    )


_ALL_SERIES = (
    _Series("test, history kept", "NDCG@10", "kept", SERIES[0], "-", "s"),
    _Series("validation, history kept", "NDCG@10", "kept", SERIES[2], _DOT, "D", validation=True),
    _Series("test, history left out", "NDCG@10", "left out", SERIES[1], _DASH, "v"),
)


def draw_sweep(name: str, cells: pd.DataFrame, datasets: Mapping[str, DatasetNote]) -> Figure:
    """One hyperparameter: a row a dataset and protocol, a panel for NDCG and one for MRR. cells:
    the long form of the sweep's table, test and validation."""
    rows = [(note, protocol) for note in datasets.values() for protocol in PROTOCOLS]
    heights: list[float] = []
    for note, protocol in rows:
        heights += [
            1.0,
            _share_of_printed(_panel_cells(cells, note), _fig3_series("NDCG", protocol)),
        ]
    drawn = figure(TWO_COLUMNS, 1.55 * sum(heights) + 0.45 * len(rows) + 0.35)
    axes = drawn.subplots(
        len(heights), 2, squeeze=False, height_ratios=[h or 0.01 for h in heights]
    )
    for at, (note, protocol) in enumerate(rows):
        for column, family in enumerate(("NDCG", "MRR")):
            above = axes[2 * at][column]
            below = axes[2 * at + 1][column] if heights[2 * at + 1] else None
            _panel(above, below, _panel_cells(cells, note), name, _fig3_series(family, protocol))
            above.set_title(f"{note.title}, {family}, history {protocol}")
    _hide_unused(axes, heights)
    handles = [_handle(series) for series in _fig3_series("NDCG", "kept")]
    handles += [_printed_handle()] * any(heights[1::2])
    drawn.legend(handles=handles, loc="outside lower left", ncols=6)
    return drawn


def draw_all_sweeps(
    cells: Mapping[str, pd.DataFrame], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Every hyperparameter: columns are settings, rows datasets; NDCG@10 on test and validation
    with the history kept, and on test with it left out, on one scale a dataset; under them the
    printed points, where the paper has any."""
    heights: list[float] = []
    for note in datasets.values():
        shares = (_share_of_printed(_panel_cells(f, note), _ALL_SERIES) for f in cells.values())
        heights += [1.0, max(shares, default=0.0)]
    drawn = figure(TWO_COLUMNS, 1.5 * sum(heights) + 0.45 * len(datasets) + 0.35)
    axes = drawn.subplots(
        len(heights),
        len(cells),
        squeeze=False,
        height_ratios=[h or 0.01 for h in heights],
        sharey="row",
    )
    for at, note in enumerate(datasets.values()):
        for column, (name, frame) in enumerate(cells.items()):
            above = axes[2 * at][column]
            below = axes[2 * at + 1][column] if heights[2 * at + 1] else None
            _panel(above, below, _panel_cells(frame, note), name, _ALL_SERIES)
            for panel in axes[2 * at : 2 * at + 2, column]:
                panel.tick_params(labelsize=6.5)
        axes[2 * at][0].set_ylabel(f"{note.title}\nNDCG@10")
        if heights[2 * at + 1]:
            axes[2 * at + 1][0].set_ylabel("printed", color=QUIET)
    _hide_unused(axes, heights)
    handles = [_handle(series) for series in _ALL_SERIES]
    handles += [_printed_handle()] * any(heights[1::2])
    drawn.legend(handles=handles, loc="outside lower left", ncols=4)
    return drawn


def _hide_unused(axes: np.ndarray, heights: Sequence[float]) -> None:
    for row, height in zip(axes, heights, strict=True):
        for panel in row:
            panel.set_visible(height > 0)


def _panel_cells(cells: pd.DataFrame, note: DatasetNote) -> pd.DataFrame:
    return cells[cells["dataset"] == note.name]


def _of(cells: pd.DataFrame, name: str, series: _Series) -> pd.DataFrame:
    """The cells of one line, a row a setting, in the order of the settings."""
    table = name.removeprefix("table") + ("-validation" if series.validation else "")
    return cells[
        (cells["table"] == table)
        & (cells["metric"] == series.metric)
        & (cells["protocol"] == series.protocol)
    ]


def _share_of_printed(cells: pd.DataFrame, all_series: Sequence[_Series]) -> float:
    """Height of the axis of printed numbers, as a share of ours; 0 where none is printed."""
    metrics = {series.metric for series in all_series if series.protocol == "kept"}
    printed = cells[cells["metric"].isin(metrics) & (cells["protocol"] == "kept")]["paper"]
    return 0.42 if printed.notna().any() else 0.0


def _panel(
    above: Axes, below: Axes | None, cells: pd.DataFrame, name: str, all_series: Sequence[_Series]
) -> None:
    """Ours in `above`; the printed numbers in `below`, None where the row of panels has none."""
    settings = _of(cells, name, all_series[0])["column"].tolist()
    lowest = above if below is None else below
    printed = []
    for place, series in enumerate(all_series):
        own = _of(cells, name, series)
        at = np.arange(len(own)) + _DODGE * (place - (len(all_series) - 1) / 2)
        mean, low, high = (own[c].to_numpy(float) for c in ("mean", "ci_low", "ci_high"))
        above.errorbar(
            at, mean, np.abs(np.stack([mean - low, high - mean])), color=series.colour,
            ls=series.line, marker=series.marker, lw=1.0, elinewidth=0.9, ms=3.8,
        )  # fmt: skip
        paper = own["paper"].to_numpy(float)
        if series.validation or series.protocol != "kept" or np.isnan(paper).all():
            continue
        printed.append(paper)
        if below is not None:
            below.plot(
                at, paper, color=series.colour, ls="none", marker=series.marker, mfc="white",
                mew=1.0, ms=3.8, clip_on=False,
            )  # fmt: skip
    above.yaxis.set_major_locator(MaxNLocator(5))
    if cells["mean"].isna().all():
        above.text(0.5, 0.5, "no runs", transform=above.transAxes, ha="center", color=QUIET)
    if below is not None:
        below.yaxis.set_major_locator(MaxNLocator(3))
        below.set_facecolor("#f7f5ef")
        below.spines[["left", "bottom"]].set_color(FAINT)
        if not printed:
            below.text(
                0.5, 0.5, "not printed", transform=below.transAxes, ha="center", va="center",
                color=QUIET, fontsize=6.5,
            )  # fmt: skip
    for panel in (above, lowest):
        panel.set_xlim(-0.5, max(len(settings), 1) - 0.5)
        panel.set_xticks(range(len(settings)), [""] * len(settings))
    lowest.set_xticks(range(len(settings)), [_tick(column) for column in settings])
    lowest.set_xlabel(SWEEPS[name].label)


def _tick(column: str) -> str:
    """0.001 as a power of ten, so that small values do not run into one another."""
    value = float(column)
    return f"$10^{{{round(np.log10(value))}}}$" if 0 < value < 1 else column


def _handle(series: _Series) -> Line2D:
    return Line2D(
        [], [], color=series.colour, ls=series.line, marker=series.marker, ms=3.8, lw=1.0,
        label=series.label,
    )  # fmt: skip


def _printed_handle() -> Line2D:
    return Line2D(
        [], [], color=QUIET, ls="none", marker="s", mfc="white", mew=1.0, ms=3.8,
        label="printed by the paper",
    )  # fmt: skip
