"""The parts of README.md and docs/ that show committed results.

A part stands between two comments, and what stands there is replaced whole:

    <!-- part: table2 -->
    ...
    <!-- end of part -->

`./reproduce.sh pages` fills the parts from results/reference, and `verify` derives them anew.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from benchmark.analyse.analysis_plan import AnalysisPlan
from benchmark.analyse.judged import (
    WITHOUT_VERDICT,
    Judged,
    JudgedBest,
    JudgedContrast,
    qualified,
    with_gaining,
)
from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.render.document import Block, Document, Entry, TableRow, with_range
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.tables.writers import markdown_grid, to_markdown
from benchmark.render.verdict import answer, primary_dataset
from benchmark.render.verdict_texts import family_note, one_modality

SHORT = (
    *("SASRec", "Mamba4Rec", "SASRec (MM)", "Mamba4Rec (MM)", "MMMLP", "FindRec"),
    "Last-item KNN",
)
"""Rows of the README's table, named before any of them was run for the record: the backbones, each
with and without features, the paper's best other row, its own, and the control that needs no
training."""

NAMED = 5
"""Lines of a page that `verify` names."""

_MARK = re.compile(r"^<!-- (?:part: (?P<name>[\w-]+)|(?P<end>end of part)) -->$", re.MULTILINE)


def part_names(text: str, where: str) -> list[str]:
    """The parts of a page. where: what the page is called in errors. Raises InputError where a part
    has no end, or an end no part."""
    names: list[str] = []
    inside = False
    for mark in _MARK.finditer(text):
        line = text.count("\n", 0, mark.start()) + 1
        if (mark["end"] is not None) != inside:
            raise InputError(
                f"{where}, line {line}: {mark[0]} where "
                + ("the part before it has no end" if inside else "no part began")
            )
        inside = not inside
        if mark["name"]:
            names.append(mark["name"])
    if inside:
        raise InputError(f"{where}: its last part has no line <!-- end of part -->")
    return names


def filled(text: str, parts: Mapping[str, str], where: str) -> str:
    """The page with its parts replaced; those that `parts` does not name stay as they are. Raises
    InputError as `part_names` does."""
    part_names(text, where)

    def replacement(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in parts:
            return found[0]
        return f"<!-- part: {name} -->\n{parts[name].strip()}\n<!-- end of part -->"

    whole = r"^<!-- part: (?P<name>[\w-]+) -->\n.*?^<!-- end of part -->$"
    return re.sub(whole, replacement, text, flags=re.MULTILINE | re.DOTALL)


def table_part(document: Document) -> str:
    """A table as part of a page: without its title, which the page has."""
    return to_markdown(document).partition("\n")[2].strip()


def short_table(document: Document, notes: Mapping[str, DatasetNote]) -> str:
    """The rows of `SHORT`, all datasets side by side: the metric of the rules under both protocols,
    and the printed number, which stands beside the history kept. As Markdown."""
    grids = {
        dataset: block
        for block in document.blocks
        if (dataset := _dataset_of(block)) in notes and block.headings == _headings()
    }
    rows = []
    for label in SHORT:
        entries: list[Entry] = []
        for block in grids.values():
            own = next((row.entries for row in block.rows if row.label == label), ())
            entries += [replace(entry, difference="") for entry in own]
            entries += [Entry("–")] * (len(_headings()) - len(own))
        rows.append(TableRow(label, tuple(entries)))
    headings = tuple(
        f"{notes[dataset].title}, {heading}" for dataset in grids for heading in _headings()
    )
    grid = Block("", "method", headings, tuple(rows))
    legend = Document(document.name, document.title, (grid,)).legend()
    marks = [f"{mark}: {meaning}" for mark, meaning in legend]
    return "\n".join([*markdown_grid(grid), "", *(f"- {line}" for line in marks)])


def _headings() -> tuple[str, ...]:
    return tuple(HEADINGS[protocol] for protocol in PROTOCOLS)


def _dataset_of(block: Block) -> str:
    """The dataset of a grid of the rules' metric; "" of other blocks."""
    keys = {entry.key for row in block.rows for entry in row.entries if entry.key is not None}
    found = {key.dataset for key in keys}
    own = {key.metric for key in keys} == {RULES.metric}
    return found.pop() if own and len(found) == 1 else ""


