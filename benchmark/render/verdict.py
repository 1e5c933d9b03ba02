"""docs/verdict.md: what the suite says of the paper, filled from stored runs. What was not reached
says so, and what people have written below "The authors' reply" stays."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.analyse.agreement import agreements
from benchmark.analyse.analysis_plan import AnalysisPlan, analysis_plan
from benchmark.analyse.contrasts import Arm
from benchmark.analyse.effects import Effect
from benchmark.analyse.judged import (
    Judged,
    JudgedBest,
    JudgedContrast,
    pair_verdict,
    qualified,
    with_budgets,
)
from benchmark.analyse.ledger import QUALIFIED, LedgerLine, counts
from benchmark.analyse.power import stored_power
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.render.document import number, p_value, percent, percent_range, with_range
from benchmark.render.notes import DatasetNote, title_of
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.tables.writers import markdown_table
from benchmark.render.verdict_answer import Further, answer, beside, primary_dataset
from benchmark.render.verdict_effort import last_doublings, tuning_spent, what_could_be_shown
from benchmark.render.verdict_retention import retention_section
from benchmark.render.verdict_texts import (
    AGREEMENT,
    BEST_NOTE,
    CHANGE,
    FALSE_DISCOVERIES,
    INVITATION,
    READING,
    family_note,
    reserves,
)
from benchmark.settings.registry import Profile

_REPLY = ("<!-- reply: what stands between these lines is kept -->", "<!-- end of the reply -->")
_NO_REPLY = "No reply so far."


def verdict_page(
    judged: Judged,
    lines: Sequence[LedgerLine],
    arms: Mapping[str, Mapping[str, Arm]],
    notes: Mapping[str, DatasetNote],
    profile: Profile,
    *,
    tuning: Path,
    further: Further = (),
    earlier: str = "",
) -> str:
    """The page as Markdown. arms: dataset -> name of an arm -> its runs. tuning: the folder of the
    tuning logs. further: the plan under the profiles that ask something beside it. earlier: the
    page as it stands, whose reply is kept."""
    plan = analysis_plan()
    main, roles = primary_dataset(plan), replace(plan, datasets=judged.roles)
    parts = [
        "# Verdict",
        "",
        "Filled by `./reproduce.sh verdict` from stored runs, from which every number can be "
        f"derived anew. Analysis plan `{plan.hash}` ([plan](plan.md)), profile `{profile.name}`. "
        f"P1 and P2: {plan.best_row.subject} is above every other row, items that a user has met "
        "competing with the target (history kept) or not (left out); M1: it is above plain late "
        "fusion of the same streams, with as many parameters.",
        "",
        f"**{answer(judged, main, plan)}**",
        "",
        *([profile.beside, ""] if profile.beside else []),
        *(line for one in further if (said := beside(*one, main)) for line in (said, "")),
        _qualification(notes),
        "",
        "## How to read this page",
        "",
        READING,
        "",
        "## Is FindRec above every other row? (P1, P2)",
        "",
        *_best(judged.best, roles, notes),
        BEST_NOTE,
        "",
        *_every_row(judged.best, notes),
        "## The same of other readings of FindRec",
        "",
        *_other_readings(judged, roles, notes),
        "## Asked beside the plan",
        "",
        *([profile.beside, ""] if profile.beside else _further(further, plan, notes)),
        "## Does the machinery help? (M1 to M4)",
        "",
        *_contrasts(judged, roles, notes),
        *([note, ""] if (note := family_note(judged)) else []),
        "## Why rows part: what they keep when the history competes",
        "",
        *retention_section(arms.get(main, {}), title_of(main, notes)),
        "## Do protocols and metrics order the rows alike?",
        "",
        *_agreement(judged.best, arms, notes),
        "## The paper's claims",
        "",
        *_ledger(lines),
        "## Tuning spent",
        "",
        *tuning_spent(profile, tuning, plan),
        *last_doublings(profile, tuning, main, title_of(main, notes)),
        "## What could be shown",
        "",
        *what_could_be_shown(stored_power(), plan, profile),
        "## Deviations from the plan",
        "",
        plan.sections.get("Deviations", "None."),
        "",
        "## What would change this verdict",
        "",
        plan.sections.get("What would change an answer", ""),
        "",
        CHANGE,
        "",
        "## The authors' reply",
        "",
        INVITATION,
        "",
        _REPLY[0],
        _reply(earlier),
        _REPLY[1],
    ]
    return "\n".join(parts).rstrip() + "\n"


def _qualification(notes: Mapping[str, DatasetNote]) -> str:
    grades = ", ".join(f"{note.title}: {note.grade}" for note in notes.values())
    said = f"Every answer holds {QUALIFIED}"
    said += f" (grades: {grades})." if grades else "."
    return " ".join([said, *reserves(notes.values())])


# ---------------------------------------------------------------- sections


def _best(
    best: Sequence[JudgedBest], plan: AnalysisPlan, notes: Mapping[str, DatasetNote]
) -> list[str]:
    rows = [
        (
            f"{title_of(one.dataset, notes)}, {plan.datasets.get(one.dataset, '')}",
            f"{one.claim}, {HEADINGS[one.protocol]}{_as(one, plan)}",
            f"**{one.word}**",
            one.strongest or "",
            *_numbers(one.margin),
            p_value(one.adjusted),
            with_budgets(_note(one), one) if one.margin is not None else one.note,
        )
        for one in best
    ]
    columns = (
        *("dataset", "claim", "verdict", "margin over", "difference", "95 % interval"),
        *("detectable", "corrected p", "note"),
    )
    return markdown_table(columns, rows)


def _note(one: JudgedBest) -> str:
    if one.word != "refuted" or one.most is None:
        return one.note
    most = f"{percent(one.most)} at most over {one.strongest} (bounds for all rows at once)"
    return f"{one.note}; {most}"


def _every_row(best: Sequence[JudgedBest], notes: Mapping[str, DatasetNote]) -> list[str]:
    """The subject's difference from each other row, both protocols side by side."""
    rows: dict[tuple[str, str], dict[History, str]] = {}
    for one in best:
        effects = () if one.result is None else one.result.effects
        for other, effect in zip(one.others, effects, strict=bool(effects)):
            cells = rows.setdefault((title_of(one.dataset, notes), other), {})
            cells[one.protocol] = with_range(*effect.relative)
    if not rows:
        return []
    note = (
        "Differences from each row that has its runs. An interval here is that of one comparison "
        "alone (95 %); the words above rest on all of them."
    )
    lines = [(*row, *(cells.get(p, "") for p in PROTOCOLS)) for row, cells in rows.items()]
    return [
        note,
        "",
        *markdown_table(("dataset", "over", *(HEADINGS[p] for p in PROTOCOLS)), lines),
    ]


