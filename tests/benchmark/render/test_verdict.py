"""The verdict's page: what it says before anything is run and after; the reply that it keeps."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.analyse.above_all import AllAbove
from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.effects import MEANINGS, NOT_REACHED
from benchmark.analyse.judged import GAINING, WITHOUT_BUDGET, JudgedBest, pair_verdict
from benchmark.analyse.power import smallest_detectable, stored_power
from benchmark.cli import app
from benchmark.cli.claims import noisy_rows, variants_of_claims
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.plan import plan, spec_of, specs
from benchmark.render.claims import EXPERIMENTS, build_ledger, write_ledger
from benchmark.render.document import percent, with_range
from benchmark.render.figures.draw import draw_verdict
from benchmark.render.notes import dataset_note
from benchmark.render.report.ledger import read_ledger
from benchmark.render.tables.contrasts import arms_of
from benchmark.render.verdict import verdict_page
from benchmark.render.verdict_answer import beside
from benchmark.render.verdict_short import verdict_part, verdict_pictures
from benchmark.render.verdict_texts import M1, family_note
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, profiles
from benchmark.settings.resolve import resolve
from tests.benchmark.render.synthetic import synthetic_run

ROOT = Path(__file__).parents[3]
RETENTION = "Why rows part: what they keep when the history competes"
SECTIONS = (
    "How to read this page",
    "Is FindRec above every other row? (P1, P2)",
    "The same of other readings of FindRec",
    "Asked beside the plan",
    "Does the machinery help? (M1 to M4)",
    RETENTION,
    "Do protocols and metrics order the rows alike?",
    "The paper's claims",
    "Tuning spent",
    "What could be shown",
    "Deviations from the plan",
    "What would change this verdict",
    "The authors' reply",
)


def sections(page):
    return dict(re.findall(r"^## (.+?)\n+(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))


SIDES = ((1, lambda effect: effect.low), (-1, lambda effect: effect.high))
"""The end of an interval that says on which side of 0 it lies, and the sign that it then has."""


def table_rows(part):
    """The lines of the README's table but its headings: question, history kept, left out."""
    cells = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [row for row in cells if row[0].endswith("?")]


def lacking_a_seed(best):
    """The same, a seed short of six in the other row of each comparison."""
    return tuple(
        replace(
            one,
            result=replace(
                one.result,
                effects=tuple(replace(e, n_seeds=(6, 5)) for e in one.result.effects),
            ),
        )
        for one in best
    )


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """Everything that the claims rest on, on the primary dataset, made up."""
    store, profile = Store(tmp_path_factory.mktemp("runs")), get_profile("rolling")
    wanted = specs(EXPERIMENTS, profile, datasets=["ml-1m"])
    known = {spec.key for spec in wanted}
    further = [spec_of(r, "ml-1m", profile, v) for r, v in (*noisy_rows(), *variants_of_claims())]
    wanted += [spec for spec in further if spec.key not in known]
    seeds = profile.first_seeds()
    for spec in wanted:
        if spec.key.model == "NOVA":  # a row without a ladder, which no committed one is now
            spec = spec.model_copy(update={"convergence": "not established"})
        for seed in seeds[:1] if spec.protocol.control else seeds:
            store.write(synthetic_run(spec, seed, 100))
    planned = plan(wanted, seeds, RunSet(store), as_stored=True)
    frequency = {"target": np.arange(100) % 10, "items": np.arange(50)}
    layers = {f"{name} layer": {50: 1.0, 100: 2.0} for name in ("Mamba", "attention")}
    return planned, *build_ledger(planned, profile, frequencies=lambda _: frequency, costs=layers)


def page_of(ledger, notes=None, **fields):
    planned, lines, judged = ledger
    profile = get_profile("rolling")
    notes = notes or {"ml-1m": dataset_note("ml-1m", profile, None)}
    arms = arms_of(planned, reuse_stale=False)
    return verdict_page(judged, lines, arms, notes, profile, **({"tuning": ROOT} | fields))


