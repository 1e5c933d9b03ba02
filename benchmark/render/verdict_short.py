"""The verdict as the README has it: the answer, a table of some five lines, what qualifies it."""

from collections.abc import Iterable, Mapping, Sequence

from benchmark.analyse.analysis_plan import AnalysisPlan
from benchmark.analyse.judged import (
    WITHOUT_VERDICT,
    Judged,
    JudgedBest,
    JudgedContrast,
    known_of_budgets,
)
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.render.document import percent, with_range
from benchmark.render.notes import DatasetNote, title_of
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.verdict_answer import Further, answer, beside, primary_dataset
from benchmark.render.verdict_texts import family_note, reserves


def verdict_part(
    judged: Judged, plan: AnalysisPlan, notes: Mapping[str, DatasetNote], further: Further = ()
) -> str:
    """The answer on the primary dataset, and what profiles say that ask something beside the plan;
    then what is reached of P1, P2, M1 and of the subject against its own variants, there and on the
    datasets that repeat it; then the pictures of the primary one."""
    main = primary_dataset(plan)
    verdict = f"**{answer(judged, main, plan)}**"
    shown = [main, *(name for name, role in plan.datasets.items() if role == "replication")]
    tables = {dataset: rows for dataset in shown if (rows := _of_dataset(judged, plan, dataset))}
    if not tables:
        return verdict
    lines = ["| | " + " | ".join(HEADINGS[p] for p in PROTOCOLS) + " |", "| :-- | :-- | :-- |"]
    for dataset, rows in tables.items():
        title = title_of(dataset, notes)
        lines += [f"| *{title}* | | |", *rows]
        for profile, other in further:
            if rows := _of_dataset(other, plan, dataset):
                lines += [f"| *{title}, {profile.title}* | | |", *rows]
    asked = [line for one in further if (said := beside(*one, main)) for line in (said, "")]
    return "\n".join(
        [
            *(verdict, "", *asked, *lines, ""),
            *(f"- {line}" for line in _qualifications(judged, plan, notes, tables, further)),
            *("", *_pictures(judged, plan, notes)),
        ]
    )


def verdict_pictures(judged: Judged, plan: AnalysisPlan) -> dict[str, str]:
    """Name of a picture of the verdict -> its dataset: `primary` and `machinery` of the primary
    one, for which it has runs, and `primary-NAME` of a replication on which P1 or P2 is reached."""
    main = primary_dataset(plan)
    found = {}
    if any(one.dataset == main and one.margin for one in judged.best):
        found["primary"] = main
    if any(one.dataset == main and one.effect for one in judged.contrasts):
        found["machinery"] = main
    for dataset, role in plan.datasets.items():
        own = (one for one in judged.best if one.dataset == dataset)
        if role == "replication" and any(one.word not in WITHOUT_VERDICT for one in own):
            found[f"primary-{dataset}"] = dataset
    return found


# ---------------------------------------------------------------- rows of the table


def _of_dataset(judged: Judged, plan: AnalysisPlan, dataset: str) -> list[str]:
    """A line for the claims about the best row, and one for each pair of arms; those without a
    verdict or a difference are left out."""
    subject = plan.best_row.subject
    best = {one.protocol: one for one in judged.best if one.dataset == dataset}
    cells = {protocol: said for protocol, one in best.items() if (said := _best_cell(one))}
    claims = ", ".join(plan.best_row.claims)
    rows = [_row(f"Is {subject} above every other row ({claims})?", cells)] if cells else []
    pairs: dict[tuple[tuple[str, ...], tuple[str, ...]], list[JudgedContrast]] = {}
    for one in judged.contrasts:
        if one.dataset == dataset:
            pairs.setdefault((one.contrast.plus, one.contrast.minus), []).append(one)
    for (plus, minus), asked in pairs.items():
        cells = {one.protocol: said for one in asked if (said := _contrast_cell(one))}
        if cells and plus == (subject,) and len(minus) == 1:
            rows.append(_row(f"{asked[0].contrast.asks.rstrip('?')} ({asked[0].claim})?", cells))
    return rows


def _row(asks: str, cells: Mapping[History, str]) -> str:
    return f"| {asks} | {' | '.join(cells.get(protocol, '') for protocol in PROTOCOLS)} |"


