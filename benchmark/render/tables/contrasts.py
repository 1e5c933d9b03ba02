"""Tables of contrasts: the analysis plan's claims (`primary`, `machinery`), and arms against their
base (`readings`, `specifications`, `four-ways`)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmark.analyse.analysis_plan import AnalysisPlan, Contrast, analysis_plan
from benchmark.analyse.contrasts import Arm, judge_plan
from benchmark.analyse.effects import Effect
from benchmark.analyse.judged import Judged, JudgedBest, JudgedContrast, qualified
from benchmark.analyse.rules import RULES
from benchmark.paper.readings import readings
from benchmark.plan import FAVOURABLE, OWN_MODEL, Planned, favourable_reading
from benchmark.render.document import (
    Block,
    Entry,
    TableRow,
    number,
    p_value,
    percent,
    percent_range,
)
from benchmark.render.notes import DatasetNote, dataset_note
from benchmark.render.selection import Selection
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.verdict_texts import reserves
from benchmark.runs.runset import RunSet
from benchmark.settings.registry import Profile, asked_beside, methods

PLAN_TABLES = ("primary", "machinery")
"""Tables that carry out the analysis plan."""

BASE_TABLES = ("readings", "specifications", "four-ways")
"""Tables of arms that are each compared with their base; they are no part of the plan."""

CONTRAST_TABLES = (*PLAN_TABLES, *BASE_TABLES)

COLUMNS = (
    *("claim", "dataset", "role", "protocol", "plus", "minus"),
    *("difference", "low", "high", "p", "p_adjusted", "smallest_detectable", "df"),
    *("users", "seeds", "upper_simultaneous", "rank_ratio", "rank_low", "rank_high"),
    *("verdict", "note"),
)
"""Of the CSV file beside the table's cells: a line for each difference."""

_NO_OWN_RUNS = {
    "not chosen": f"not chosen yet: `./reproduce.sh {FAVOURABLE}` tries the readings on validation",
    "base": "validation prefers the base itself",
}
"""Why the reading that validation prefers has no runs of its own."""

_COMPARED = ("id", "simple", "advanced")
"""Categories of the rows that FindRec is compared with."""


def compared_rows(planned: Sequence[Planned]) -> list[str]:
    """The trained rows of the paper's table other than its own method, in the plan's order."""
    names = dict.fromkeys(p.key.model for p in planned if p.key.variant == "base")
    return [name for name in names if methods()[name].category in _COMPARED]


def arms_of(planned: Sequence[Planned], *, reuse_stale: bool) -> dict[str, dict[str, Arm]]:
    """dataset -> name of an arm -> its finished runs."""
    arms: dict[str, dict[str, Arm]] = {}
    for p in planned:
        variant = "" if p.key.variant == "base" else f" {p.key.variant}"
        runs = tuple(p.results(reuse_stale=reuse_stale))
        arms.setdefault(p.key.dataset, {})[f"{p.key.model}{variant}"] = Arm(runs, len(p.runs))
    return arms


def judged_of(
    planned: Sequence[Planned],
    notes: Mapping[str, DatasetNote],
    *,
    best_row: bool,
    reuse_stale: bool,
    contrasts: Sequence[Contrast] | None = None,
    read_as: Sequence[str] = (),
) -> Judged:
    """The plan judged on what is planned. best_row: whether its claims about the best row are
    judged too. contrasts: in place of the plan's. read_as: arms of which the claims about the best
    row are judged too, beside the paper's method as it is by default."""
    plan = analysis_plan()
    arms = arms_of(planned, reuse_stale=reuse_stale)
    favourable = f"{OWN_MODEL} {FAVOURABLE}"
    absent = {}
    for dataset, own in arms.items():
        chosen = favourable_reading(dataset)
        absent[dataset] = {favourable: _NO_OWN_RUNS[chosen]} if chosen in _NO_OWN_RUNS else {}
        if chosen == "base" and read_as and OWN_MODEL in own:
            own[favourable] = own[OWN_MODEL]
    if contrasts is not None:
        plan = replace(plan, contrasts=tuple(contrasts))
    untestable: dict[str, dict[str, str]] = {}
    for p in planned:
        if p.idle:
            said = f"{notes[p.key.dataset].modalities}: {p.idle}"
            untestable.setdefault(p.key.dataset, {})[f"{p.key.model} {p.key.variant}"] = said
    judged = judge_plan(
        plan,
        arms,
        rows=compared_rows(planned) if best_row else (),
        readings=read_as,
        untestable=untestable,
        absent=absent,
    )
    if any(p.key.profile in asked_beside() for p in planned):
        return replace(judged, roles=dict.fromkeys([*plan.datasets, *arms], "exploratory"))
    return judged