def _as(one: JudgedBest, plan: AnalysisPlan) -> str:
    """The subject, where it is another than the plan's."""
    return "" if one.subject == plan.best_row.subject else f", {one.subject}"


def _other_readings(
    judged: Judged, plan: AnalysisPlan, notes: Mapping[str, DatasetNote]
) -> list[str]:
    """FindRec in readings A and B, as released, and as validation prefers it."""
    if not judged.readings:
        return ["Not reached: `four-ways` has not been run.", ""]
    note = (
        "FindRec in the paper's two sets of implementation details (reading A and B), as released, "
        "and in the reading that validation prefers within every row's number of trials. The "
        "answer above is the default's. p of these four is corrected by Holm for each claim, one "
        "that was not run counting as 1, so that a positive one is not the luck of four tries."
    )
    return [*_best(judged.readings, plan, notes), note, ""]


def _further(further: Further, plan: AnalysisPlan, notes: Mapping[str, DatasetNote]) -> list[str]:
    """What is reached under the profiles that ask something beside the plan."""
    parts: list[str] = []
    for profile, judged in further:
        best = [one for one in judged.best if one.margin is not None]
        contrasts = tuple(one for one in judged.contrasts if one.effect is not None)
        if not best and not contrasts:
            continue
        roles = replace(plan, datasets=judged.roles)
        parts += [
            f"**{profile.title.capitalize()}** (profile `{profile.name}`). {profile.beside}",
            "",
        ]
        for dataset in dict.fromkeys(one.dataset for one in best):
            own = [one for one in best if one.dataset == dataset]
            parts += [f"{title_of(dataset, notes)}. {pair_verdict(own)}", ""]
        if best:
            parts += [*_best(best, roles, notes), *_every_row(best, notes)]
        if contrasts:
            parts += _contrasts(replace(judged, contrasts=contrasts), roles, notes)
    return parts or ["Not reached: nothing has its runs.", ""]


