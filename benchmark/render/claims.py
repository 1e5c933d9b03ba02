"""The claims ledger from stored runs to files: claims.md, claims.csv and claims.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.claim_data import Here, LayerCosts
from benchmark.analyse.effects import MEANINGS
from benchmark.analyse.judged import Judged
from benchmark.analyse.ledger import LedgerLine, Place, counts, judge_claims, ledger_frame
from benchmark.analyse.verify import to_csv
from benchmark.files import atomic_file
from benchmark.paper import load_cells, load_claims
from benchmark.plan import OWN_MODEL, Planned, experiments, other_readings
from benchmark.render.document import p_value, percent, percent_range
from benchmark.render.notes import DatasetNote, dataset_note
from benchmark.render.tables.contrasts import arms_of, judged_of
from benchmark.render.tables.definitions import ABLATIONS, CROSS_MODAL, SWEEPS, category, distinct
from benchmark.settings.registry import Profile

EXPERIMENTS = (
    "table2",
    "table3",
    "table5",
    *SWEEPS,
    "controls",
    "primary",
    "machinery",
    "alignment",
    "four-ways",
)
"""What the claims are tested on."""

Frequencies = Callable[[str], Mapping[str, npt.NDArray[np.int64]]]
"""Dataset -> how often its test targets and its items are trained on; empty where unknown."""


def build_ledger(
    planned: Sequence[Planned],
    profile: Profile,
    *,
    reuse_stale: bool = False,
    data: Path | None = None,
    frequencies: Frequencies | None = None,
    costs: LayerCosts | None = None,
) -> tuple[list[LedgerLine], Judged]:
    """Every claim judged on what is planned, and the plan's own claims; whatever is missing is "not
    reached". Raises InputError for runs of one dataset on different users."""
    states = [p for p in planned if p.spec is not None and p.spec.protocol.snapshot]
    planned = [p for p in planned if p not in states]
    names = dict.fromkeys(p.key.dataset for p in planned)
    notes = {name: dataset_note(name, profile, data) for name in names}
    judged = judged_of(
        planned, notes, best_row=True, reuse_stale=reuse_stale, read_as=other_readings()
    )
    arms = arms_of(planned, reuse_stale=reuse_stale)
    places = []
    for name, note in notes.items():
        own = [p for p in planned if p.key.dataset == name]
        rows, barred = _rows(own, note)
        frequency = frequencies(name) if frequencies is not None else {}
        tests = [run.test for arm in arms[name].values() for run in arm.runs]
        if frequency and {len(t) for t in tests if t is not None} - {len(frequency["target"])}:
            frequency = {}  # the bundle here is of another version of the data than the runs
        snapshots = [
            run
            for p in states
            if p.key.dataset == name
            for run in p.results(reuse_stale=reuse_stale)
        ]
        here = Here(name, arms[name], rows, barred, frequency, snapshots, costs or {})
        places.append(Place(here, note.grade))
    plan = analysis_plan()
    if profile.beside:  # nothing in it is the plan's own
        plan = replace(plan, hash="", datasets=judged.roles)
    lines = judge_claims(load_claims(), load_cells(), places, plan, judged)
    return lines, judged