def further_judged(
    profile: Profile, chosen: Selection, runs: RunSet, *, as_stored: bool
) -> list[tuple[Profile, Judged]]:
    """The plan under each profile that asks something beside it, on what `runs` has of the datasets
    and seeds that are chosen. as_stored: as of a table."""
    found = []
    data, reuse_stale = chosen.data, chosen.reuse_stale
    for further in profile.further:
        datasets = [name for name in further.run_on if name in (chosen.datasets or further.run_on)]
        if not datasets:
            continue
        own = Selection(datasets=tuple(datasets), seeds=chosen.seeds, data=data)
        planned = own.planned(PLAN_TABLES, further, runs, as_stored=as_stored)
        names = dict.fromkeys(p.key.dataset for p in planned)
        notes = {name: dataset_note(name, further, data) for name in names}
        judged = judged_of(planned, notes, best_row=True, reuse_stale=reuse_stale)
        found.append((further, judged))
    return found


def frame_of(judged: Judged) -> pd.DataFrame:
    """Every difference with its verdict, columns `COLUMNS`; relative differences and ratios less 1
    as shares."""
    lines: list[tuple[object, ...]] = []
    for best in judged.best:
        names = (best.claim, best.dataset, judged.roles.get(best.dataset, ""), best.protocol)
        if best.result is None:
            nothing = _numbers(None, best.adjusted, float("nan"), None)
            lines.append((*names, best.subject, "", *nothing, best.word, best.note))
            continue
        for other, effect, upper, rank in zip(
            best.others, best.result.effects, best.result.upper, best.log_ranks, strict=True
        ):
            numbers = _numbers(effect, best.adjusted, upper, rank)
            said = (best.word, qualified(best.note, best))
            lines.append((*names, best.subject, other, *numbers, *said))
    for one in judged.contrasts:
        contrast = one.contrast
        role = judged.roles.get(one.dataset, "")
        arms = (" + ".join(contrast.plus), " + ".join(contrast.minus))
        numbers = _numbers(one.effect, one.adjusted, float("nan"), one.log_rank)
        names = (contrast.id, one.dataset, role, one.protocol)
        lines.append((*names, *arms, *numbers, one.word, qualified(one.note, one)))
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _numbers(
    effect: Effect | None, adjusted: float, upper: float, rank: Effect | None
) -> tuple[object, ...]:
    nan = float("nan")
    ranks = rank.relative if rank is not None else (nan, nan, nan)
    if effect is None:
        return (*[nan] * 3, nan, adjusted, nan, nan, 0, "", nan, *ranks)
    return (
        *effect.relative,
        *(effect.p, adjusted, float(np.expm1(effect.smallest_detectable)), effect.df),
        *(effect.n_users, "/".join(map(str, effect.n_seeds)), float(np.expm1(upper))),
        *ranks,
    )


# ---------------------------------------------------------------- blocks


def plan_blocks(judged: Judged, note: DatasetNote) -> list[Block]:
    """What the plan asks of one dataset: the answers first, then everything behind them."""
    plan = analysis_plan()
    role = judged.roles.get(note.name, "not in the plan")
    best = [one for one in judged.best if one.dataset == note.name]
    contrasts = [one for one in judged.contrasts if one.dataset == note.name]
    if best:  # beside the claims about the best row stand the other primary ones alone
        contrasts = [one for one in contrasts if one.contrast.claim == "primary"]
    rows = [_best_row(one) for one in best]
    for protocol in HEADINGS:
        own = [one for one in contrasts if one.protocol == protocol]
        rows += [
            TableRow(
                one.contrast.id,
                _short(one.effect, one.word),
                "" if at else HEADINGS[protocol],
                not at and bool(rows),
            )
            for at, one in enumerate(own)
        ]
    summary = Block(
        f"{note.heading}: {RULES.metric}, {role}",
        "claim",
        ("difference", "95 % interval", "verdict"),
        tuple(rows),
        (*_summary_notes(plan, best, contrasts), *reserves([note])),
    )
    return [summary, *(_against(one, note) for one in best), _detail(contrasts, note)]


def _best_row(one: JudgedBest) -> TableRow:
    label = f"{one.claim}, {HEADINGS[one.protocol]}"
    if one.strongest is not None:
        label += f": {one.subject} over {one.strongest}"
    return TableRow(label, _short(one.margin, one.word))


def _short(effect: Effect | None, word: str) -> tuple[Entry, ...]:
    return (*_measured(effect), Entry(word))


def _measured(effect: Effect | None) -> tuple[Entry, Entry]:
    if effect is None:
        return Entry(""), Entry("")
    value, low, high = effect.relative
    return Entry(percent(value)), Entry(percent_range(low, high))