def test_a_fresh_page_says_not_reached_at_every_place(tmp_path, monkeypatch):
    """What the command writes with no run and no log of trials; the committed page is such a one
    until the plan has been carried out."""
    monkeypatch.setattr("benchmark.cli.claims.RESULTS", tmp_path)
    source = tmp_path / "none"
    source.mkdir()
    out = tmp_path / "verdict.md"
    done = CliRunner().invoke(app, ["verdict", "--from", str(source), "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = sections(out.read_text(encoding="utf-8"))
    assert tuple(found) == SECTIONS
    for name in SECTIONS[1:9]:
        assert "not reached" in found[name].lower(), name
    assert "**supported**" not in "".join(found.values())
    assert "not reached." in out.read_text(encoding="utf-8").split("**")[1].lower()
    assert analysis_plan().hash in out.read_text(encoding="utf-8")


def test_the_committed_page_has_every_section():
    page = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
    assert tuple(sections(page)) == SECTIONS


def test_a_filled_page_has_the_plans_numbers(ledger):
    _, lines, judged = ledger
    page = page_of(ledger)
    assert pair_verdict(judged.best) in page
    found = sections(page)
    for one in judged.contrasts:
        assert (
            f"| {one.claim}, history {one.protocol} | **{one.word}** |"
            in found["Does the machinery help? (M1 to M4)"]
        )
    assert "| FindRec | " in found[RETENTION]
    assert "lambda" not in found[RETENTION], "no swept values among the rows"
    assert "SASRec with-fusion" in found[RETENTION], "what was not run is named"
    assert "no log of trials" in found["Tuning spent"]
    assert "margin other than 1 %" in found["What would change this verdict"]
    words = ("supported", "opposite")
    decided = [line for line in lines if line.word in words and not line.read_as]
    assert found["The paper's claims"].count("\n| ") >= len(decided)


def test_the_readmes_part_is_the_pages_answer(ledger, tmp_path):
    """The same sentence, and the numbers of P1, P2 and M1 in its tables."""
    judged = ledger[2]
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    page, part = page_of(ledger), verdict_part(judged, analysis_plan(), notes)
    assert part.split("**")[1] == page.split("**")[1]
    rows = table_rows(part)
    assert [re.findall(r"\(([^()]+)\)\?$", row[0]) for row in rows] == [
        [name] for name in ("P1, P2", "M1", "M2", "M2 constant", "M4")
    ]
    of = {"P1, P2": judged.best, "M1": [c for c in judged.contrasts if c.claim.startswith("M1")]}
    of["M2"] = [c for c in judged.contrasts if c.claim == "M2"]
    for row, ones in zip(rows, of.values(), strict=False):
        for one in ones:
            effect = one.effect if hasattr(one, "effect") else one.margin
            low, high = (percent(v) for v in effect.relative[1:])
            said = f"**{one.word}**: {percent(effect.relative[0])} ({low} to {high})"
            assert row[1 + PROTOCOLS.index(one.protocol)].startswith(said), row
    for known, named in (
        (GAINING, "gaining"),
        (WITHOUT_BUDGET, "without_budget"),
    ):
        (line,) = [line for line in part.splitlines() if line.startswith(f"- {known} on ")]
        rows = {row for one in judged.best for row in getattr(one, named)}
        said = line.partition(": ")[2].rstrip(".")
        assert rows <= set(said.split(", ")) or said.startswith("all "), line
    for row in rows:
        for value in re.findall(r"[+−]?\d+\.\d\u00a0%", " ".join(row)):
            assert value in page, row
    pictures = verdict_pictures(judged, analysis_plan())
    assert pictures == {"primary": "ml-1m", "machinery": "ml-1m"}
    assert re.findall(r"\(docs/images/([a-z]+)\.svg\)", part) == list(pictures)
    drawn = [p.read_text(encoding="utf-8") for p in draw_verdict(judged, notes, pictures, tmp_path)]
    assert "MovieLens-1M, history left out. P2" in drawn[0]
    assert "M2 FindRec / with one constant vector" in drawn[1]


def test_the_page_has_the_difference_from_every_row(ledger):
    """Both protocols beside each other, those in favour as well as those against."""
    judged = ledger[2]
    section = sections(page_of(ledger))["Is FindRec above every other row? (P1, P2)"]
    kept, left_out = judged.best
    for other, *effects in zip(
        kept.others, kept.result.effects, left_out.result.effects, strict=True
    ):
        cells = " | ".join(with_range(*effect.relative) for effect in effects)
        assert f"| MovieLens-1M | {other} | {cells} |" in section


def test_a_family_that_is_not_complete_says_so(ledger):
    """M4 of the primary dataset is taken back under one protocol: the page counts it."""
    judged = ledger[2]
    testable = [
        c
        for c in judged.contrasts
        if c.contrast.claim == "secondary" and c.word not in ("not reached", "not testable here")
    ]
    whole = replace(judged, contrasts=tuple(testable))
    assert family_note(whole) == ""
    kept = [c for c in testable if c.protocol == "kept"]
    last = next(c for c in kept if c.claim == "M4")
    fewer = tuple(replace(c, word="not reached") if c is last else c for c in testable)
    note = family_note(replace(judged, contrasts=fewer))
    assert f"(history kept: {len(kept) - 1} of {len(kept)} over all datasets)" in note
    assert note in page_of((*ledger[:2], replace(judged, contrasts=fewer), *ledger[3:]))
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    part = verdict_part(replace(judged, contrasts=fewer), analysis_plan(), notes)
    assert f"- {note}" in part.splitlines()
    assert "Secondary verdicts" not in page_of(ledger) + verdict_part(
        judged, analysis_plan(), notes
    )


def test_the_readmes_part_says_what_the_rows_so_far_come_to(ledger):
    """Not before they have all their seeds, and never as a verdict."""
    judged = ledger[2]
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    best = tuple(replace(one, word="not reached") for one in judged.best)
    part = verdict_part(replace(judged, best=best), analysis_plan(), notes)
    (row,) = [row for row in table_rows(part) if "(P1, P2)" in row[0]]
    for cell, one in zip(row[1:], best, strict=True):
        said = percent(one.margin.relative[0])
        assert cell.startswith(f"**not reached**; so far {said} (")
        above, below = (sum(sign * ends(e) > 0 for e in one.result.effects) for sign, ends in SIDES)
        assert cell.endswith(f" over {one.strongest}; above {above} of 11 rows, below {below}")
    part = verdict_part(replace(judged, best=lacking_a_seed(best)), analysis_plan(), notes)
    assert "M1" in table_rows(part)[0][0]
    assert "(P1, P2)" not in part


def test_the_readmes_part_has_the_picture_of_what_is_reached(ledger):
    """M1 alone: no picture of rows that have no runs."""
    judged = ledger[2]
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    best = tuple(
        replace(one, result=None, strongest=None, word="not reached") for one in judged.best
    )
    part = verdict_part(replace(judged, best=best), analysis_plan(), notes)
    assert len(table_rows(part)) == 4
    assert "(P1, P2)" not in part
    assert re.findall(r"docs/images/([a-z]+)\.svg", part) == ["machinery"]
    none = replace(judged, best=best, contrasts=())
    assert verdict_pictures(none, analysis_plan()) == {}
    assert "![" not in verdict_part(none, analysis_plan(), notes)


def test_the_readmes_part_has_the_replication_too(ledger, tmp_path):
    """The same lines, and no word on the demonstration."""
    judged = ledger[2]
    elsewhere = [
        replace(one, dataset=name)
        for name in ("beauty", "ml-100k")
        for one in (*judged.best, *judged.contrasts)
    ]
    more = replace(
        judged,
        best=judged.best + tuple(one for one in elsewhere if hasattr(one, "margin")),
        contrasts=judged.contrasts + tuple(one for one in elsewhere if not hasattr(one, "margin")),
    )
    profile = get_profile("rolling")
    notes = {name: dataset_note(name, profile, None) for name in ("ml-1m", "beauty", "ml-100k")}
    alone, both = (verdict_part(j, analysis_plan(), notes).splitlines() for j in (judged, more))
    rows = [line for line in alone if line.startswith("| ")]
    heading = rows.index("| *MovieLens-1M* | | |")
    assert [line for line in both if line.startswith("| ")] == [
        *rows,
        "| *Amazon Beauty* | | |",
        *rows[heading + 1 :],
    ]
    added = "\n".join(line for line in both if line not in alone)
    assert "Amazon Beauty has text alone: of FindRec's machinery the experts" in added
    assert "Amazon Beauty has text alone: of FindRec's machinery the experts" in page_of(
        ledger, notes=notes
    )
    assert "[picture](docs/images/primary-beauty.svg)" in added
    pictures = verdict_pictures(more, analysis_plan())
    assert pictures["primary-beauty"] == "beauty"
    *_, drawn = draw_verdict(more, notes, pictures, tmp_path)
    assert "Amazon Beauty, history left out. P2" in drawn.read_text(encoding="utf-8")


def test_what_is_asked_beside_the_plan_stands_beside_the_answer(ledger):
    """What it reaches, on both pages, called exploratory; nothing of what it does not. The answer
    stays."""
    judged = ledger[2]
    (longer,) = get_profile("rolling").further
    settled, roles = "GRU4Rec", dict.fromkeys(judged.roles, "exploratory")
    best = tuple(replace(one, word="not reached", settled_by=(settled,)) for one in judged.best)
    contrasts = tuple(c if c.claim == "M1" else replace(c, effect=None) for c in judged.contrasts)
    some = [(longer, replace(judged, best=best, contrasts=contrasts, roles=roles))]
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    page, part = page_of(ledger, further=some), verdict_part(judged, analysis_plan(), notes, some)
    for text, without in (
        (page, page_of(ledger)),
        (part, verdict_part(judged, analysis_plan(), notes)),
    ):
        assert text.split("**")[1] == without.split("**")[1]
        said = beside(longer, some[0][1], "ml-1m")
        assert text.split("**")[2].strip().startswith(said), "right below it"
        assert said not in without
    assert said.startswith(
        "With twice the steps, which FindRec and 11 other rows have been run with"
    )
    for one in best:
        margin = with_range(*one.margin.relative)
        assert f"{margin} against {one.strongest} ({one.claim}, history {one.protocol})" in said
    own = sections(page)["Asked beside the plan"]
    assert f"**Twice the steps** (profile `{longer.name}`). {longer.beside}" in own
    assert said not in own, "it stands at the top"
    assert "P1 and P2 will be refuted, whatever the missing rows bring: a gain of 1 % over" in own
    assert f"| {best[0].strongest} |" in own
    assert "M1, history left out" in own
    assert "M2" not in own
    assert "MovieLens-1M, exploratory" in own
    assert "MovieLens-1M, primary" not in own
    start = part.index(f"| *MovieLens-1M, {longer.title}* | | |")
    added = table_rows(part[start:])
    assert [row[0][-8:] for row in added] == ["P1, P2)?", "on (M1)?"]
    forecast = "**not reached** (to be refuted, whatever the missing rows bring); so far "
    assert added[0][1].startswith(forecast)
    m1 = next(row for row in table_rows(part[:start]) if row[0].endswith("(M1)?"))
    assert added[1][2] == m1[2], "history left out, which is the primary one"
    assert added[1][1] == "", "M1 kept has no runs here"
    assert f"- *Twice the steps*: {longer.beside}" in part.splitlines()


def test_beside_the_plan_stands_a_verdict_once_all_rows_are_run(ledger):
    judged = ledger[2]
    (longer,) = get_profile("rolling").further
    said = beside(longer, judged, "ml-1m")
    assert said.startswith(f"With {longer.title}: {pair_verdict(judged.best)} Exploratory")
    page = page_of(ledger, further=[(longer, judged)])
    sentence = pair_verdict(judged.best)
    assert sections(page)["Asked beside the plan"].count(sentence) == 1
    assert page[: page.index("## ")].count(sentence) == 2, "of the plan, and beside it"
    assert beside(longer, replace(judged, best=lacking_a_seed(judged.best)), "ml-1m") == ""
    assert beside(longer, judged, "beauty") == ""


def test_a_page_of_what_is_asked_beside_the_plan_says_so(ledger, tmp_path, monkeypatch):
    """Throughout, and never in the place of the plan's own page."""
    planned, lines, judged = ledger
    (longer,) = get_profile("rolling").further
    roles = dict.fromkeys(judged.roles, "exploratory")
    notes = {"ml-1m": dataset_note("ml-1m", longer, None)}
    arms = arms_of(planned, reuse_stale=False)
    page = verdict_page(replace(judged, roles=roles), lines, arms, notes, longer, tuning=ROOT)
    assert page.count(longer.beside) == 2
    assert "MovieLens-1M, exploratory | P1" in page
    assert "MovieLens-1M, primary" not in page
    monkeypatch.setattr("benchmark.cli.claims.PAGE", tmp_path / "verdict.md")
    asked = ["verdict", "--profile", longer.name, "--from", "reference", "--out"]
    with pytest.raises(InputError, match=r"name another page with --out"):
        CliRunner().invoke(app, [*asked, str(tmp_path / "verdict.md")], catch_exceptions=False)


def test_nothing_stands_beside_the_plan_where_nothing_is_run(ledger):
    judged = ledger[2]
    (longer,) = get_profile("rolling").further
    none = replace(
        judged,
        best=tuple(
            replace(one, result=None, strongest=None, others=(), word="not reached")
            for one in judged.best
        ),
        contrasts=tuple(replace(c, effect=None, word="not reached") for c in judged.contrasts),
    )
    notes = {"ml-1m": dataset_note("ml-1m", get_profile("rolling"), None)}
    assert page_of(ledger, further=[(longer, none)]) == page_of(ledger)
    assert verdict_part(judged, analysis_plan(), notes, [(longer, none)]) == verdict_part(
        judged, analysis_plan(), notes
    )
    assert "Not reached" in sections(page_of(ledger))["Asked beside the plan"]


def test_only_what_says_what_it_asks_stands_beside_the_plan(monkeypatch):
    """Not a user's own profile that extends the plan's, nor one that carries out no plan."""
    rolling, longer = get_profile("rolling"), get_profile("rolling-2x")
    assert rolling.further == (longer,)
    assert longer.further == get_profile("quick").further == ()
    silent = longer.model_copy(update={"name": "silent", "beside": ""})
    planless = longer.model_copy(update={"name": "planless", "analysis_plan": False})
    longest = longer.model_copy(update={"name": "longest", "extends": "rolling-2x"})
    every = {p.name: p for p in (*profiles().values(), silent, planless, longest)}
    monkeypatch.setattr("benchmark.settings.registry.profiles", lambda: every)
    assert [profile.name for profile in rolling.further] == ["rolling-2x", "longest"]
    assert [profile.name for profile in longer.further] == ["longest"]


def test_the_committed_page_has_the_plans_deviations():
    page = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
    plan = analysis_plan().sections["Deviations"]
    assert sections(page)["Deviations from the plan"].strip() == plan.strip()


def test_other_readings_have_their_section(ledger):
    """Each reading under both protocols, below the default's verdict and with corrected p; in the
    table of decided claims there is none of them."""
    judged = ledger[2]
    found = sections(page_of(ledger))
    own = found["The same of other readings of FindRec"]
    for one in judged.readings:
        assert f"{one.claim}, history {one.protocol}, {one.subject} | **{one.word}**" in own
    assert "not chosen yet" in own
    assert "reading-a" not in found["The paper's claims"]
    assert "FindRec (released)" not in found[RETENTION], "it is no row of the paper's table"


@pytest.mark.parametrize("word", MEANINGS)
def test_the_first_sentence_is_one_whatever_m1_came_to(ledger, word):
    planned, lines, judged = ledger
    contrasts = tuple(
        replace(one, word=word) if one.contrast.id == "M1" else one for one in judged.contrasts
    )
    page = page_of((planned, lines, replace(judged, contrasts=contrasts)))
    answer = page.split("**")[1]
    assert answer.endswith(
        M1.get(word, "Whether FindRec's machinery beats plain late fusion (M1) is not reached.")
    )
    assert answer.count(".") == 2


def test_every_claim_is_reached_by_what_the_command_reads(ledger):
    """With all of it run, no claim is left over; of FindRec's other readings one was not chosen."""
    _, lines, _ = ledger
    left = [line for line in lines if line.word == "not reached"]
    assert {line.claim.id for line in left if not line.read_as} == set()
    assert {line.read_as for line in left} == {"FindRec favourable"}
    others = [line for line in lines if line.read_as]
    assert len(others) == 8
    assert {line.claim.id for line in others} == {"abstract-superior"}


def test_the_last_doublings_are_those_of_the_log(ledger):
    """Of rows whose budget is the longest that was tried."""
    log = pd.read_csv(ROOT / "results" / "tuning" / "rolling-budgets.csv")
    found = sections(page_of(ledger, tuning=ROOT / "results" / "tuning"))["Tuning spent"]
    _, _, table = found.partition("| row | steps |")
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert {line[0] for line in lines[1:]} == set(log[log.dataset == "ml-1m"]["model"])
    for row, steps, *gains in lines[1:]:
        own = log[(log.model == row) & (log.dataset == "ml-1m")]
        before = own[own.rung * 2 == int(steps.replace(",", ""))].set_index("protocol")
        for protocol, said in zip(PROTOCOLS, gains, strict=True):
            line = before.loc[protocol]
            assert said == with_range(line["gain"], line["low"], line["high"])
    assert "the doubling to its budget" not in page_of(ledger), "no log, no table"


def test_the_reply_stays(ledger):
    first = page_of(ledger)
    assert "No reply so far" in first
    written = first.replace("No reply so far", "Your λ is wrong.\n\nSo are\nyour seeds")
    again = page_of(ledger, earlier=written)
    assert again == written
    start, end = (line for line in first.splitlines() if line.startswith("<!-- "))
    spaced = written.replace(start, f"  {start} ").replace(end, f"{end}\t")
    assert page_of(ledger, earlier=spaced) == written
    for broken in (written.replace(end, ""), written + written, "# My notes\n"):
        with pytest.raises(InputError, match="mend them, or write to another file"):
            page_of(ledger, earlier=broken)


@dataclass(frozen=True)
class Bounds:
    """What a sentence asks of a result: the simultaneous upper bounds, logs of ratios."""

    upper: tuple[float, ...]
    refuted_by = AllAbove.refuted_by

    @property
    def effects(self):
        """Above 0 are those whose bound is far above it."""
        return [SimpleNamespace(low=upper - 0.5) for upper in self.upper]


def said(word_kept, word_left_out, **upper):
    """The sentence of two words, with the bounds of three rows."""
    bounds = {"kept": upper.get("kept", (1, 1, 1)), "left out": upper.get("left_out", (1, 1, 1))}
    words = {"P1": ("kept", word_kept), "P2": ("left out", word_left_out)}
    return pair_verdict(
        [
            JudgedBest(
                *(claim, "ml-1m", protocol, "F", ("A", "B", "C")),
                *(Bounds(bounds[protocol]), (), "A", word),
            )
            for claim, (protocol, word) in words.items()
        ]
    )


def test_the_sentence_of_a_pair_says_which_rows_and_how():
    """A row that is below, and one over which 1 per cent is excluded and no more."""
    assert said("supported", "supported") == "P1, P2: F is above every other row."
    assert said("refuted", "refuted", kept=(1, -0.1, 1), left_out=(0.005, 1, 1)) == (
        "P1, history kept: F is below B (refuted; above 2 of 3, each by its own interval); P2, "
        "history left out: a gain of 1 % over A is excluded (refuted; above 2 of 3, each by its "
        "own interval), though F is not shown to be below."
    )
    assert said("refuted", "supported", kept=(-0.1, -0.2, 0.005)).startswith(
        "P1, history kept: F is below A and B (refuted; above 0 of 3); P2, history left out: F is "
    )
    assert said("undecided", "undecided") == (
        "P1, P2: it is undecided whether F is above every other row."
    )
    assert said("not reached", "supported") == NOT_REACHED


def test_time_spent_on_tuning(ledger, tmp_path):
    """Trials and seconds of a row are summed over the profiles whose settings hold here."""
    header = "dataset,model,seconds\n"
    (tmp_path / "quick.csv").write_text(header + "beauty,NOVA,60\nbeauty,NOVA,60\nml-1m,NOVA,30\n")
    (tmp_path / "rolling.csv").write_text(header + "ml-1m,NOVA,30\n")
    found = sections(page_of(ledger, tuning=tmp_path))["Tuning spent"]
    assert "| row | beauty | ml-1m |" in found
    assert "| NOVA | 2, 2 min | 2, 60 s |" in found


def test_the_claims_page_reads_what_the_command_wrote(ledger, tmp_path):
    _, lines, _ = ledger
    paths = write_ledger(lines, tmp_path)
    assert {path.name for path in paths} == {"claims.md", "claims.csv", "claims.json"}
    page = read_ledger(tmp_path / "claims.json")
    assert len(page.lines) == len(lines)
    assert page.choices["dataset"] == ["ml-1m"]
    assert set(page.choices["verdict"]) == {line.word for line in lines}
    assert read_ledger(tmp_path / "none.json") is None
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert all(line.claim.text in text.replace("\\<", "<") for line in lines)


def test_the_command_judges_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.cli.options.RESULTS", tmp_path)
    source = tmp_path / "none"
    source.mkdir()
    done = CliRunner().invoke(app, ["claims", "--from", str(source)])
    assert done.exit_code == 0, done.output
    assert "not reached" in done.output
    assert (tmp_path / "rolling" / "claims.json").is_file()


def test_what_could_be_shown_has_the_profiles_own_number_of_targets(ledger):
    found = sections(page_of(ledger))["What could be shown"]
    pilots = stored_power().pilots
    assert set(pilots) >= {"beauty", "ml-100k"}
    for dataset, pilot in pilots.items():
        targets = resolve("SASRec", dataset, get_profile("rolling")).protocol.test_targets
        assert targets > 1
        for protocol, spread in pilot.histories.items():
            least = smallest_detectable(spread, users=pilot.users, seeds=6, targets=targets)
            (row,) = re.findall(
                rf"^\| {dataset}[^|]*\| history {protocol} \|.*$", found, re.MULTILINE
            )
            assert row.endswith(f"| {percent(least).lstrip('+')} |")
