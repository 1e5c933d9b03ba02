"""Methods against one another beyond their means: users, cost, probability of improvement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy import stats

from benchmark.analyse.bootstrap import resampled_means
from benchmark.analyse.statistics import RULES
from benchmark.evaluate.metrics import per_user
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

    values: FloatArray
    """[U, S] NDCG@10"""
    length: npt.NDArray[np.int32]
    """[U]"""
    control: bool


def scores(planned: Sequence[Planned], *, reuse_stale: bool) -> dict[str, dict[str, Scores]]:
    """dataset -> method -> scores on test, of base configurations with finished runs."""
    found: dict[str, dict[str, Scores]] = {}
    for p in planned:
        if p.key.variant != "base":
            continue
        columns, length = [], None
        for run in p.results(reuse_stale=reuse_stale):
            if run.test is not None and run.length is not None:
                columns.append(per_user(run.test, RULES.metric))
                length = run.length
        if length is not None:
            own = found.setdefault(p.key.dataset, {})
            control = category(p.key) == "control"
            own[p.key.model] = Scores(np.stack(columns, axis=1), length, control)
    return found


def draw_users(
    found: Mapping[str, Mapping[str, Scores]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Where FindRec's users gain and lose against the best other method: the difference of their
    NDCG@10, sorted (left), and its mean by sequence length with a 95 % interval over users."""
    drawn = figure(TWO_COLUMNS, 2.2 * len(datasets) + 0.1)
    axes = drawn.subplots(len(datasets), 2, squeeze=False, width_ratios=[1.4, 1])
    for (left, right), note in zip(axes, datasets.values(), strict=True):
        own = found.get(note.name, {})
        others = {m: s for m, s in own.items() if m != OWN_MODEL and not s.control}
        if OWN_MODEL not in own or not others:
            for panel in (left, right):
                panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
                panel.set_title(note.title)
            continue
        best = max(others, key=lambda m: others[m].values.mean())
        gap = own[OWN_MODEL].values.mean(1) - others[best].values.mean(1)
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
        left.set_title(f"{note.title}: {OWN_MODEL} − {best}")
        left.set(xlabel="share of users, sorted", ylabel="difference of NDCG@10", xlim=(0, 1))
        text = f"better for {100 * (gap > 0).mean():.0f} %, equal {100 * (gap == 0).mean():.0f} %"
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
    """Quality against what training cost: a point a method, its seeds' spread as bars."""
    drawn = figure(TWO_COLUMNS, 2.9)
    axes = drawn.subplots(1, len(datasets), squeeze=False)[0]
    for panel, note in zip(axes, datasets.values(), strict=True):
        for method, own in found.get(note.name, {}).items():
            records = [r for r in runs[note.name].get(method, ()) if r.spec.training]
            if not records:
                continue
            seconds = np.array([r.timings.training for r in records])
            quality = own.values.mean(0)
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
        panel.set_title(note.title)
        panel.set(xlabel="seconds of training, a seed", ylabel="test NDCG@10")
        panel.grid(True, axis="x")
    method_legend(drawn, axes)
    return drawn


def draw_improvement(
    found: Mapping[str, Mapping[str, Scores]], datasets: Mapping[str, DatasetNote]
) -> Figure:
    """Probability of improvement: that a random seed of FindRec serves a random user better than a
    random seed of another method does, ties by halves; 95 % intervals over users (bootstrap)."""
    drawn = figure(TWO_COLUMNS, 2.9)
    axes = drawn.subplots(1, len(datasets), squeeze=False)[0]
    for panel, note in zip(axes, datasets.values(), strict=True):
        own = found.get(note.name, {})
        others = [m for m in own if m != OWN_MODEL] if OWN_MODEL in own else []
        for at, method in enumerate(others):
            mean, low, high = improvement(own[OWN_MODEL].values, own[method].values)
            style = method_style(method)
            panel.plot([low, high], [at, at], color=style.colour, lw=1.2)
            panel.plot(mean, at, color=style.colour, marker=style.marker, ls="none")
        panel.axvline(0.5, color=INK, lw=0.6)
        panel.set_yticks(range(len(others)), others)
        panel.invert_yaxis()
        panel.set_title(note.title)
        panel.set(xlabel=f"P({OWN_MODEL} better), ties by halves")
        panel.grid(True, axis="x")
        panel.grid(False, axis="y")
        if not others:
            panel.text(0.5, 0.5, "no runs", transform=panel.transAxes, ha="center", color=QUIET)
    return drawn


def improvement(
    a: FloatArray, b: FloatArray, *, resamples: int = 2000, seed: int = RULES.bootstrap_seed
) -> tuple[float, float, float]:
    """(P(a > b) + P(a = b) / 2, and the ends of its 95 % interval). a, b: [U, S], [U, S'] per-user
    scores on the same users; the interval resamples users, the percentile bootstrap."""
    greater = (a[:, :, None] > b[:, None, :]).mean((1, 2))
    equal = (a[:, :, None] == b[:, None, :]).mean((1, 2))
    by_user = greater + equal / 2
    draws = resampled_means(by_user[:, None], resamples=resamples, seed=seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(by_user.mean()), float(low), float(high)
