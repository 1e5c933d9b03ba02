"""Methods against one another beyond their means: users as wins, ties and losses, and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from scipy import stats

from benchmark.analyse.columns import user_scores
from benchmark.analyse.outcomes import Outcomes, user_outcomes
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import OWN_MODEL, Planned
from benchmark.render.figures.curves import method_legend
from benchmark.render.figures.style import (
    ALIKE,
    BETTER,
    INK,
    QUIET,
    TWO_COLUMNS,
    WORSE,
    figure,
    halo,
    method_style,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import category
from benchmark.runs.schema import RunRecord

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Per-user scores of one method on one dataset."""

    values: Mapping[History, FloatArray]
    """Protocol -> [U, S] NDCG@10"""
    validation: Mapping[History, float]
    """Protocol -> mean NDCG@10 on validation"""
    length: npt.NDArray[np.int32]
    """[U]"""
    control: bool


def scores(planned: Sequence[Planned], *, reuse_stale: bool) -> dict[str, dict[str, Scores]]:
    """dataset -> method -> scores on test, of base configurations with finished runs."""
    found: dict[str, dict[str, Scores]] = {}
    for p in planned:
        if p.key.variant != "base":
            continue
        runs = p.results(reuse_stale=reuse_stale)
        if not runs or runs[0].length is None:
            continue
        values, judged = (
            {protocol: user_scores(runs, RULES.metric, protocol, split) for protocol in PROTOCOLS}
            for split in ("test", "validation")
        )
        validation = {protocol: float(own.mean()) for protocol, own in judged.items()}
        control = category(p.key) == "control"
        own = found.setdefault(p.key.dataset, {})
        own[p.key.model] = Scores(values, validation, runs[0].length, control)
    return found