def _summary_notes(
    plan: AnalysisPlan, best: Sequence[JudgedBest], contrasts: Sequence[JudgedContrast]
) -> list[str]:
    notes = []
    if best:
        notes.append(
            "Differences are from the row that is best on validation; the verdict rests on all "
            "rows: supported if every lower bound is above 0, refuted if the simultaneous upper "
            "bounds exclude a gain of 1 % over any one."
        )
    reasons: dict[str, list[str]] = {}
    judged: list[JudgedBest | JudgedContrast] = [*best, *contrasts]
    for one in judged:
        if said := qualified(one.note, one):
            reasons.setdefault(said, []).append(one.claim)
    for reason, names in reasons.items():
        notes.append(f"{', '.join(dict.fromkeys(names))}: {reason}.")
    return notes


def _against(one: JudgedBest, note: DatasetNote) -> Block:
    rows: list[TableRow] = []
    if one.result is not None:
        for other, effect, upper, rank in zip(
            one.others, one.result.effects, one.result.upper, one.log_ranks, strict=True
        ):
            cells = (
                *_measured(effect),
                Entry(percent(float(np.expm1(upper)))),
                Entry(percent(float(np.expm1(effect.smallest_detectable))).lstrip("+")),
                *_measured(rank),
            )
            rows.append(TableRow(other, cells))
    headings = (
        *("difference", "95 % interval", "simultaneous upper bound", "smallest detectable"),
        *("geometric mean rank", "its 95 % interval"),
    )
    title = f"{one.claim} on {note.title}: {one.subject} against each row, {HEADINGS[one.protocol]}"
    return Block(title, "row", headings, tuple(rows), _RANK_NOTE, detail=True)


def _detail(contrasts: Sequence[JudgedContrast], note: DatasetNote) -> Block:
    rows = []
    for one in contrasts:
        effect = one.effect
        texts: tuple[str, ...] = ("",) * 5
        if effect is not None:
            texts = (
                percent(float(np.expm1(effect.smallest_detectable))).lstrip("+"),
                p_value(effect.p),
                p_value(one.adjusted),
                number(effect.df, 1),
                f"{effect.n_users} / {'/'.join(map(str, effect.n_seeds))}",
            )
        cells = (
            *_measured(effect),
            *map(Entry, texts),
            *_measured(one.log_rank),
            Entry(one.word),
            Entry(one.contrast.asks),
        )
        rows.append(TableRow(f"{one.contrast.id}, {HEADINGS[one.protocol]}", cells))
    headings = (
        *("difference", "95 % interval", "smallest detectable", "p", "corrected p", "df"),
        *("users / seeds", "geometric mean rank", "its 95 % interval", "verdict", "question"),
    )
    return Block(
        f"Contrasts on {note.title} in full", "contrast", headings, tuple(rows), _RANK_NOTE, True
    )


_RANK_NOTE = (
    "Geometric mean rank: the ratio of both, less 1, where a row's is exp(mean log rank); below 0 "
    "is better. It is a secondary measure that no cut-off limits and that decides nothing.",
)

NOTES = (
    "Verdicts by the analysis plan (benchmark/paper/analysis_plan.md): crossed bootstrap over "
    "users and seeds of log ratios of means, 95 % intervals. Primary claims, on the primary "
    "dataset, are corrected by Holm at 5 % over P1, P2 and M1, where one that is not tested counts "
    "as p = 1; "
    "secondary contrasts by Benjamini and Hochberg at 10 %, a family a protocol. On other datasets "
    "P1, P2 and M1 are replications, uncorrected.",
)
"""Under the tables of the plan."""

BASE_NOTES = (
    "Each arm against its row's base configuration; a row of another name in its base against "
    "FindRec. Crossed bootstrap over users and seeds of log ratios of means, 95 % intervals; "
    "Benjamini and Hochberg at 10 % over the arms of this table, a family a protocol. Exploratory: "
    "these comparisons are no part of the analysis plan.",
)


def readings_block(judged: Judged, note: DatasetNote) -> Block:
    """Every line of docs/paper-readings.md: the differences of its arms, or why there is none."""
    found = {(one.claim, one.protocol): one for one in judged.contrasts if one.dataset == note.name}
    rows: list[TableRow] = []
    section = ""
    for reading in readings():
        heading = reading.section if reading.section != section else ""
        section = reading.section
        if reading.not_measurable:
            said = Entry(f"not measurable here: {reading.not_measurable}")
            blank = [Entry("") for _ in range(2 * len(HEADINGS))]
            rows.append(TableRow(reading.choice, (said, *blank), heading, bool(heading)))
        for at, arm in enumerate(reading.arms):
            cells = [
                cell for protocol in HEADINGS for cell in _measured(found[arm, protocol].effect)
            ]
            shown = heading if not at else ""
            rows.append(TableRow(reading.choice, (Entry(arm), *cells), shown, bool(shown)))
    headings = [name for said in HEADINGS.values() for name in (said, "95 % interval")]
    title = f"{note.title}: every line of the readings, {RULES.metric}"
    return Block(title, "choice", ("arm", *headings), tuple(rows), detail=True)
