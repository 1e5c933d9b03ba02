"""The diagnosis of the printed levels laid out: hypotheses, what they predict, and what it takes
for one to be compatible with what the paper prints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analyse.cells import COLUMNS
from benchmark.analyse.diagnosis import (
    FITTED_ON,
    LEVEL_TOLERANCE,
    SHAPE_TOLERANCE,
    Fit,
    Loss,
    diagnose,
)
from benchmark.analyse.hypotheses import HYPOTHESES
from benchmark.evaluate.metrics import PAPER_METRICS
from benchmark.paper import load_cells
from benchmark.plan import Planned
from benchmark.render.document import Block, Entry, TableRow, change, number
from benchmark.render.notes import GRADES, DatasetNote
from benchmark.runs.schema import RunResult
from benchmark.settings.registry import Profile

NAME = "diagnose"


@dataclass(frozen=True)
class Diagnosis:
    """What the table shows."""

    fits: tuple[Fit, ...]
    """By dataset, the best hypothesis first; those without runs last."""
    cells: pd.DataFrame
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def fits_of(planned: Sequence[Planned], *, reuse_stale: bool) -> tuple[Fit, ...]:
    """From the runs of a plan, in the order in which they are shown."""
    runs: dict[str, dict[str, list[RunResult]]] = {}
    for p in planned:
        rows = runs.setdefault(p.key.dataset, {})
        rows.setdefault(p.key.model, []).extend(p.results(reuse_stale=reuse_stale))
    found = diagnose(runs, load_cells())
    return tuple(
        fit
        for dataset in runs
        for fit in sorted((f for f in found if f.dataset == dataset), key=_order)
    )


def lay_out(
    fits: Sequence[Fit], profile: Profile, datasets: Mapping[str, DatasetNote]
) -> Diagnosis:
    """datasets: by name, those of the fits among them."""
    blocks = []
    for name, note in datasets.items():
        own = [fit for fit in fits if fit.dataset == name]
        if own:
            blocks += [_summary(own, note), _losses(own, note, datasets), _predicted(own, note)]
    blocks.append(_meanings())
    cells = [line for fit in fits for line in _cells(fit, datasets[fit.dataset].grade)]
    notes = [
        f"The free parameters of a hypothesis are fitted on {FITTED_ON}'s four printed metrics and "
        "predict the other rows; the same values then predict every row of the other datasets. A "
        "loss is sqrt(level² + shape²): the root mean square over rows of log NDCG@10, ours less "
        f"printed, divided by {number(LEVEL_TOLERANCE, 3)}, which two independent implementations "
        "of one protocol may differ by; and of NDCG@5 / NDCG@10, MRR@10 / NDCG@10 and MRR@5 / "
        f"MRR@10 likewise, divided by {number(SHAPE_TOLERANCE, 2)}, within which the printed rows "
        "of a dataset lie. Over all that was predicted, a loss of at most 1 is compatible; one "
        "whose whole 95 % interval (users and seeds, parameters fitted anew in each resample) is "
        "above 1 is not; else it is undecided.",
        "Compatible says that a protocol could have produced these numbers, never that it was "
        "used; protocols that are not listed could have too. Kept and left out are the items of a "
        "user's own history.",
        *(
            f"{note.title}: the paper prints no such row, so there is nothing to diagnose."
            for name, note in datasets.items()
            if not any(fit.dataset == name for fit in fits)
        ),
        *(
            f"Grade {grade}: {meaning}."
            for grade, meaning in GRADES.items()
            if grade in {note.grade for note in datasets.values()}
        ),
        f"Profile `{profile.name}`: {profile.title}.",
    ]
    if profile.max_users is not None:
        notes.append(
            f"Only the first {profile.max_users} users of each dataset: these numbers test the "
            "program and say nothing about any protocol."
        )
    frame = pd.DataFrame(cells, columns=list(COLUMNS))
    return Diagnosis(tuple(fits), frame, tuple(blocks), tuple(notes))


def _order(fit: Fit) -> float:
    return math.inf if fit.together is None else fit.together.value


def chosen(fit: Fit) -> str:
    """The fitted values of the free parameters: "n = 203, kept"."""
    said = {
        "negatives": "n = {}",
        "mean over": "over {}",
        "labels": "{}",
        "target": "target {}",
        "history": "{}",
    }
    free = [name for name in said if name in fit.hypothesis.parameters]
    return ", ".join(said[name].format(fit.choice[name]) for name in free if name in fit.choice)


def _meanings() -> Block:
    rows = [
        TableRow(h.name, (Entry(h.says), Entry(", ".join(h.parameters) or "nothing")))
        for h in HYPOTHESES
    ]
    headings = ("what is supposed", "free parameters")
    return Block("The hypotheses", "hypothesis", headings, tuple(rows), detail=True)


def _summary(fits: Sequence[Fit], note: DatasetNote) -> Block:
    rows = [
        TableRow(
            fit.hypothesis.name,
            (
                Entry(chosen(fit)),
                Entry(_short(fit.together.value) if fit.together else ""),
                Entry(fit.verdict),
            ),
        )
        for fit in fits
    ]
    said = [
        f"{verdict.capitalize()}: {', '.join(names)}."
        for verdict in ("compatible", "undecided", "not reached")
        if (names := [fit.hypothesis.name for fit in fits if fit.verdict == verdict])
    ]
    if not any(fit.verdict == "compatible" for fit in fits):
        said.insert(0, "None of the hypotheses that were reached is compatible.")
    alone = [
        f"{fit.hypothesis.name} ({fit.others.verdict})"
        for fit in fits
        if fit.others and fit.elsewhere and fit.others.verdict != "not compatible"
    ]
    if alone:
        said.append(f"By the rows of this dataset alone: {', '.join(alone)}.")
    headings = (f"fitted on {FITTED_ON}", "loss", "verdict")
    return Block(note.heading, "hypothesis", headings, tuple(rows), (" ".join(said),))


def _losses(fits: Sequence[Fit], note: DatasetNote, datasets: Mapping[str, DatasetNote]) -> Block:
    elsewhere = dict.fromkeys(name for fit in fits for name in fit.elsewhere)
    rows = [
        TableRow(
            fit.hypothesis.name,
            (
                Entry(_loss(fit.together)),
                Entry(_loss(fit.fitted)),
                Entry(_loss(fit.others)),
                *(Entry(_loss(fit.elsewhere.get(name))) for name in elsewhere),
                Entry(_times(fit.others.level) if fit.others else ""),
                Entry(_times(fit.others.shape) if fit.others else ""),
            ),
        )
        for fit in fits
    ]
    headings = (
        *("all that was predicted", f"{FITTED_ON}, fitted", "the other rows"),
        *(f"same rule on {datasets[name].title}" for name in elsewhere),
        *("level off by", "shape off by"),
    )
    notes = (
        "Losses with their 95 % intervals; level and shape of the other rows as factors, root mean "
        "square.",
    )
    return Block(
        f"What the loss is made of, {note.title}",
        "hypothesis",
        headings,
        tuple(rows),
        notes,
        terminal=False,
    )


def _predicted(fits: Sequence[Fit], note: DatasetNote) -> Block:
    rows = []
    comparable = note.grade in ("A", "B")
    for fit in fits:
        for at, (row, found) in enumerate(fit.predictions.items()):
            entries = []
            for k in range(len(PAPER_METRICS)):
                printed = math.nan if found.printed is None else float(found.printed[k])
                value = float(found.values[k])
                difference = change(value, printed) if comparable else ""
                entries.append(Entry(number(value), paper=number(printed), difference=difference))
            heading = "" if at else fit.hypothesis.name
            rows.append(TableRow(row, tuple(entries), heading, not at))
    return Block(
        f"What is predicted on {note.title}", "row", PAPER_METRICS, tuple(rows), detail=True
    )


def _cells(fit: Fit, grade: str) -> list[tuple[object, ...]]:
    return [
        (
            *(NAME, row, fit.hypothesis.name, fit.dataset, metric, ""),
            *(float(found.values[k]), math.nan, found.seeds),
            math.nan if found.printed is None else float(found.printed[k]),
            *(grade, float(found.low[k]), float(found.high[k]), math.nan, "ok"),
        )
        for row, found in fit.predictions.items()
        for k, metric in enumerate(PAPER_METRICS)
    ]


def _loss(loss: Loss | None) -> str:
    if loss is None:
        return ""
    low, high = (_short(end) for end in (loss.low, loss.high))
    return f"{_short(loss.value)} [{low}, {high}]"


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else number(value, 2)


def _times(value: float) -> str:
    """A root mean square of logs as a factor."""
    return "∞" if math.isinf(value) else f"{math.exp(value):.2f}×"
