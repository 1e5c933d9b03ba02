"""Table 2 at a glance: every row under both protocols, with intervals, and the printed number."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.plan import OWN_MODEL
from benchmark.render.document import number
from benchmark.render.figures.style import INK, QUIET, TWO_COLUMNS, figure, method_style
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.inference import HEADINGS
from benchmark.settings.registry import methods

_APART = 0.16
"""Of a row's two protocols from its middle, in rows."""


def draw_levels(cells: pd.DataFrame, notes: Mapping[str, DatasetNote]) -> Figure:
    """A panel a dataset. Rows stand in the order of their mean with the history kept, the highest
    on top; filled points are history kept, hollow ones history left out, bars the 95 % interval of
    the mean over users and seeds. Controls are grey. The printed numbers stand at the right, since
    an axis that reaches them would squash ours.

    cells: Table 2's, in the long form (`benchmark.analyse.cells.COLUMNS`).
    """
    own = cells[cells["metric"] == RULES.metric]
    most = max((own[own["dataset"] == name]["row"].nunique() for name in notes), default=1)
    drawn = figure(TWO_COLUMNS, 0.21 * most + 1.1)
    axes = drawn.subplots(1, len(notes), squeeze=False)[0]
    for panel, note in zip(axes, notes.values(), strict=True):
        _panel(panel, own[own["dataset"] == note.name], note)
    handles = [
        Line2D([], [], color=INK, marker="o", ms=4, mfc=fill, label=HEADINGS[protocol])
        for protocol, fill in zip(PROTOCOLS, (INK, "white"), strict=True)
    ]
    drawn.legend(handles=handles, loc="outside lower left", ncols=2)
    return drawn


def _panel(panel: Axes, cells: pd.DataFrame, note: DatasetNote) -> None:
    by_place = {(r["row"], r["protocol"]): r for r in cells.to_dict("records")}
    kept = cells[cells["protocol"] == PROTOCOLS[0]].sort_values(
        "mean", ascending=False, na_position="last", kind="stable"
    )
    names = list(kept["row"])
    for at, name in enumerate(names):
        colour = _colour(name)
        for protocol, offset, fill in zip(
            PROTOCOLS, (-_APART, _APART), (colour, "white"), strict=True
        ):
            cell = by_place[name, protocol]
            if not cell["n"]:
                continue
            y = at + offset
            panel.plot([cell["ci_low"], cell["ci_high"]], [y, y], color=colour, lw=1)
            panel.plot(cell["mean"], y, "o", color=colour, ms=3.5, mfc=fill)
        printed = number(by_place[name, PROTOCOLS[0]]["paper"])
        panel.text(
            1.02, at, printed, transform=panel.get_yaxis_transform(), fontsize=6.5, va="center",
            color=QUIET,
        )  # fmt: skip
    panel.text(
        1.02, -1, "paper", transform=panel.get_yaxis_transform(), fontsize=6.5, va="center",
        color=QUIET,
    )  # fmt: skip
    panel.set_yticks(range(len(names)), names)
    for label, name in zip(panel.get_yticklabels(), names, strict=True):
        label.set_color(_colour(name) if _is_control(name) or name == OWN_MODEL else INK)
        label.set_fontweight("bold" if name == OWN_MODEL else "normal")
    panel.set_ylim(len(names) - 0.4, -1.4)
    panel.set_xlim(0, None)
    panel.grid(True, axis="x")
    panel.grid(False, axis="y")
    panel.set_title(note.title)
    panel.set_xlabel(f"{RULES.metric} on test")


def _colour(name: str) -> str:
    if _is_control(name):
        return QUIET
    return method_style(name).colour if name == OWN_MODEL else INK


def _is_control(name: str) -> bool:
    method = methods().get(name)
    return method is not None and method.category == "control"