def _contrasts(judged: Judged, plan: AnalysisPlan, notes: Mapping[str, DatasetNote]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for dataset in dict.fromkeys(one.dataset for one in judged.contrasts):
        own = [one for one in judged.contrasts if one.dataset == dataset]
        where = f"{title_of(dataset, notes)}, {plan.datasets.get(dataset, '')}"
        if all(one.effect is None for one in own):
            rows.append((where, "all", "**not reached**", *[""] * 5, "no contrast has its runs"))
            continue
        rows += [
            (
                where,
                f"{one.claim}, {HEADINGS[one.protocol]}",
                f"**{one.word}**",
                *_numbers(one.effect),
                p_value(one.adjusted),
                _rank(one),
                qualified(one.note or one.contrast.asks, one),
            )
            for one in own
        ]
    columns = (
        *("dataset", "contrast", "verdict", "difference", "95 % interval", "detectable"),
        *("corrected p", "geometric mean rank", "note or question"),
    )
    return markdown_table(columns, rows)


def _rank(one: JudgedContrast) -> str:
    if one.log_rank is None or np.isnan(one.log_rank.low):
        return ""
    return with_range(*one.log_rank.relative)


def _agreement(
    best: Sequence[JudgedBest],
    arms: Mapping[str, Mapping[str, Arm]],
    notes: Mapping[str, DatasetNote],
) -> list[str]:
    """Rank correlations of the rows that P1 and P2 compare, on each dataset."""
    compared = {one.dataset: (one.subject, *one.others) for one in best if one.others}
    rows = [
        (
            f"{title_of(dataset, notes)}, {found.rows} rows",
            *(f"{metric}, {HEADINGS[protocol]}" for metric, protocol in (found.one, found.other)),
            number(found.tau, 2),
            f"{number(found.low, 2)} to {number(found.high, 2)}",
        )
        for dataset, names in compared.items()
        for found in agreements(arms[dataset], names)
    ]
    return [
        *markdown_table(("dataset", "one order", "the other", "tau", "95 % of resamples"), rows),
        *((AGREEMENT, "") if rows else ()),
    ]


def _ledger(lines: Sequence[LedgerLine]) -> list[str]:
    tested = counts(lines)
    if not set(tested) - {"not reached", "described", "not testable here"}:
        parts = ["Not reached: no claim has runs of six seeds.", ""]
    else:
        said = ", ".join(f"{n} {word}" for word, n in tested.items())
        parts = [
            f"Claim by dataset and protocol: {said}. The table has what was decided, either way, "
            f"and every word in it holds {QUALIFIED}; with grade C also on other data than the "
            "paper's, so that it neither supports nor refutes what the paper says of its own.",
            "",
        ]
    decided = [
        line
        for line in lines
        if line.word in ("supported", "opposite", "refuted", "smaller than 1 %")
        and not line.read_as
    ]
    rows = [
        (
            line.claim.text.rstrip("."),
            f"{line.dataset} ({line.grade}), {line.protocol}",
            line.verdict if line.grade == "A" else line.word,
            line.standing,
            *_numbers(line.finding.effect),
            p_value(line.adjusted),
            f"{line.finding.metric}: {line.finding.said}",
        )
        for line in decided
    ]
    columns = (
        *("claim", "where", "verdict", "standing", "difference", "95 % interval", "detectable"),
        *("corrected p", "rests on"),
    )
    rest = (
        "The whole ledger, what was not decided included, is `results/<profile>/claims.md`, which "
        "`./reproduce.sh claims --from reference` writes. Of several comparisons the one that "
        "decides is shown; its interval is uncorrected, while word and p are corrected for its "
        "having been chosen so. *Opposite* is said of such a claim where at least one of its "
        "comparisons is below 0. A sentence that "
        "the paper writes of one dataset is tested on the others of the plan as well; *supported* "
        "is said of its direction, and whether a stated size lies in the interval of what it rests "
        f"on. p is corrected {FALSE_DISCOVERIES}, a family a protocol."
    )
    return [*parts, *(markdown_table(columns, rows) if rows else []), rest, ""]


# ---------------------------------------------------------------- parts


def _numbers(effect: Effect | None) -> tuple[str, str, str]:
    if effect is None:
        return "", "", ""
    value, low, high = effect.relative
    detectable = percent(float(np.expm1(effect.smallest_detectable))).lstrip("+")
    return percent(value), percent_range(low, high), detectable


def _reply(earlier: str) -> str:
    """What stands between the marks of the earlier page."""
    found = re.findall(
        rf"^[ \t]*{re.escape(_REPLY[0])}[ \t]*\n(.*?)\n[ \t]*{re.escape(_REPLY[1])}[ \t]*$",
        earlier,
        re.DOTALL | re.MULTILINE,
    )
    if earlier.strip() and len(found) != 1:
        raise InputError(
            f"the page that is there has {len(found)} replies between the lines {_REPLY[0]!r} and "
            f"{_REPLY[1]!r}, where one is kept: mend them, or write to another file"
        )
    return found[0] if found else _NO_REPLY
