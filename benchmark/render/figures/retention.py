"""What history items cost each row, as a picture of three marks a row."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analyse.analysis_plan import split_arm
from benchmark.analyse.retention import STATES, RetainedRow, State
from benchmark.analyse.rules import RULES
from benchmark.plan import OWN_MODEL
from benchmark.render.figures.style import FAINT, INK, QUIET, TWO_COLUMNS, figure, method_style
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.retention import HEADINGS, constant_text
from benchmark.settings.registry import methods

_MARKERS: Mapping[State, str] = {"kept": "o", "with constant": "D", "left out": "s"}
_SIZES: Mapping[State, float] = {"kept": 4.6, "with constant": 6.4, "left out": 2.4}
"""A square may lie in a diamond, since a large constant does what leaving out does."""


def draw_retention(
    found: Mapping[str, tuple[Sequence[str], Sequence[RetainedRow]]],
    notes: Mapping[str, DatasetNote],
) -> Figure:
    """A panel a dataset, a line a row in the table's order: filled mark with the history kept,
    diamond with the row's own constant, open square with it left out. A thick line is what the
    constant gains, a thin one what is left; the constants stand at the right. Intervals are in the
    table. found: as `benchmark.render.tables.retention.retained` gives it."""
    shown = {dataset: rows for dataset, (_, rows) in found.items() if rows}
    if not shown:
        drawn = figure(TWO_COLUMNS, 1.0)
        panel = drawn.subplots()
        panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
        panel.set_axis_off()
        return drawn
    heights = [len(rows) for rows in shown.values()]
    drawn = figure(TWO_COLUMNS, 0.19 * sum(heights) + 0.62 * len(shown) + 0.4)
    axes = drawn.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (dataset, rows) in zip(axes, shown.items(), strict=True):
        for at, row in enumerate(rows):
            colour = method_style(split_arm(row.name, methods())[0]).colour
            means = {state: row.scores[state].mean for state in STATES}
            panel.axhline(at, color=FAINT, lw=0.4, zorder=0)
            panel.plot([means["kept"], means["left out"]], [at, at], color=colour, lw=0.8)
            ends = [means["kept"], means["with constant"]]
            panel.plot(ends, [at, at], color=colour, lw=2.2, alpha=0.55)
            for state, mean in means.items():
                panel.plot(
                    mean, at, _MARKERS[state], color=colour, ms=_SIZES[state], mew=0.9,
                    mfc=colour if state == "kept" else "white",
                )  # fmt: skip
            panel.text(
                1.01, at, constant_text(row.penalty),
                transform=panel.get_yaxis_transform(), fontsize=6.5, color=QUIET, va="center",
            )  # fmt: skip
        panel.text(
            1.01, -1, "constant", transform=panel.get_yaxis_transform(), fontsize=6.5, color=QUIET,
            va="center",
        )  # fmt: skip
        panel.set_yticks(range(len(rows)), [row.name for row in rows])
        for label, row in zip(panel.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if row.name == OWN_MODEL else "normal")
        panel.set_ylim(len(rows) - 0.4, -0.7)
        panel.grid(True, axis="x")
        panel.grid(False, axis="y")
        panel.set_xlim(left=0)
        panel.set_title(notes[dataset].title)
        panel.set_xlabel(RULES.metric)
    handles = [
        Line2D(
            [], [], color=INK, marker=_MARKERS[state], ls="none", ms=_SIZES[state],
            mfc=INK if state == "kept" else "white", label=HEADINGS[state],
        )
        for state in STATES
    ]  # fmt: skip
    drawn.legend(handles=handles, loc="outside lower left", ncols=3)
    return drawn
