"""Curves of training: learning, and how the experts are used."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import OWN_MODEL
from benchmark.render.figures.labels import LineEnd, name_ends
from benchmark.render.figures.style import (
    EXPERT_COLOURS,
    EXPERT_HATCHES,
    EXPERT_LINES,
    INK,
    ONE_COLUMN,
    QUIET,
    TWO_COLUMNS,
    figure,
    method_style,
)
from benchmark.render.notes import DatasetNote
from benchmark.runs.schema import RunRecord

FloatArray = npt.NDArray[np.float64]

_Curve = tuple[npt.NDArray[np.int64], FloatArray, FloatArray, FloatArray]
"""(steps, lowest, mean, highest over the seeds)"""

NAMED = 3
"""Other rows that stand out in a panel of learning curves."""

_PALE = "#c4c4c4"
"""Of the other rows' curves."""


def draw_learning(
    runs: Mapping[str, Mapping[str, Sequence[RunRecord]]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Validation NDCG@10 against steps, a row a protocol; mean over seeds, the band from the lowest
    to the highest. FindRec and the `NAMED` rows that end highest are named at their ends, the
    others are grey, without bands.

    runs: dataset -> method -> records of its base configuration.
    """
    drawn = figure(TWO_COLUMNS, 5.2)
    axes = drawn.subplots(len(PROTOCOLS), len(datasets), squeeze=False)
    shown = [(note, protocol) for protocol in PROTOCOLS for note in datasets.values()]
    for panel, (note, protocol) in zip(axes.flat, shown, strict=True):
        curves = {m: _joined(records, protocol) for m, records in runs[note.name].items()}
        curves = {method: curve for method, curve in curves.items() if len(curve[0])}
        _learning_panel(panel, curves)
        panel.set_title(f"{note.title}, history {protocol}")
        panel.set_xlabel("optimiser steps")
    for row in axes:
        row[0].set_ylabel("validation NDCG@10")
    return drawn


def _learning_panel(panel: Axes, curves: Mapping[str, _Curve]) -> None:
    if not curves:
        panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
        return
    ranked = sorted(curves, key=lambda method: curves[method][2][-1], reverse=True)
    named = [m for m in ranked if m != OWN_MODEL][:NAMED] + [OWN_MODEL] * (OWN_MODEL in curves)
    ends: list[LineEnd] = []
    others = [method for method in ranked if method not in named]
    for method in (*others, *named):
        steps, low, mean, high = curves[method]
        style = method_style(method)
        if method in others:
            panel.plot(steps, mean, color=_PALE, lw=0.8, zorder=1)
            continue
        panel.fill_between(steps, low, high, color=style.colour, alpha=0.14, lw=0)
        panel.plot(steps, mean, color=style.colour, linestyle=style.line, lw=1.2, zorder=3)
        panel.plot(steps[-1], mean[-1], color=style.colour, marker=style.marker, ms=4, zorder=4)
        ends.append(LineEnd(float(steps[-1]), float(mean[-1]), method, method == OWN_MODEL))
    if others:
        middle = curves[others[len(others) // 2]]
        text = f"{len(others)} others" if len(others) > 1 else others[0]
        ends.append(LineEnd(float(middle[0][-1]), float(middle[2][-1]), text))
    panel.set_ylim(0, None)
    name_ends(panel, ends)


def _joined(records: Sequence[RunRecord], protocol: History) -> _Curve:
    """At the steps that every seed reached."""
    curves = []
    for record in records:
        own = record.curves
        curve = own.validation if protocol == "kept" else own.validation_left_out
        # runs of an older schema have no curve with the history left out
        curves.append(dict(zip(own.validation_steps, curve, strict=bool(curve))))
    steps = sorted(set.intersection(*(set(c) for c in curves))) if curves else []
    values = np.array([[c[s] for s in steps] for c in curves]).reshape(len(curves), len(steps))
    if not steps:
        empty = np.empty(0)
        return np.empty(0, np.int64), empty, empty, empty
    return np.array(steps), values.min(0), values.mean(0), values.max(0)


TERMS = {"alignment": "alignment, −E[K]", "gate_entropy": "gate entropy / log K"}
"""Name in the record -> label; each has axes of its own, since their scales have nothing in
common."""


def draw_terms(
    runs: Mapping[str, Sequence[RunRecord]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """FindRec's terms against steps (seed mean), a column a dataset: how experts are used, then a
    row for each of `TERMS` that any run has logged.

    runs: dataset -> records of FindRec's base configuration.
    """
    logged = {n for records in runs.values() for r in records for n in r.curves.losses}
    terms = [name for name in TERMS if name in logged]
    rows = 1 + len(terms)
    drawn = figure(TWO_COLUMNS, 1.5 * rows + 0.5)
    axes = drawn.subplots(
        rows, len(datasets), squeeze=False, sharex="col", height_ratios=[1.5] + [1] * len(terms)
    )
    for column, note in zip(axes.T, datasets.values(), strict=True):
        records = runs.get(note.name, ())
        _expert_panel(column[0], records)
        column[0].set_title(note.title)
        for panel, name in zip(column[1:], terms, strict=True):
            steps, values = _term(records, name)
            if len(steps):
                panel.plot(steps, values, color=INK, lw=1.2)
            else:
                said = "not logged" if records else "no runs"
                panel.text(0.5, 0.5, said, transform=panel.transAxes, ha="center", color=QUIET)
        column[-1].set_xlabel("optimiser steps")
    axes[0][0].set_ylabel("mean gate")
    for row, name in zip(axes[1:], terms, strict=True):
        row[0].set_ylabel(TERMS[name])
    return drawn


def _expert_panel(panel: Axes, records: Sequence[RunRecord]) -> None:
    names = {n for r in records for n in r.curves.losses if n.startswith("expert_")}
    if not names:
        said = "not logged" if records else "no runs"
        panel.text(0.5, 0.5, said, transform=panel.transAxes, ha="center", color=QUIET)
        return
    ends = []
    for name in sorted(names, key=lambda name: int(name.removeprefix("expert_"))):
        steps, values = _term(records, name)
        k = int(name.removeprefix("expert_")) - 1
        colour = EXPERT_COLOURS[k % len(EXPERT_COLOURS)]
        panel.plot(steps, values, color=colour, ls=EXPERT_LINES[k % len(EXPERT_LINES)], lw=1.2)
        if len(steps):
            ends.append(LineEnd(float(steps[-1]), float(values[-1]), f"expert {k + 1}"))
    panel.set_ylim(0, None)
    name_ends(panel, ends)


def _term(records: Sequence[RunRecord], name: str) -> tuple[npt.NDArray[np.int64], FloatArray]:
    curves = [
        dict(zip(r.curves.loss_steps, r.curves.losses[name], strict=True))
        for r in records
        if name in r.curves.losses
    ]
    steps = sorted(set.intersection(*(set(c) for c in curves))) if curves else []
    return np.array(steps, np.int64), np.array([np.mean([c[s] for c in curves]) for s in steps])


def draw_experts(gates: FloatArray, dataset: str) -> Figure:
    """Mean gate of every expert in every head. gates: [H, K]."""
    heads, experts = gates.shape
    drawn = figure(ONE_COLUMN, 0.24 * heads + 0.95)
    axes = drawn.subplots()
    left = np.zeros(heads)
    for k in range(experts):
        axes.barh(
            np.arange(heads), gates[:, k], left=left, height=0.72, edgecolor="white", lw=0.6,
            color=EXPERT_COLOURS[k % len(EXPERT_COLOURS)],
            hatch=EXPERT_HATCHES[k % len(EXPERT_HATCHES)], label=f"expert {k + 1}",
        )  # fmt: skip
        left += gates[:, k]
    axes.set(xlim=(0, 1), xlabel="share of the gate", ylabel="head")
    axes.set_yticks(np.arange(heads), [str(h + 1) for h in range(heads)])
    axes.invert_yaxis()
    axes.grid(False)
    axes.set_title(f"Use of experts, {dataset}")
    drawn.legend(loc="outside lower left", ncols=min(experts, 4), fontsize=6.5)
    return drawn


def method_legend(drawn: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels; panels without anything say so."""
    handles = {
        label: handle
        for panel in axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if handles:
        drawn.legend(
            handles.values(), handles.keys(), loc="outside lower left", ncols=6, fontsize=6.5
        )
    else:
        for panel in axes:
            panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
