"""Curves: hyperparameters (Figure 3 among them), learning, and how the experts are used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import OWN_MODEL
from benchmark.render.figures.style import (
    ONE_COLUMN,
    QUIET,
    TWO_COLUMNS,
    figure,
    method_style,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import SWEEPS
from benchmark.runs.schema import RunRecord

FloatArray = npt.NDArray[np.float64]

_METRIC_STYLES: dict[str, tuple[str, Any, str]] = {
    "NDCG@5": ("#0072B2", "-", "o"),
    "NDCG@10": ("#D55E00", "-", "s"),
    "MRR@5": ("#0072B2", (0, (4, 1.5)), "^"),
    "MRR@10": ("#D55E00", (0, (4, 1.5)), "v"),
}
_VALIDATION_STYLE: tuple[str, Any, str] = (QUIET, (0, (1.2, 1.2)), "D")
_LEFT_OUT: tuple[str, Any, str] = ("#009E73", (0, (4, 1.5)), "v")
_EXPERT_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "oooo")
_EXPERT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999")


# ---------------------------------------------------------------- hyperparameters


def draw_sweep(name: str, cells: pd.DataFrame, datasets: Mapping[str, DatasetNote]) -> Figure:
    """One hyperparameter: a row a dataset and protocol, a panel a metric family. cells: the long
    form of the sweep's table, test and validation."""
    rows = [(note, protocol) for note in datasets.values() for protocol in PROTOCOLS]
    drawn = figure(TWO_COLUMNS, 2.0 * len(rows) + 0.35)
    axes = drawn.subplots(len(rows), 2, squeeze=False)
    for panels, (note, protocol) in zip(axes, rows, strict=True):
        own = cells[(cells["dataset"] == note.name) & (cells["protocol"] == protocol)]
        for panel, family in zip(panels, ("NDCG", "MRR"), strict=True):
            for metric in (f"{family}@5", f"{family}@10"):
                _curve(panel, own, name, metric, metric)
            panel.set_title(f"{note.title}, {family}, history {protocol}")
            panel.set(xlabel=SWEEPS[name].label)
    handles, labels = axes[0][0].get_legend_handles_labels()
    more = axes[0][1].get_legend_handles_labels()
    drawn.legend([*handles, *more[0]], [*labels, *more[1]], loc="outside lower left", ncols=6)
    return drawn