def _rows(
    planned: Sequence[Planned], note: DatasetNote
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """(display item, the paper's row) -> arm; and -> why it says nothing here."""
    rows: dict[tuple[str, str], str] = {}
    barred: dict[tuple[str, str], str] = {}
    for p in planned:
        if p.key.variant == "base" and category(p.key) != "control":
            rows |= {(item, p.key.model): p.key.model for item in ("table 2", "table 3")}
    own = [p for p in planned if p.key.model == OWN_MODEL]
    for p in own:
        if p.key.variant in ABLATIONS:
            rows["table 5", ABLATIONS[p.key.variant][0]] = _arm(p)
    for name, sweep in SWEEPS.items():
        item = name.replace("table", "table ").replace("fig", "figure ")
        variants = experiments()[name].variants
        members = [p for p in own if p.key.variant in variants]
        for p in distinct(name, members):
            rows[item, sweep.paper_row(sweep.value(p))] = _arm(p)
    if len(note.encoders) < 2:
        reason = f"{note.modalities}: there is no cross-attention and no alignment"
        items = {name.replace("table", "table ") for name in CROSS_MODAL}
        barred = {
            (item, row): reason
            for item, row in rows
            if item in items and row not in (OWN_MODEL, "w/o MoE")
        }
    return rows, barred


def _arm(p: Planned) -> str:
    return p.key.model if p.key.variant == "base" else f"{p.key.model} {p.key.variant}"


def write_ledger(lines: Sequence[LedgerLine], folder: Path) -> list[Path]:
    """folder/claims.{md,csv,json}, each whole or not at all. Raises InputError where they cannot be
    written."""
    frame = ledger_frame(lines)
    texts = {
        "md": ledger_markdown(lines),
        "csv": to_csv(frame),
        "json": json.dumps(json.loads(frame.to_json(orient="records")), indent=1) + "\n",
    }
    paths = []
    for suffix, text in texts.items():
        path = folder / f"claims.{suffix}"
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def ledger_markdown(lines: Sequence[LedgerLine]) -> str:
    """The ledger as Markdown: what the words mean, a count of them, then claim after claim."""
    parts = ["# The paper's claims, judged", "", summary(lines), ""]
    parts += ["| verdict | meaning |", "|---|---|"]
    parts += [f"| {word} | {meaning} |" for word, meaning in MEANINGS.items()]
    parts += [
        "",
        "Differences are relative, with their 95 % interval over users and seeds; positive is in "
        "favour of the claim. Of several comparisons the one that decides is shown. *primary* "
        "claims are corrected by Holm, *secondary* ones (runs of the analysis plan) by Benjamini "
        "and Hochberg at 10 %, a family a protocol; all else is *exploratory*, whatever it says. "
        "*Another reading* is the claim of FindRec in reading A, in reading B, as released, or as "
        "validation prefers it, corrected by Holm over the four: the base decides, and none of "
        "them can take its place.",
        "",
    ]
    by_claim: dict[str, list[LedgerLine]] = {}
    for line in lines:
        by_claim.setdefault(line.claim.id, []).append(line)
    for own in by_claim.values():
        claim = own[0].claim
        parts += [f"## {claim.text}", "", f"`{claim.id}`, {claim.kind}, {claim.section}.", ""]
        if not own[0].dataset:
            parts += [f"**{own[0].verdict}**: {own[0].finding.said}.", ""]
            continue
        parts += [
            "| dataset, history | verdict | difference | 95 % interval | detectable | corrected p "
            "| seeds × users | evidence |",
            "|---|---|--:|--:|--:|--:|--:|---|",
            *(f"| {' | '.join(cells(line))} |" for line in own),
            "",
        ]
    return "\n".join(parts).replace("<", "\\<").rstrip() + "\n"


def cells(line: LedgerLine) -> tuple[str, ...]:
    """A line of a claim's table: where, the verdict, the numbers, and what they rest on."""
    where = f"{line.dataset} ({line.grade}), {line.protocol}"
    where += f", as {line.read_as}" if line.read_as else ""
    verdict = f"{line.verdict} ({line.standing})" if line.standing else line.verdict
    effect = line.finding.effect
    if effect is None:
        return where, verdict, "", "", "", "", "", line.finding.said
    value, low, high = effect.relative
    detectable = percent(_relative(effect.smallest_detectable)).lstrip("+")
    seeds = f"{min(effect.n_seeds)} × {effect.n_users}"
    numbers = (percent(value), percent_range(low, high), detectable, p_value(line.adjusted), seeds)
    metric = f"{line.finding.metric}: " if line.finding.metric else ""
    return where, verdict, *numbers, f"{metric}{line.finding.said}"


def _relative(log_ratio: float) -> float:
    return float(np.expm1(log_ratio))


def summary(lines: Sequence[LedgerLine]) -> str:
    """One sentence: how many lines have which verdict."""
    tested = counts(lines)
    said = ", ".join(f"{number} {word}" for word, number in tested.items()) or "none"
    claims = len({line.claim.id for line in lines})
    open_ones = len({line.claim.id for line in lines if not line.dataset})
    return (
        f"{claims} claims; {claims - open_ones} of them are put to runs, claim by dataset and "
        f"protocol: {said}."
    )