def draw_users(
    found: Mapping[str, Mapping[str, Scores]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """FindRec's users against the row that is best on validation, a row a dataset and protocol, a
    line for all users and for each range of lengths: shares better, alike and worse (left), and the
    mean difference of NDCG@10 (right); 95 % intervals over users."""
    rows = [(note, protocol) for note in datasets.values() for protocol in PROTOCOLS]
    drawn = figure(TWO_COLUMNS, 1.5 * len(rows) + 0.3)
    axes = drawn.subplots(len(rows), 2, squeeze=False, width_ratios=[1.5, 1])
    for (left, right), (note, protocol) in zip(axes, rows, strict=True):
        own = found.get(note.name, {})
        others = {m: s for m, s in own.items() if m != OWN_MODEL and not s.control}
        title = f"{note.title}, history {protocol}"
        if OWN_MODEL not in own or not others:
            for panel in (left, right):
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
            left.set_title(title)
            continue
        best = max(others, key=lambda m: others[m].validation[protocol])
        ours, theirs = own[OWN_MODEL].values[protocol], others[best].values[protocol]
        length = own[OWN_MODEL].length
        groups = {f"all {len(length)} users": np.full(len(length), True)}
        for bucket in RULES.buckets:
            if (inside := bucket.holds(length)).any():
                groups[f"length {bucket.label}: {inside.sum()}"] = inside
        for at, inside in enumerate(groups.values()):
            _outcome_bar(left, at, user_outcomes(ours[inside], theirs[inside]))
            gap = ours[inside].mean(1) - theirs[inside].mean(1)
            spread = gap.std(ddof=1) if len(gap) > 1 else 0.0
            half = stats.norm.ppf(1 - RULES.alpha / 2) * spread / np.sqrt(len(gap))
            right.errorbar(gap.mean(), at, xerr=half, color=INK, marker="o", lw=1, ms=3.5)
        _outcome_axes(left, list(groups))
        left.set_title(f"{title}: {OWN_MODEL} against {best}")
        right.set_yticks(range(len(groups)), [""] * len(groups))
        right.set_ylim(*left.get_ylim())
        right.axvline(0, color=INK, lw=0.6)
        right.grid(True, axis="x")
        right.grid(False, axis="y")
    axes[-1][0].set_xlabel("share of users")
    axes[-1][1].set_xlabel(f"mean difference of {RULES.metric} (95 %, users alone)")
    for panel in axes[:, 1]:
        panel.xaxis.set_major_locator(MaxNLocator(4))
    _outcome_legend(drawn)
    return drawn


def draw_cost(
    found: Mapping[str, Mapping[str, Scores]],
    runs: Mapping[str, Mapping[str, Sequence[RunRecord]]],
    datasets: Mapping[str, DatasetNote],
) -> Figure:
    """Quality against what training cost, a row a protocol: a point a method, its seeds' spread as
    bars."""
    drawn = figure(TWO_COLUMNS, 5.2)
    axes = drawn.subplots(len(PROTOCOLS), len(datasets), squeeze=False)
    shown = [(note, protocol) for protocol in PROTOCOLS for note in datasets.values()]
    for panel, (note, protocol) in zip(axes.flat, shown, strict=True):
        for method, own in found.get(note.name, {}).items():
            records = [r for r in runs[note.name].get(method, ()) if r.spec.training]
            if not records:
                continue
            seconds = np.array([r.timings.training for r in records])
            quality = own.values[protocol].mean(0)
            style = method_style(method)
            panel.errorbar(
                seconds.mean(), quality.mean(),
                xerr=np.abs(np.array([[seconds.min()], [seconds.max()]]) - seconds.mean()),
                yerr=np.abs(np.array([[quality.min()], [quality.max()]]) - quality.mean()),
                color=style.colour, marker=style.marker, ms=6 if method == OWN_MODEL else 4.5,
                lw=0.7, ls="none", label=method,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_title(f"{note.title}, history {protocol}")
        panel.set(xlabel="seconds of training, a seed", ylabel="test NDCG@10")
        panel.grid(True, axis="x")
    method_legend(drawn, list(axes.flat))
    return drawn


def draw_outcomes(
    found: Mapping[str, Mapping[str, Scores]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Users whom FindRec serves better, alike and worse than every other row, as shares of all,
    sorted by what better exceeds worse, the controls apart below; a difference within
    `Rules.win_margin` is alike. 95 % intervals over users (bootstrap)."""
    most = max((len(own) for own in found.values()), default=1)
    drawn = figure(TWO_COLUMNS, len(datasets) * (0.165 * most + 0.75) + 0.35)
    axes = drawn.subplots(len(datasets), len(PROTOCOLS), squeeze=False)
    for row, note in zip(axes, datasets.values(), strict=True):
        own = found.get(note.name, {})
        for panel, protocol in zip(row, PROTOCOLS, strict=True):
            panel.set_title(f"{note.title}, history {protocol}")
            if OWN_MODEL not in own or len(own) < 2:
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
                continue
            ours = own[OWN_MODEL].values[protocol]
            outcomes = {
                m: user_outcomes(ours, s.values[protocol]) for m, s in own.items() if m != OWN_MODEL
            }
            lead = {m: o.win.value - o.loss.value for m, o in outcomes.items()}
            order = sorted(outcomes, key=lambda m: (own[m].control, lead[m]))
            for at, method in enumerate(order):
                _outcome_bar(panel, at, outcomes[method])
            _outcome_axes(panel, order)
            trained = sum(not own[m].control for m in order)
            if 0 < trained < len(order):
                panel.axhline(trained - 0.5, color=QUIET, lw=0.6)
    for panel in axes[-1]:
        panel.set_xlabel("share of users")
    _outcome_legend(drawn)
    return drawn


_WORSE_HATCH = "////"


def _outcome_bar(panel: Axes, at: int, outcomes: Outcomes) -> None:
    """One line: wins from the left, losses from the right, ties between, with their intervals."""
    win, loss = outcomes.win, outcomes.loss
    panel.barh(at, win.value, color=BETTER, height=0.66)
    panel.barh(at, outcomes.tie.value, left=win.value, color=ALIKE, height=0.66)
    panel.barh(
        at, loss.value, left=1 - loss.value, color=WORSE, height=0.66, hatch=_WORSE_HATCH,
        edgecolor="white", lw=0,
    )  # fmt: skip
    for ends in ((win.low, win.high), (1 - loss.high, 1 - loss.low)):
        panel.plot(ends, (at, at), color=INK, lw=1.1, path_effects=halo(1.1))


def _outcome_axes(panel: Axes, labels: Sequence[str]) -> None:
    panel.set_yticks(range(len(labels)), list(labels), fontsize=7)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    panel.axvline(0.5, color=INK, lw=0.5, ls=(0, (3, 2)), zorder=3)
    panel.grid(False)


def _outcome_legend(drawn: Figure) -> None:
    handles = [
        Patch(facecolor=BETTER, label=f"{OWN_MODEL} better"),
        Patch(facecolor=ALIKE, label=f"alike (within {RULES.win_margin:g})"),
        Patch(facecolor=WORSE, edgecolor="white", lw=0, hatch=_WORSE_HATCH, label="worse"),
    ]
    drawn.legend(handles=handles, loc="outside lower left", ncols=3)
