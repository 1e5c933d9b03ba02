"""The report as files: self-contained, every number with its provenance. Synthetic runs."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from benchmark.evaluate.metrics import per_user
from benchmark.plan import experiments, specs
from benchmark.render.document import number, percent
from benchmark.render.experiment import render
from benchmark.render.report.chart import ticks
from benchmark.render.report.page import _sortable, write_report
from benchmark.render.report.trial import SECTIONS
from benchmark.render.selection import Selection
from benchmark.render.tables.build import build_table, heading_of
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import fill, synthetic_run

ROOT = Path(__file__).resolve().parents[3]


LOG = """\
dataset,model,lr,dropout,steps,validation_kept,validation_left_out,seed,seconds,status,code,chosen
beauty,FindRec,0.002,0.2,600,0.0901,0.1101,1000,9.0,complete,abc,False
beauty,FindRec,0.005,0.2,600,0.0911,0.1111,1000,9.0,complete,abc,True
"""
"""Lines as `tune` writes them."""


@pytest.fixture(scope="session")
def report(tmp_path_factory, synthetic, profile):
    store, _ = synthetic
    log = tmp_path_factory.mktemp("tuning")
    (log / f"{profile.name}.csv").write_text(LOG, encoding="utf-8")
    return write_report(
        profile,
        tmp_path_factory.mktemp("results"),
        RunSet(store),
        tuning=log,
        as_stored=True,
    )


class Elements(html.parser.HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def pages(report):
    return sorted(report.parent.glob("*.html"))


def data(report):
    text = (report.parent / "tables.html").read_text(encoding="utf-8")
    found = re.search(r'id="provenance-data">(.*?)</script>', text, re.S)
    return json.loads(found[1].replace("<\\/", "</"))


def test_needs_no_network(report):
    """Every reference is to a file of the folder, an anchor or nothing."""
    names = {path.name for path in report.parent.iterdir()}
    for page in pages(report):
        for tag, attributes in Elements(page.read_text(encoding="utf-8")).found:
            for name in ("src", "href"):
                target = attributes.get(name)
                if target is None or target in ("", "data:,"):
                    continue
                assert target.split("#")[0] in names | {""}, (page.name, tag, target)
    for asset in ("report.css", "report.js"):
        assert "http" not in (report.parent / asset).read_text(encoding="utf-8")


def test_anchors_exist(report):
    ids = {
        (page.name, attributes["id"])
        for page in pages(report)
        for _, attributes in Elements(page.read_text(encoding="utf-8")).found
        if "id" in attributes
    }
    for page in pages(report):
        for _, attributes in Elements(page.read_text(encoding="utf-8")).found:
            file, _, anchor = attributes.get("href", "").partition("#")
            if anchor:
                assert (file or page.name, anchor) in ids


def test_every_cell_has_provenance(report):
    known = data(report)
    text = (report.parent / "tables.html").read_text(encoding="utf-8")
    cells = [a["data-cell"] for _, a in Elements(text).found if "data-cell" in a]
    assert len(cells) > 100
    assert set(cells) <= set(known["cells"])


def test_provenance_repeats_the_stored_ranks(report, synthetic):
    store, planned = synthetic
    known = data(report)
    cell = known["cells"]["2|FindRec||beauty|MRR@5|kept"]
    spec = next(p.spec for p in planned if p.spec.model == "FindRec" and p.spec.variant == "base")
    expected = [
        number(per_user(store.read(spec.key, seed).test, "MRR@5").mean()) for seed in range(3)
    ]
    assert cell["values"] == expected
    made = known["specs"][cell["spec"]]["made"]
    assert (made["device"], made["code hash"]) == ("cpu", "code")
    masked = [per_user(store.read(spec.key, seed).test, "MRR@5", masked=True) for seed in range(3)]
    left_out = known["cells"]["2|FindRec||beauty|MRR@5|left out"]
    assert left_out["values"] == [number(values.mean()) for values in masked]
    assert left_out["where"] == "MRR@5 on beauty, history left out"
    assert known["cells"]["controls|MMMLP|no-features|beauty|MRR@5|kept"]["status"] == "ok"
    assert known["cells"]["2|NOVA||beauty|MRR@5|kept"]["status"] == "missing"


def test_settings_say_where_they_come_from(report, synthetic):
    """The lines that are named hold the setting, its older value, and the trial that chose it."""
    known = data(report)
    settings = known["specs"][known["cells"]["2|FindRec||beauty|MRR@5|kept"]["spec"]]["settings"]
    spec = next(p.spec for p in synthetic[1] if p.spec.model == "FindRec")
    assert [len(settings[part]) for part in ("config", "training", "protocol")] == [
        len(spec.config),
        len(spec.training.model_dump()),
        len(spec.protocol.model_dump()),
    ]
    ((text, reasons),) = ((t, why) for name, t, why in settings["training"] if name == "lr")
    assert text == "0.005"
    said = ("lr: 0.005", "beauty,FindRec,0.005,0.2", "lr: 0.002")
    for reason, expected in zip(reasons, said, strict=True):
        file, number_of_line = reason.rpartition(" ")[2].split(":")
        line = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(number_of_line) - 1]
        assert expected in line


@pytest.mark.parametrize("widest", [0.0131, 0.05, 0.1, 0.149, 0.2856, 0.999, 1.0])
def test_ticks_are_round_and_few(widest):
    found = ticks(widest)
    assert found[0] == 0
    assert 3 <= len(found) <= 6
    assert found[-1] <= widest < found[-1] + found[1] * (1 + 1e-9)
    assert all(len(f"{tick:g}") <= 6 for tick in found)


def test_says_what_three_seeds_can_carry(report):
    assert "a test carries no verdict" in report.read_text(encoding="utf-8")


def test_the_first_page_says_what_the_method_is_without(report):
    text = report.read_text(encoding="utf-8")
    assert "Amazon Beauty has text alone: of FindRec&#39;s machinery the experts are left" in text
    assert "MovieLens-100k has text" not in text


def test_audit_page_only_with_an_audit(report, tmp_path, synthetic, profile):
    from benchmark.paper.audit import TITLES, audit_paper
    from rankaudit.report import write_report as write_audit

    assert not (report.parent / "audit.html").exists()
    found = audit_paper()
    write_audit(found, tmp_path / "audit", TITLES)
    store, _ = synthetic
    again = write_report(profile, tmp_path, RunSet(store), audit=tmp_path / "audit", as_stored=True)
    text = (again.parent / "audit.html").read_text(encoding="utf-8")
    assert text.count('<article class="finding') == len(found.findings)


def test_stale_runs_are_not_shown_unless_their_table_was(synthetic, profile, tmp_path):
    """Made-up hashes are stale. A table that was rendered with them keeps its rows and seeds."""
    store, planned = synthetic
    asked = Selection(seeds=(0, 1), models=("SASRec",), reuse_stale=True)
    shown = [p for p in planned if p.spec.model == "SASRec"]
    render("table2", shown, RunSet(store), profile, tmp_path, asked)
    cells = data(write_report(profile, tmp_path, RunSet(store)))["cells"]
    assert len(cells["2|SASRec||beauty|MRR@5|kept"]["values"]) == 2
    assert "2|FindRec||beauty|MRR@5|kept" not in cells
    other = cells["6|FindRec|0.001|beauty|MRR@5|kept"]
    assert (other["status"], other["values"]) == ("stale", [])
    other = cells["6|FindRec|0.01|beauty|MRR@5|kept"]
    assert (other["status"], other["values"]) == ("idle", []), "texts alone: nothing to weigh"


def test_the_trial_page_says_in_a_line_what_was_not_run(report):
    """In the order of the issue; nothing of the plan has runs here, and power needs none."""
    text = (report.parent / "trial.html").read_text(encoding="utf-8")
    shown = [name for name in SECTIONS if name in (*experiments(), "claims", "power")]
    places = [text.index(f'<section id="{name}">') for name in shown]
    assert places == sorted(places)
    for name in ("primary", "retention", "machinery", "claims"):  # of the plan's own profile
        assert f"Of profile <code>rolling</code>: <code>./reproduce.sh {name}</code>" in text
    for name in ("readings", "specifications"):
        assert f"Not run yet: <code>./reproduce.sh {name}</code> fills this section." in text
    assert "Smallest differences that can be shown" in text
    assert "has not been tested here" in report.read_text(encoding="utf-8")


def test_figures_that_are_not_drawn_are_named_with_their_commands(report):
    text = (report.parent / "figures.html").read_text(encoding="utf-8")
    named = re.findall(r"<li><code>\./reproduce\.sh (\S+)</code> ([^<]+)</li>", text)
    assert ("fig1", f"Figure 1. {experiments()['fig1'].title}") in named
    assert {name for name, _ in named} >= {"table2", "fig1", "fig2", "fig3", "curves"}
    assert "primary" not in dict(named)  # of another profile


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("table2", "Table 2"),
        ("fig1", "Figure 1"),
        ("four-ways", "Four-ways"),
        ("curves", "Curves"),
        ("curves-learning", "Curves: learning"),
        ("retention-doses", "Retention: doses"),
    ],
)
def test_headings(name, heading):
    assert heading_of(name) == heading


def _line(text, asks):
    """The one line of a claim."""
    (found,) = re.findall(re.escape(f'<th scope="row">{asks}</th>') + ".*", text)
    return found


def test_the_primary_claims_come_first(tmp_path):
    """Words and sizes of P1, P2 and M1 are those of the table `primary`; retention follows. A
    dataset and rows without runs are named once and have no lines of their own."""
    profile = get_profile("smoke").model_copy(update={"run_on": ("ml-1m", "ml-100k")})
    store, models = Store(tmp_path / "runs"), ("SASRec", "FindRec", "Late fusion")
    names = ["primary", "retention"]
    fill(store, names, profile, seeds=6, users=60, models=models, datasets=("ml-1m",))
    asked = Selection(seeds=tuple(range(6)), models=models)
    for name in names:
        planned = asked.planned([name], profile, RunSet(store), as_stored=True)
        render(name, planned, RunSet(store), profile, tmp_path, asked)
    index = write_report(profile, tmp_path, RunSet(store), as_stored=True)
    planned = asked.planned(["primary"], profile, RunSet(store), as_stored=True)
    judged = build_table("primary", planned, profile, root=store.root).judged
    for page in (index, index.with_name("trial.html")):
        text = page.read_text(encoding="utf-8")
        for one in (b for b in judged.best if b.dataset == "ml-1m"):
            line = _line(text, f"Above every other row, history {one.protocol}? ({one.claim})")
            assert f"{percent(one.margin.relative[0])} (" in line
            assert f" over {one.strongest}<span" in line
            unchosen = (one.subject, *one.others)  # the profile smoke has no ladders
            assert f"Budget chosen by no ladder: {', '.join(unchosen)}</span>" in line
            assert f"<b>{one.word}</b>" in line
        (m1,) = (c for c in judged.contrasts if (c.claim, c.dataset) == ("M1", "ml-1m"))
        line = _line(text, f"{m1.contrast.asks} (history left out, M1)")
        assert f"<b>{m1.word}</b></td><td>{percent(m1.effect.relative[0])} (" in line
        assert "over Late fusion" in line
    text = index.read_text(encoding="utf-8")
    assert text.count("MovieLens-100k") == 1
    assert "No run yet on MovieLens-100k." in text
    assert "No runs yet: BERT4Rec, GRU4Rec, " in text
    assert re.findall(r'<span class="name">(.+?)</span>', text) == ["FindRec", "SASRec"]
    text = index.with_name("trial.html").read_text(encoding="utf-8")
    assert "MovieLens-1M: FindRec / row − 1" in text
    assert "MovieLens-100k" not in text
    # three tables of the retention on ml-100k
    assert "Not shown: 3 parts that no run fills yet." in text
    assert 'src="retention.svg"' in text
    cells = {a["data-cell"] for _, a in Elements(text).found if "data-cell" in a}
    known = re.search(r'id="provenance-data">(.*?)</script>', text, re.S)
    assert cells
    assert cells <= set(json.loads(known[1].replace("<\\/", "</"))["cells"])


def test_longer_budgets_stand_below_the_primary_claims(tmp_path):
    """Of the rows that have them; a profile that carries out no plan has none."""
    store, profile = Store(tmp_path / "runs"), get_profile("rolling")
    (longer,) = profile.further
    for one, other in ((profile, "SASRec"), (longer, "GRU4Rec")):
        for spec in specs(["primary"], one, datasets=["ml-1m"], models=["FindRec", other]):
            for seed in one.first_seeds():
                store.write(synthetic_run(spec, seed, 60))
    index = write_report(profile, tmp_path, RunSet(store), as_stored=True)
    groups = re.findall(r'scope="rowgroup">(MovieLens-1M[^:]*): (.*?)</th>', index.read_text())
    named = f"MovieLens-1M, {longer.title} (exploratory)"
    assert [name for name, _ in groups] == ["MovieLens-1M", named]
    own, further = index.read_text().split(f"{named}:")
    assert "over SASRec" in own
    assert "over GRU4Rec" not in own
    assert "over GRU4Rec" in further


@pytest.mark.parametrize(
    ("rising"),
    [
        ["−6.8 %", "0.0 %", "+9.1 %", "+48.0 %"],
        ["−6.8 % (−7.7 % to −5.9 %)", "+3.2 % [+1.0, +5.4]", "+11.6 %"],
        ["< 0.001", "0.001", "0.024", "1.000"],
        ["45 s", "8 min", "90 min", "1.6 h"],
        ["0.0636 ± 0.0032†", "0.0652", "1,024"],
    ],
)
def test_numbers_are_sorted_by_what_they_say(rising):
    """Not as text, in which 48 stands before 9 and "< 0.001" after 1."""
    values = [float(_sortable(text)) for text in rising]
    assert values == sorted(set(values))
    assert [_sortable(text) for text in ("SASRec", "", "–", "ml-1m")] == [
        "SASRec",
        "",
        "–",
        "ml-1m",
    ]
