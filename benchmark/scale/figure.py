"""The figure of cost against size: points with their laws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.render.figures.style import TWO_COLUMNS, figure, method_style, save, styled
from benchmark.scale.fit import Law
from benchmark.scale.lines import LEAST_MB, SIZES, WHAT, fits, lines, size_of
from benchmark.scale.measure import Cost

AXES = ("interactions", "items", "other sizes, times the smallest")


def draw(costs: Sequence[Cost], folder: Path) -> list[Path]:
    """The figure: CPU seconds and own MB against each size, points with the law of each line."""
    with styled():
        drawn = figure(TWO_COLUMNS, 5.0)
        panels = drawn.subplots(2, 3)
        for row, what in enumerate(WHAT):
            laws = fits(costs, what)
            for at, axis in enumerate(AXES):
                panel = panels[row][at]
                for line, own in lines(costs).items():
                    if _axis(line[1]) == axis:
                        _line(panel, line, own, what, laws.get(line), relative=at == 2)
                panel.set(xscale="log", yscale="log")
                panel.set_xlabel(axis) if row else None
                panel.set_ylabel(what) if at == 0 else None
                if row == 0 and panel.lines:
                    # above the panel: the lines of the third cross all of it
                    panel.legend(fontsize=6, loc="lower left", bbox_to_anchor=(0, 1))
        return save(drawn, folder, "scale")


def _axis(varies: str) -> str:
    name = SIZES.get(varies, varies)
    return name if name in AXES else AXES[2]


def _line(
    panel: Any,
    line: tuple[str, str],
    own: Sequence[Cost],
    what: str,
    law: Law | None,
    *,
    relative: bool,
) -> None:
    least = LEAST_MB if what == "own MB" else 0.0
    shown = [(size_of(c), WHAT[what](c)) for c in own if WHAT[what](c) > least]
    if not shown:
        return
    style = STYLES.get(line, method_style(" ".join(line)))
    part, varies = line
    name = f"{part}, {varies}" if relative or varies in SIZES else part
    unit = min(size for size, _ in shown) if relative else 1.0
    panel.plot(
        [size / unit for size, _ in shown],
        [cost for _, cost in shown],
        style.marker,
        color=style.colour,
        markersize=3,
        label=name,
    )
    if law is not None:
        sizes = np.geomspace(shown[0][0], shown[-1][0], 50).tolist()
        panel.plot(
            [size / unit for size in sizes],
            [law(size) for size in sizes],
            linestyle="-",
            linewidth=0.8,
            color=style.colour,
        )


STYLES = {
    line: method_style(name)
    for line, name in {
        ("bundle", "interactions"): "SASRec",
        ("metrics", "interactions"): "GRU4Rec",
        ("evaluation", "interactions"): "FindRec",
        ("evaluation", "items"): "FindRec",
        ("step", "items"): "Mamba4Rec",
        ("step", "items, sampled"): "IISAN",
        ("step", "window"): "Mamba4Rec",
        ("Mamba layer", "window"): "GRU4Rec",
        ("attention layer", "window"): "NOVA",
        ("step", "seeds"): "IISAN",
        ("step", "width"): "FindRec",
        ("bundle", "width"): "SASRec",
    }.items()
}
"""Colours and markers that can be told apart within a panel."""
