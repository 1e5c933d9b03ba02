"""Methods against one another beyond their means: users as wins, ties and losses, and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy import stats

from benchmark.analyse.outcomes import Outcomes, user_outcomes
from benchmark.analyse.statistics import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History, per_user
from benchmark.plan import OWN_MODEL, Planned
from benchmark.render.figures.curves import method_legend
from benchmark.render.figures.style import INK, QUIET, TWO_COLUMNS, figure, method_style
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import category
from benchmark.runs.schema import RunRecord

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Per-user scores of one method on one dataset."""

    values: Mapping[History, FloatArray]
    """Protocol -> [U, S] NDCG@10"""
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
        tests = [run.test for run in runs if run.test is not None]
        if not tests or runs[0].length is None:
            continue
        values = {
            protocol: np.stack(
                [per_user(test, RULES.metric, masked=protocol == "left out") for test in tests],
                axis=1,
            )
            for protocol in PROTOCOLS
        }
        control = category(p.key) == "control"
        own = found.setdefault(p.key.dataset, {})
        own[p.key.model] = Scores(values, runs[0].length, control)
    return found


def draw_users(
    found: Mapping[str, Mapping[str, Scores]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Where FindRec's users gain and lose against the best other method, a row a dataset and
    protocol: the difference of their NDCG@10, sorted (left), and its mean by sequence length with a
    95 % interval over users."""
    rows = [(note, protocol) for note in datasets.values() for protocol in PROTOCOLS]
    drawn = figure(TWO_COLUMNS, 2.0 * len(rows) + 0.1)
    axes = drawn.subplots(len(rows), 2, squeeze=False, width_ratios=[1.4, 1])
    for (left, right), (note, protocol) in zip(axes, rows, strict=True):
        own = found.get(note.name, {})
        others = {m: s for m, s in own.items() if m != OWN_MODEL and not s.control}
        if OWN_MODEL not in own or not others:
            for panel in (left, right):
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
                panel.set_title(note.title)
            continue
        means = {m: s.values[protocol].mean() for m, s in others.items()}
        best = max(means, key=lambda m: means[m])
        ours, theirs = own[OWN_MODEL].values[protocol], others[best].values[protocol]
        gap = ours.mean(1) - theirs.mean(1)
        ranked = np.sort(gap)[::-1]
        share = (np.arange(len(ranked)) + 0.5) / len(ranked)
        colour, other = method_style(OWN_MODEL).colour, method_style(best).colour
        left.fill_between(
            share, ranked, where=ranked > 0, color=colour, alpha=0.75, lw=0, step="mid"
        )
        left.fill_between(
            share, ranked, where=ranked < 0, color=other, alpha=0.75, lw=0, step="mid"
        )
        left.axhline(0, color=INK, lw=0.6)
        left.set_title(f"{note.title}, history {protocol}: {OWN_MODEL} − {best}")
        left.set(xlabel="share of users, sorted", ylabel="difference of NDCG@10", xlim=(0, 1))
        shares = user_outcomes(ours, theirs)
        text = (
            f"better for {100 * shares.win.value:.0f} %, alike {100 * shares.tie.value:.0f} %, "
            f"worse {100 * shares.loss.value:.0f} %"
        )
        left.text(0.98, 0.93, text, transform=left.transAxes, ha="right", fontsize=7)
        _by_length(right, gap, own[OWN_MODEL].length)
    return drawn


def _by_length(axes: Axes, gap: FloatArray, length: npt.NDArray[np.int32]) -> None:
    labels = []
    for at, bucket in enumerate(b for b in RULES.buckets if b.holds(length).any()):
        own = gap[bucket.holds(length)]
        half = stats.norm.ppf(0.975) * own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else 0
        axes.errorbar(at, own.mean(), half, color=INK, marker="o", capsize=2.5, lw=1)
        labels.append(f"{bucket.label}\n{len(own)} users")
    axes.axhline(0, color=INK, lw=0.6)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_title("by sequence length")


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
    """Users whom FindRec serves better, alike and worse than every other method, as shares of all;
    a difference within `Rules.win_margin` is a tie. 95 % intervals over users (bootstrap)."""
    most = max((len(own) for own in found.values()), default=1)
    drawn = figure(TWO_COLUMNS, len(datasets) * (0.16 * most + 0.75) + 0.3)
    axes = drawn.subplots(len(datasets), len(PROTOCOLS), squeeze=False)
    for row, note in zip(axes, datasets.values(), strict=True):
        own = found.get(note.name, {})
        others = [m for m in own if m != OWN_MODEL] if OWN_MODEL in own else []
        for panel, protocol in zip(row, PROTOCOLS, strict=True):
            for at, method in enumerate(others):
                ours, theirs = (own[m].values[protocol] for m in (OWN_MODEL, method))
                _outcome_bar(panel, at, user_outcomes(ours, theirs), method)
            panel.set_yticks(range(len(others)), others if protocol == "kept" else [])
            panel.invert_yaxis()
            panel.set_xlim(0, 1)
            panel.set_title(f"{note.title}, history {protocol}")
            panel.grid(False, axis="y")
            if not others:
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
    for panel in axes[-1]:
        panel.set(xlabel=f"share of users: {OWN_MODEL} better | alike | worse")
    return drawn


def _outcome_bar(panel: Axes, at: int, outcomes: Outcomes, method: str) -> None:
    """One line: wins from the left, losses from the right, ties between, with their intervals."""
    win, loss = outcomes.win, outcomes.loss
    panel.barh(at, win.value, color=method_style(OWN_MODEL).colour, height=0.62)
    panel.barh(at, outcomes.tie.value, left=win.value, color="#E8E8E8", height=0.62)
    panel.barh(at, loss.value, left=1 - loss.value, color=method_style(method).colour, height=0.62)
    panel.plot([win.low, win.high], [at, at], color=INK, lw=1.0)
    panel.plot([1 - loss.high, 1 - loss.low], [at, at], color=INK, lw=1.0)