def draw_all_sweeps(
    cells: Mapping[str, pd.DataFrame], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Every hyperparameter: columns are settings, rows datasets; NDCG@10 on test and validation
    with the history kept, the paper's points beside, and on test with it left out."""
    drawn = figure(TWO_COLUMNS, 1.75 * len(datasets) + 0.5)
    axes = drawn.subplots(len(datasets), len(cells), squeeze=False)
    for row, note in zip(axes, datasets.values(), strict=True):
        for panel, (name, frame) in zip(row, cells.items(), strict=True):
            own = frame[frame["dataset"] == note.name]
            kept, left_out = (own[own["protocol"] == protocol] for protocol in PROTOCOLS)
            _curve(panel, kept, name, "NDCG@10", "test")
            _curve(panel, kept, name, "NDCG@10", "validation", style=_VALIDATION_STYLE)
            _curve(panel, left_out, name, "NDCG@10", "test, history left out", style=_LEFT_OUT)
            panel.set(xlabel=SWEEPS[name].label)
            panel.tick_params(labelsize=6.5)
        row[0].set_ylabel(f"{note.title}\nNDCG@10")
    handles = {
        label: handle
        for panel in axes.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=4)
    return drawn


def _curve(
    axes: Axes,
    cells: pd.DataFrame,
    name: str,
    metric: str,
    label: str,
    *,
    style: tuple[str, Any, str] | None = None,
) -> None:
    """One line of a sweep; style: the metric's own if None."""
    validation = style is _VALIDATION_STYLE
    table = name.removeprefix("table") + ("-validation" if validation else "")
    own = cells[(cells["table"] == table) & (cells["metric"] == metric)]
    at = np.arange(len(own))
    colour, line, marker = style or _METRIC_STYLES[metric]
    mean, low, high = (own[c].to_numpy(float) for c in ("mean", "ci_low", "ci_high"))
    axes.plot(at, mean, color=colour, linestyle=line, marker=marker, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=0.13, lw=0)
    paper = own["paper"].to_numpy(float)
    if not validation and not np.isnan(paper).all():
        axes.plot(
            at, paper, color=colour, ls="none", marker=marker, mfc="white", mew=1.0,
            label=f"{label}, the paper",
        )  # fmt: skip
    axes.set_xticks(at, [_tick(column) for column in own["column"]])
    axes.set_xlim(-0.3, max(len(own) - 0.7, 0.3))
    if np.isnan(mean).all():
        axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center", color=QUIET)


def _tick(column: str) -> str:
    """0.001 as a power of ten, so that small values do not run into one another."""
    value = float(column)
    return f"$10^{{{round(np.log10(value))}}}$" if 0 < value < 1 else column


# ---------------------------------------------------------------- learning


def draw_learning(
    runs: Mapping[str, Mapping[str, Sequence[RunRecord]]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Validation NDCG@10 against steps, a row a protocol; mean over seeds, the band from the lowest
    to the highest.

    runs: dataset -> method -> records of its base configuration.
    """
    drawn = figure(TWO_COLUMNS, 5.2)
    axes = drawn.subplots(len(PROTOCOLS), len(datasets), squeeze=False)
    shown = [(note, protocol) for protocol in PROTOCOLS for note in datasets.values()]
    for panel, (note, protocol) in zip(axes.flat, shown, strict=True):
        for method, records in runs[note.name].items():
            steps, low, mean, high = _joined(records, protocol)
            if not len(steps):
                continue
            style = method_style(method)
            panel.plot(
                steps, mean, color=style.colour, linestyle=style.line, label=method, lw=1.2,
                zorder=3 if method == OWN_MODEL else 2,
            )  # fmt: skip
            panel.plot(steps[-1], mean[-1], color=style.colour, marker=style.marker, ms=4)
            panel.fill_between(steps, low, high, color=style.colour, alpha=0.1, lw=0)
        panel.set_title(f"{note.title}, history {protocol}")
        panel.set(xlabel="optimiser steps", ylabel="validation NDCG@10", ylim=(0, None))
    method_legend(drawn, list(axes.flat))
    return drawn


def _joined(
    records: Sequence[RunRecord], protocol: History
) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray, FloatArray]:
    """(steps, lowest, mean, highest) at the steps that every seed reached."""
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


def draw_terms(
    runs: Mapping[str, Sequence[RunRecord]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """FindRec's terms: how experts are used and how the alignment goes, against steps (seed mean).

    runs: dataset -> records of FindRec's base configuration.
    """
    drawn = figure(TWO_COLUMNS, 2.6)
    axes = drawn.subplots(1, 2 * len(datasets), squeeze=False)[0]
    for at, note in enumerate(datasets.values()):
        records = runs.get(note.name, ())
        experts, terms = axes[2 * at], axes[2 * at + 1]
        for name in sorted({n for r in records for n in r.curves.losses}):
            steps, values = _term(records, name)
            if name.startswith("expert_"):
                k = int(name.removeprefix("expert_")) - 1
                line = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))[k % 4]
                colour = _EXPERT_COLOURS[k % len(_EXPERT_COLOURS)]
                experts.plot(steps, values, color=colour, ls=line, label=f"expert {k + 1}")
            elif name in ("alignment", "gate_entropy"):
                line, colour = ("-", "#AA4499") if name == "alignment" else ((0, (4, 1.5)), QUIET)
                label = "alignment, −E[K]" if name == "alignment" else "gate entropy / log K"
                terms.plot(steps, values, color=colour, ls=line, label=label)
        experts.set(xlabel="optimiser steps", ylabel="mean gate", ylim=(0, None))
        experts.set_title(note.title)
        terms.set(xlabel="optimiser steps")
        for panel in (experts, terms):
            panel.tick_params(labelsize=6.5)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize=6)
            else:
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
    return drawn


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
            color=_EXPERT_COLOURS[k % len(_EXPERT_COLOURS)],
            hatch=_EXPERT_HATCHES[k % len(_EXPERT_HATCHES)], label=f"expert {k + 1}",
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
