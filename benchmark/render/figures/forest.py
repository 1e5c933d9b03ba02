"""Forest plots of the analysis plan: every difference with its interval, domain by domain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.analyse.analysis_plan import Contrast, split_arm
from benchmark.analyse.effects import Effect, Word
from benchmark.analyse.judged import Judged, JudgedBest, JudgedContrast
from benchmark.analyse.rules import RULES
from benchmark.data.config import dataset_lineage
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.render.document import percent
from benchmark.render.figures.style import (
    BETTER,
    INK,
    NEITHER,
    QUIET,
    TWO_COLUMNS,
    WORSE,
    figure,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import FEATURES
from benchmark.render.tables.inference import HEADINGS
from benchmark.settings.registry import methods

COLOURS: dict[Word, str] = {"supported": BETTER, "opposite": WORSE, "refuted": WORSE}
_COUNTED: tuple[tuple[Word, str], ...] = (
    ("supported", "above 0"),
    ("opposite", "below"),
    ("undecided", "neither"),
)
_BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
"""Behind words, which lines would cross out."""

_MARKERS = ("o", "s", "D", "^")
"""Of the datasets of one domain."""


@dataclass(frozen=True)
class _Line:
    """One interval of a panel; relative differences."""

    label: str
    effect: Effect
    word: Word
    marker: str


def draw_contrasts(judged: Judged, notes: Mapping[str, DatasetNote]) -> Figure:
    """The contrasts of `machinery`: a row of panels a domain (datasets that share their settings,
    such as the two MovieLens), a column a protocol."""
    panels = [
        (domain, [note for name, note in notes.items() if _domain(name) == domain])
        for domain in dict.fromkeys(_domain(name) for name in notes)
    ]
    names = list(dict.fromkeys(label_of(one.contrast) for one in judged.contrasts))
    heights = [len(names) * len(datasets) * 0.13 + 0.75 for _, datasets in panels]
    drawn = figure(TWO_COLUMNS, sum(heights) + 0.35)
    axes = drawn.subplots(
        len(panels), len(PROTOCOLS), squeeze=False, sharey="row", height_ratios=heights
    )
    for row, (_, datasets) in zip(axes, panels, strict=True):
        for panel, protocol in zip(row, PROTOCOLS, strict=True):
            _contrast_panel(panel, judged.contrasts, names, datasets, protocol)
    said = _legend("supported", "opposite", "neither, or not after correction")
    drawn.legend(handles=said, loc="outside lower left", ncols=4)
    return drawn


def draw_pooled(judged: Judged, notes: Mapping[str, DatasetNote]) -> Figure:
    """Every contrast pooled over domains, which describes and decides nothing: within a domain an
    average weighted by the inverse of the squared standard error, then the plain mean of the
    domains, since a random effect of two or three domains cannot be estimated. The bars span the
    domains; they are no interval."""
    names = list(dict.fromkeys(label_of(one.contrast) for one in judged.contrasts))
    drawn = figure(TWO_COLUMNS, len(names) * 0.2 + 0.95)
    axes = drawn.subplots(1, len(PROTOCOLS), squeeze=False, sharey=True)[0]
    for panel, protocol in zip(axes, PROTOCOLS, strict=True):
        for at, name in enumerate(names):
            by_domain: dict[str, list[Effect]] = {}
            for one in judged.contrasts:
                if (
                    label_of(one.contrast) == name
                    and one.protocol == protocol
                    and _has_interval(one.effect)
                ):
                    assert one.effect is not None
                    by_domain.setdefault(_domain(one.dataset), []).append(one.effect)
            means = [_weighted(effects) for effects in by_domain.values()]
            if len(means) < 2:  # of one domain there is nothing to pool
                panel.text(
                    0.5, at, "one domain" if means else "no runs", fontsize=5.5, color=QUIET,
                    transform=panel.get_yaxis_transform(), ha="center", va="center", bbox=_BLANK,
                )  # fmt: skip
                continue
            ends = np.expm1([min(means), max(means)])
            panel.plot(ends, [at, at], color=QUIET, lw=1)
            panel.plot(np.expm1(means), [at] * len(means), "|", color=QUIET, ms=6)
            panel.plot(np.expm1(np.mean(means)), at, "D", color=INK, ms=4)
        _finish(panel, names, f"Pooled over domains, {HEADINGS[protocol]}")
    drawn.supxlabel(
        f"mean of the domains of {', '.join(n.title for n in notes.values())}; bars span the "
        "domains. Descriptive.",
        fontsize=7,
        color=QUIET,
    )
    return drawn


def draw_best(judged: Judged, notes: Mapping[str, DatasetNote]) -> Figure:
    """FindRec against every other row (`primary`): a row of panels a dataset, a column a claim, on
    one scale; rows from the smallest difference with the history kept to the largest. Thin lines
    reach the simultaneous upper bounds; the numbers at the right are the differences, that from the
    row which is best on validation in bold."""
    claims = list(dict.fromkeys(one.claim for one in judged.best))
    most = max((len(one.others) for one in judged.best), default=1)
    drawn = figure(TWO_COLUMNS, len(notes) * (most * 0.17 + 1.05) + 0.35)
    axes = drawn.subplots(
        len(notes), max(len(claims), 1), squeeze=False, sharex="row", sharey="row"
    )
    for row, note in zip(axes, notes.values(), strict=True):
        own = {one.claim: one for one in judged.best if one.dataset == note.name}
        order = _from_smallest(own[claims[0]]) if claims else []
        for panel, claim in zip(row, claims, strict=True):
            _best_panel(panel, own[claim], order, note)
    said = _legend("interval above 0", "interval below 0", "neither")
    said.append(Line2D([], [], color=QUIET, lw=0.6, label="to the bound for all rows at once"))
    drawn.legend(handles=said, loc="outside lower left", ncols=5, fontsize=6.5, columnspacing=1.2)
    return drawn


def label_of(contrast: Contrast) -> str:
    """Its number in the plan and what it compares: "M2 FindRec / with features permuted"; of an arm
    against the base, which the arm names, the arm. The primary and the secondary half of a
    comparison have one label; each stands under its protocol.
    """
    if contrast.plus == (contrast.id,):
        return contrast.id
    number = contrast.id.split()[0]
    plus, minus = (
        [split_arm(arm, methods()) for arm in side] for side in (contrast.plus, contrast.minus)
    )
    (row, _), (other, variant) = plus[0], minus[0]
    if len(plus) == len(minus) == 1:
        return f"{number} {row} / {f'with {FEATURES[variant]}' if row == other else other}"
    return f"{number} gain of {row} / gain of {', '.join(r for r, v in minus if v == 'base')}"


def _from_smallest(one: JudgedBest) -> list[str]:
    """The other rows, those first that FindRec exceeds least; rows without runs last."""
    if one.result is None:
        return list(one.others)
    values = dict(zip(one.others, (e.value for e in one.result.effects), strict=True))
    return sorted(values, key=lambda name: (np.isnan(values[name]), values[name]))


def _best_panel(panel: Axes, one: JudgedBest, order: Sequence[str], note: DatasetNote) -> None:
    words: list[Word] = []
    results = {}
    if one.result is not None:
        results = dict(
            zip(one.others, zip(one.result.effects, one.result.upper, strict=True), strict=True)
        )
    for at, other in enumerate(order):
        if other not in results or not _has_interval(results[other][0]):
            panel.text(
                0.5, at, "no runs", transform=panel.get_yaxis_transform(), fontsize=5.5,
                color=QUIET, ha="center", va="center", bbox=_BLANK,
            )  # fmt: skip
            continue
        effect, upper = results[other]
        value, low, high = effect.relative
        panel.plot([high, float(np.expm1(upper))], [at, at], color=QUIET, lw=0.6)
        words.append("supported" if low > 0 else "opposite" if high < 0 else "undecided")
        _bar(panel, at, _Line(other, effect, words[-1], "o"))
        panel.text(
            1.02, at, percent(value), transform=panel.get_yaxis_transform(), fontsize=6.5,
            va="center", fontweight="bold" if other == one.strongest else "normal", color=INK,
        )  # fmt: skip
    title = f"{note.title}, {HEADINGS[one.protocol]}. {one.claim}: {one.word}"
    _finish(panel, order, title)
    # a claim is also refuted by rows that are not told from the subject
    hidden = one.word == "refuted" and not one.lost_by(0.0)
    panel.set_title(title, fontsize=8, pad=15, color=INK if hidden else COLOURS.get(one.word, INK))
    counted = ", ".join(f"{words.count(word)} {said}" for word, said in _COUNTED)
    panel.text(
        0, 1.015, f"{one.subject} against {len(words)} rows: {counted}", fontsize=7, color=QUIET,
        transform=panel.transAxes,
    )  # fmt: skip
    panel.set_xlabel(f"\u2190 other row better    {RULES.metric}    {one.subject} better \u2192")


def _contrast_panel(
    panel: Axes,
    contrasts: Sequence[JudgedContrast],
    names: Sequence[str],
    datasets: Sequence[DatasetNote],
    protocol: History,
) -> None:
    by_place = {
        (label_of(one.contrast), one.dataset): one for one in contrasts if one.protocol == protocol
    }
    step = 0.7 / len(datasets)
    for at, name in enumerate(names):
        for place, (note, marker) in enumerate(zip(datasets, _MARKERS, strict=False)):
            one = by_place.get((name, note.name))
            y = at + (place - (len(datasets) - 1) / 2) * step
            if one is None:
                continue
            if _has_interval(one.effect):
                assert one.effect is not None
                _bar(panel, y, _Line(name, one.effect, one.word, marker))
            elif one.word in ("not reached", "not testable here"):
                panel.text(
                    0.5, y, one.word, transform=panel.get_yaxis_transform(), fontsize=5.5,
                    color=QUIET, ha="center", va="center", bbox=_BLANK,
                )  # fmt: skip
    titles = " and ".join(note.title for note in datasets)
    named = f"{titles}, " if protocol == PROTOCOLS[0] else ""  # two such titles would overlap
    _finish(panel, names, f"{named}{HEADINGS[protocol]}")
    if len(datasets) > 1:
        handles = [
            Line2D([], [], color=INK, marker=marker, ls="none", ms=3.5, label=note.title)
            for note, marker in zip(datasets, _MARKERS, strict=False)
        ]
        panel.legend(handles=handles, fontsize=6, loc="lower right")


def _bar(panel: Axes, y: float, line: _Line) -> None:
    value, low, high = line.effect.relative
    colour = COLOURS.get(line.word, NEITHER)
    filled = line.word in COLOURS
    panel.plot([low, high], [y, y], color=colour, lw=1.2)
    panel.plot(value, y, line.marker, color=colour, ms=4, mfc=colour if filled else "white")


def _finish(panel: Axes, names: Sequence[str], title: str) -> None:
    panel.axvline(0, color=INK, lw=0.7)
    panel.axvline(RULES.smallest_effect, color=QUIET, lw=0.6, ls=(0, (3, 2)))
    panel.set_yticks(range(len(names)), list(names))
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(True, axis="x")
    panel.grid(False, axis="y")
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.4g} %".replace("-", "\u2212"))
    panel.set(xlabel=f"difference in {RULES.metric}")
    panel.set_title(title, fontsize=7.5)
    if not panel.lines[2:]:
        panel.set_xlim(-0.1, 0.1)


def _legend(above: str, below: str, neither: str) -> list[Line2D]:
    said: list[tuple[Word, str]] = [
        ("supported", above),
        ("opposite", below),
        ("undecided", neither),
    ]
    handles = [
        Line2D(
            [], [], color=COLOURS.get(word, NEITHER), marker="o", ms=4, label=label,
            mfc=COLOURS.get(word, "white"),
        )
        for word, label in said
    ]  # fmt: skip
    dashed = Line2D([], [], color=QUIET, lw=0.6, ls=(0, (3, 2)), label="1 %, the smallest effect")
    return [*handles, dashed]


def _has_interval(effect: Effect | None) -> bool:
    return effect is not None and not np.isnan(effect.low)


def _weighted(effects: Sequence[Effect]) -> float:
    """Mean weighted by the inverse of the squared width of the intervals."""
    weights = [1 / max(effect.high - effect.low, 1e-12) ** 2 for effect in effects]
    return float(np.average([effect.value for effect in effects], weights=weights))


def _domain(dataset: str) -> str:
    return dataset_lineage(dataset)[0]