def _best_cell(one: JudgedBest) -> str:
    """Of a claim that lacks rows: how far the subject is so far, once six seeds say it."""
    margin = one.margin
    if margin is None or one.word == "not testable here":
        return ""
    over = f"{with_range(*margin.relative)} over {one.strongest}"
    if one.word == "refuted" and one.most is not None:
        over += f", {percent(one.most)} at most"
    assert one.result is not None
    below = sum(effect.high < 0 for effect in one.result.effects)
    over += f"; above {one.above} of {len(one.others)} rows, below {below}"
    if one.word != "not reached":
        return f"**{one.word}**: {over}"
    if min(margin.n_seeds) < RULES.minimum_seeds:
        return ""
    settled = " (to be refuted, whatever the missing rows bring)" if one.settled_by else ""
    return f"**not reached**{settled}; so far {over}"


def _contrast_cell(one: JudgedContrast) -> str:
    if one.effect is None or one.word in WITHOUT_VERDICT:
        return ""
    return f"**{one.word}**: {with_range(*one.effect.relative)}"


# ---------------------------------------------------------------- what stands below it


def _qualifications(
    judged: Judged,
    plan: AnalysisPlan,
    notes: Mapping[str, DatasetNote],
    datasets: Iterable[str],
    further: Further,
) -> list[str]:
    subject = plan.best_row.subject
    claims = ", ".join(plan.best_row.claims)
    lines = [
        f"Differences of {subject} in {RULES.metric}, rolling split (of every user the last items "
        "are tested, each after the true history before it), 95 % intervals over users and seeds, "
        f"each of one comparison alone; {claims}: over the other row that is best on "
        "validation, and how many rows have an interval on one side of 0.",
        "*Supported*: the interval is above 0, after the correction for its family, over every row "
        "where all are asked about. *Refuted*: a gain of 1 % over at least one row is excluded by "
        "bounds for all rows at once (*at most*); that says nothing of the others. The "
        "[other words](docs/protocol.md#the-analysis-plan).",
        f"Primary are {_primary(plan)}; the rest is secondary.",
    ]
    for dataset in datasets:
        title = title_of(dataset, notes)
        lines += reserves([notes[dataset]] if dataset in notes else [])
        for meaning, rows in known_of_budgets(_shown(judged, dataset, subject)).items():
            lines.append(f"{meaning} on {title}: {rows}.")
    for profile, other in further:
        if shown := _shown(other, primary_dataset(plan), subject):
            lines.append(f"*{profile.title.capitalize()}*: {profile.beside}")
            for meaning, rows in known_of_budgets(shown).items():
                lines.append(f"{meaning} with {profile.title}: {rows}.")
    if note := family_note(judged):
        lines.append(note)
    drawn = verdict_pictures(judged, plan).items()
    return lines + [
        f"Every row on {title_of(dataset, notes)}: [picture](docs/images/{name}.svg)."
        for name, dataset in drawn
        if dataset != primary_dataset(plan)
    ]


def _primary(plan: AnalysisPlan) -> str:
    """The claims that decide, each with its protocol."""
    asked = [*plan.best_row.claims.items()]
    asked += [(c.id, p) for c in plan.contrasts if c.claim == "primary" for p in c.protocols]
    return ", ".join(f"{claim} ({HEADINGS[protocol]})" for claim, protocol in asked)


def _shown(judged: Judged, dataset: str, subject: str) -> list[JudgedBest | JudgedContrast]:
    """What the table has of a dataset."""
    pairs = [one for one in judged.contrasts if one.contrast.plus == (subject,)]
    return [
        *(one for one in judged.best if one.dataset == dataset and one.others),
        *(one for one in pairs if one.dataset == dataset and _contrast_cell(one)),
    ]


def _pictures(
    judged: Judged, plan: AnalysisPlan, notes: Mapping[str, DatasetNote]
) -> Sequence[str]:
    main, subject = primary_dataset(plan), plan.best_row.subject
    title = title_of(main, notes)
    texts = {
        "primary": f"{subject} against every other row on {title}, with intervals",
        "machinery": f"What {subject}'s parts and its content add on {title}, with intervals",
    }
    return [
        f"![{texts[name]}](docs/images/{name}.svg)"
        for name, dataset in verdict_pictures(judged, plan).items()
        if dataset == main
    ]
