"""The report: one folder of HTML that works from file:// without a network.

report/index.html     the answer, then any row against any other
report/trial.html     the pair of verdicts, and what explains it
report/tables.html    every table; a click on a number shows where it comes from
report/figures.html   every figure
report/audit.html     findings of the audit, where there is one
report/claims.html    the paper's statements, with their verdicts once `claims` has run
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmark.analyse.power import stored_power
from benchmark.analyse.rules import RULES
from benchmark.data.config import dataset_names
from benchmark.errors import InputError
from benchmark.files import atomic_folder
from benchmark.paper import load_cells, load_claims
from benchmark.paper.audit import TITLES
from benchmark.plan import OWN_MODEL, experiments, shown_in
from benchmark.render.figures.draw import FIGURES
from benchmark.render.notes import GRADES, dataset_note
from benchmark.render.power import power_block, printed_improvements
from benchmark.render.report.answer import Answer, answer
from benchmark.render.report.chart import chart
from benchmark.render.report.ledger import read_ledger
from benchmark.render.report.pairs import FIELDS, METRICS, pairs_of_dataset
from benchmark.render.report.provenance import Provenance, cell_id
from benchmark.render.report.trial import primary_claims, sections
from benchmark.render.selection import Selection, read_selection
from benchmark.render.tables.build import TABLES, BuiltTable, build_table, heading_of
from benchmark.render.tables.contrasts import BASE_TABLES, further_judged
from benchmark.render.verdict_texts import reserves
from benchmark.runs.runset import RunSet
from benchmark.settings.registry import Profile
from rankaudit.findings import AuditReport
from rankaudit.page import SCRIPT
from rankaudit.page import body as page_body

_PROVENANCE = {"index": ("2",), "trial": ("retention", "machinery", *BASE_TABLES, "diagnose")}
"""Page -> the tables whose cells it shows; other pages have all."""

ASSETS = Path(__file__).parent / "assets"

CAPTIONS = {
    "table2": "Every row under both protocols, 95 % intervals; the printed numbers at the right.",
    "fig1": "The architecture as it is built: boxes, sizes and parameters read from the modules.",
    "fig2": "Text and image states of one model before and after training, with kernel contours.",
    "primary": "FindRec against every other row: 95 % intervals, simultaneous upper bounds (thin).",
    "retention": "History kept, kept with a constant against it (at the right), and left out.",
    "retention-doses": "What a constant recovers of what the history costs, and where 90 % are.",
    "machinery": "Every contrast of the analysis plan with its 95 % interval, domain by domain.",
    "machinery-pooled": "The contrasts pooled over domains: descriptive, no interval.",
    "readings": "Every arm of the readings of the paper against its base, with 95 % intervals.",
    "specifications": "All 24 combinations of four open choices against the default, sorted.",
    "four-ways": "FindRec in reading A, in reading B, as released, and as validation prefers it.",
    "fig3": "Number of experts; bars are 95 % intervals over users and seeds.",
    "diagnose": "Where each hypothesis about the protocol puts our rows; the band is printed.",
    "curves": "Every hyperparameter; bars are 95 % intervals, open points the paper's numbers.",
    "curves-learning": "Validation NDCG@10 while training; bands span the seeds.",
    "curves-terms": "How experts are used and how the alignment goes while FindRec trains.",
    "curves-experts": "Mean gate of every expert in every head, after training (figure 2's model).",
    "curves-users": "Users better, alike and worse off than with the best other row, by length; "
    "intervals over users alone, which are narrower than the verdicts' over users and seeds.",
    "curves-cost": "Quality against the time of training; bars span the seeds.",
    "curves-outcomes": "Shares of users whom FindRec serves better, alike (within 0.05) and worse.",
}


def write_report(
    profile: Profile,
    out: Path,
    runs: RunSet,
    *,
    audit: Path | None = None,
    tuning: Path | None = None,
    data: Path | None = None,
    as_stored: bool = False,
    reuse_stale: bool = False,
) -> Path:
    """Write `out`/report from `runs`, the figures already drawn under `out`, and the
    audit in the folder `audit`; returns the path of its first page. Settings that were tuned name
    their line of the log in the folder `tuning`.

    A table that was rendered under `out` shows the datasets, rows and seeds that it was rendered
    with; others the profile's. as_stored: take runs as they are, whatever made them (results
    from elsewhere); otherwise stale ones are shown only in tables that were rendered with them, or
    in all where `reuse_stale` asks for it.
    Raises InputError where `out` cannot be written.
    """
    findings = None if audit is None else _read_audit(audit / "audit.json")
    ledger = read_ledger(out / "claims.json")
    whole = Selection(seeds=tuple(profile.first_seeds()), data=data, reuse_stale=reuse_stale)
    provenance = Provenance(tuning)
    tables = []
    for name in TABLES:
        rendered = out / "tables" / f"{name}.json"
        if name not in shown_in(profile) and not rendered.is_file():
            continue
        selection = read_selection(rendered) if rendered.is_file() else whole
        selection = selection.model_copy(
            update={
                "data": data or selection.data,
                "reuse_stale": reuse_stale or selection.reuse_stale,
            }
        )
        table = build_table(
            name,
            selection.planned([name], profile, runs, as_stored=as_stored),
            profile,
            root=runs.root,
            datasets=selection.datasets,
            reuse_stale=selection.reuse_stale,
            data=selection.data,
        )
        provenance.add(table)
        tables.append(table)
    figures = _figures(out / "figures")
    performance = next(table for table in tables if table.document.name == "table2")
    answers = _answers(performance, profile, data)
    seen = [one for one in answers if one.has_runs] or answers
    power = power_block(stored_power(), printed_improvements(load_cells(), RULES.metric))
    titles = {name: dataset_note(name, profile, data).title for name in dataset_names()}
    further = further_judged(profile, whole, runs, as_stored=as_stored)
    context: dict[str, Any] = {
        "profile": profile,
        "tables": tables,
        "figures": figures,
        "not_drawn": [
            (heading_of(name), experiments()[name].title, name)
            for name in shown_in(profile)
            if name in FIGURES and not any(figure.startswith(name) for figure in figures)
        ],
        "heading_of": heading_of,
        "audit": findings,
        "audit_page": "" if findings is None else page_body(findings, TITLES),
        "audit_script": SCRIPT,
        "claims": load_claims().claims,
        "ledger": ledger,
        "answers": seen,
        "not_run": [a.note.title for a in answers if a not in seen],
        "primary": primary_claims(tables, titles, further),
        "sections": sections(tables, figures, power, profile, ledger=ledger is not None),
        "table_names": [table.document.name for table in tables],
        "charts": {a.note.name: chart(performance, a.note.name) for a in answers if a.has_runs},
        "grades": GRADES,
        "reserves": reserves(one.note for one in seen),
        "own": OWN_MODEL,
        "runs": _count_runs(whole, profile, runs, as_stored),
        "rules": RULES,
        "captions": CAPTIONS,
    }
    picker = _pairs(performance, answers, profile)
    pages = [
        "index",
        "trial",
        "tables",
        "figures",
        *(["audit"] if findings is not None else []),
        "claims",
    ]
    report = out / "report"
    with atomic_folder(report) as folder:
        for page in pages:
            template = _environment().get_template(f"{page}.html")
            html = template.render(
                **context,
                page=page,
                pages=pages,
                provenance=_json(provenance.data(_PROVENANCE.get(page, ()))),
                pairs=picker,
                pairs_json=_json(picker),
            )
            (folder / f"{page}.html").write_text(html, encoding="utf-8")
        for asset in ("report.css", "report.js", "picker.js", "ledger.js"):
            shutil.copyfile(ASSETS / asset, folder / asset)
        for name in figures:
            for suffix in ("svg", "pdf"):
                shutil.copyfile(out / "figures" / f"{name}.{suffix}", folder / f"{name}.{suffix}")
    return report / "index.html"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("benchmark.render.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell_id"] = cell_id
    environment.filters["sortable"] = _sortable
    environment.filters["code"] = _code
    return environment


def _read_audit(path: Path) -> AuditReport | None:
    """None where no audit was made. Raises InputError for a damaged one."""
    if not path.is_file():
        return None
    try:
        return AuditReport.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a report of the audit; run `audit` again") from error


def _figures(folder: Path) -> list[str]:
    """Names of the pictures that are there, in the order of the captions."""
    return [name for name in CAPTIONS if (folder / f"{name}.svg").is_file()]


def _count_runs(
    whole: Selection, profile: Profile, runs: RunSet, as_stored: bool
) -> tuple[int, int]:
    """(finished, planned) over all tables and figures; stale runs are not finished ones."""
    planned = whole.planned(shown_in(profile), profile, runs, as_stored=as_stored)
    states = [state for p in planned for state in p.states.values()]
    return states.count("complete"), len(states)


def _answers(table: BuiltTable, profile: Profile, data: Path | None) -> list[Answer]:
    """For each dataset of Table 2."""
    gains = printed_improvements(load_cells(), RULES.metric)
    return [
        answer(table, dataset_note(name, profile, data), profile, gains.get(name))
        for name in dict.fromkeys(c.run_key.dataset for c in table.cell_specs)
    ]


def _pairs(table: BuiltTable, answers: list[Answer], profile: Profile) -> dict[str, Any]:
    """What the picker offers; no dataset where none has two rows with runs."""
    found = {}
    for one in answers:
        own = [c for c in table.cell_specs if c.run_key.dataset == one.note.name]
        assert table.numbers is not None  # table 2 is no table of counts
        sliced = profile.max_users is not None
        pairs = pairs_of_dataset(table.numbers, own, one.note, sliced=sliced)
        if pairs is None:
            continue
        names = [row["name"] for row in pairs["rows"]]
        other = one.lines[0].other
        first = names.index(OWN_MODEL) if OWN_MODEL in names else 0
        second = names.index(other.row) if other is not None else (1 if first == 0 else 0)
        found[one.note.name] = pairs | {"first": first, "second": second}
    return {
        "metrics": METRICS,
        "fields": FIELDS,
        "decided_metric": RULES.metric,
        "margin": RULES.win_margin,
        "datasets": found,
    }


_NUMBER = re.compile(r"(<?)\s*([-+]?\d[\d,]*(?:\.\d+)?)\s*(ms|s|min|h|days?)?\b")
_SECONDS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "day": 86_400, "days": 86_400}


def _sortable(text: str) -> str:
    """What the script sorts a cell by: the number that it begins with (of an interval its lower
    end, of a time its seconds, of "< 0.001" something below it), else its text."""
    found = _NUMBER.match(
        text.replace("−", "-").replace("\u2009", "").replace("\u00a0", " ").strip()
    )
    if found is None:
        return text
    below, number, unit = found.groups()
    value = float(number.replace(",", "")) * _SECONDS.get(unit or "", 1)
    return repr(value / 2 if below else value)


def _code(text: str) -> Markup:
    """Text in which what stands between backticks is code, as in Markdown."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _json(value: Any) -> str:
    """JSON that may stand in a script element: no "</" can end it early."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