def verdict_part(judged: Judged, plan: AnalysisPlan, notes: Mapping[str, DatasetNote]) -> str:
    """The verdict on the primary dataset: the answer, then P1, P2, M1 and what is asked of the
    subject's own features with their numbers and the picture, as far as they are reached; then P1,
    P2 and M1 on the datasets that repeat it."""
    main = primary_dataset(plan)
    title = notes[main].title if main in notes else main
    verdict = f"**{answer(judged, main, plan)}**"
    lines = _so_far(judged, main) + _primary_claims(judged, main)
    lines += _own_features(judged, main, plan.best_row.subject)
    lines = [f"- {line}" for line in lines]
    for dataset, role in plan.datasets.items():
        if role == "replication" and dataset in notes:
            lines += _replication(judged, plan, notes[dataset])
    if not lines:
        return verdict
    verdict += f" {title}, rolling split, {RULES.metric}:"
    subject = plan.best_row.subject
    texts = {
        "primary": f"{subject} against every other row on {title}, with intervals",
        "machinery": f"What {subject}'s parts and its content add on {title}, with intervals",
    }
    pictures = [
        f"![{texts[name]}](docs/images/{name}.svg)"
        for name, dataset in verdict_pictures(judged, plan).items()
        if dataset == main
    ]
    return "\n".join([verdict, "", *lines, "", *pictures])


def _so_far(judged: Judged, dataset: str) -> list[str]:
    """A line for each claim on all rows of which some rows alone have all their seeds."""
    found = []
    for one in judged.best:
        margin = one.margin
        if one.dataset != dataset or one.word != "not reached" or margin is None:
            continue
        if min(margin.n_seeds) < RULES.minimum_seeds:
            continue
        found.append(
            f"{one.claim}, {HEADINGS[one.protocol]}: not reached; other rows that have their runs "
            f"so far: {len(one.others)}; {one.subject} against {one.strongest}, of these the best "
            f"on validation: {with_gaining(with_range(*margin.relative), one)}."
        )
    return found


def _primary_claims(judged: Judged, dataset: str) -> list[str]:
    """A line for each that is reached."""
    best = [one for one in judged.best if one.dataset == dataset]
    contrasts = [
        one
        for one in judged.contrasts
        if one.dataset == dataset and one.contrast.claim == "primary"
    ]
    return [_best_line(one) for one in best if one.word not in WITHOUT_VERDICT] + [
        _contrast_line(one) for one in contrasts if one.word not in WITHOUT_VERDICT
    ]


def _replication(judged: Judged, plan: AnalysisPlan, note: DatasetNote) -> list[str]:
    """The primary claims on a dataset that repeats the primary one, below a line of their own."""
    lines = _primary_claims(judged, note.name)
    if not lines:
        return []
    reserve = f" ({said})" if (said := one_modality(note)) else ""
    drawn = [name for name, own in verdict_pictures(judged, plan).items() if own == note.name]
    links = "".join(f" [Every row](docs/images/{name}.svg)." for name in drawn)
    return [f"- Replication, {note.title}{reserve}.{links}", *(f"  - {line}" for line in lines)]


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


def _best_line(one: JudgedBest) -> str:
    assert one.margin is not None
    return (
        f"{one.claim}, {HEADINGS[one.protocol]}: {one.word}; {one.subject} against "
        f"{one.strongest}, the other row that is best on validation: "
        f"{qualified(with_range(*one.margin.relative), one)}."
    )


def _contrast_line(one: JudgedContrast) -> str:
    assert one.effect is not None
    said = qualified(with_range(*one.effect.relative), one)
    sides = f"{' + '.join(one.contrast.plus)} against {' + '.join(one.contrast.minus)}"
    return f"{one.claim}, {HEADINGS[one.protocol]}: {one.word}; {sides}: {said}."


def _own_features(judged: Judged, dataset: str, subject: str) -> list[str]:
    """A line, of both protocols, for each contrast of the subject with its own variants that has a
    verdict."""
    reached: dict[str, list[JudgedContrast]] = {}
    for one in judged.contrasts:
        row = one.contrast.plus == (subject,) and one.contrast.minus[0].startswith(f"{subject} ")
        if row and one.dataset == dataset and one.word not in WITHOUT_VERDICT:
            reached.setdefault(one.claim, []).append(one)
    lines = []
    for claim, found in reached.items():
        said = "; ".join(
            f"{HEADINGS[one.protocol]}: {one.word}, {with_range(*one.effect.relative)}"
            for one in found
            if one.effect is not None
        )
        asks = found[0].contrast.asks
        said = qualified(f"{said[:1].upper()}{said[1:]}", found[0])
        lines.append(f"{claim}, secondary. {asks} {said}.")
    note = family_note(judged)
    return [*lines, note] if lines and note else lines


def differences(path: str, text: str, wanted: str) -> list[str]:
    """The first `NAMED` lines of a page that are not what its parts should hold, by number, and how
    many more there are."""
    there, here = text.splitlines(), wanted.splitlines()
    if len(there) != len(here):
        return [f"{path}: its parts are not what the committed runs give; run `pages`"]
    found = [
        f"{path}, line {at}: {old!r}, the committed runs give {new!r}"
        for at, (old, new) in enumerate(zip(there, here, strict=True), 1)
        if old != new
    ]
    more = len(found) - NAMED
    return found[:NAMED] + [f"{path}: and {more} lines more; run `pages`"] * (more > 0)
