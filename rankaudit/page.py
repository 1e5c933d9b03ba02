"""The report as one HTML page: findings worst first, with filters, and the tables as printed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from rankaudit.findings import (
    SEVERITIES,
    AnyFinding,
    AuditReport,
    InfeasibleRow,
    PartsVersusWhole,
    PlainFinding,
    PrintedRow,
    by_severity,
)
from rankaudit.terminal import power_line

MOST_ROWS = 400  # of the tables as printed; beyond it only rows with a finding are shown
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse}
.scroll{overflow-x:auto}th,td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child{text-align:left}article.finding{border-left:4px solid #999;margin:.6rem 0;
padding:.1rem .8rem}article.contradiction{border-color:#b3261e}article.discrepancy{border-color:
#b26a00}summary{cursor:pointer}.meta{color:#555}td.contradiction{background:#f9dedc}
td.discrepancy{background:#ffe8c7}td.note{background:#eee}.tag{font-weight:600}
[hidden]{display:none}a{color:inherit}
@media (prefers-color-scheme:dark){body{background:#1b1b1f;color:#e6e1e5}.meta{color:#b8b3b8}
th,td{border-color:#444}td.contradiction{background:#601410}td.discrepancy{background:#5a3a00}
td.note{background:#3a3a3f}}
"""
SCRIPT = """
const boxes=[...document.querySelectorAll('[data-filter]')],word=document.getElementById('word');
function show(){const off=new Set(boxes.filter(b=>!b.checked).map(b=>b.dataset.filter));
const text=word.value.toLowerCase();document.querySelectorAll('article.finding').forEach(a=>{
a.hidden=off.has(a.dataset.severity)||off.has(a.dataset.kind)||
!a.textContent.toLowerCase().includes(text)})}
boxes.forEach(b=>b.addEventListener('change',show));word.addEventListener('input',show);
function open(){const a=document.getElementById(location.hash.slice(1));
const d=a&&a.querySelector('details');if(d)d.open=true}
addEventListener('hashchange',open);open();
"""
"""The filters of `body`, and opening the finding that a link leads to; for a page that holds it."""


def to_html(report: AuditReport, titles: Mapping[str, str] = {}) -> str:
    """A self-contained page. titles: of kinds of finding, where the name alone says too little."""
    title = f"Audit: {escape(report.source)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
        + body(report, titles)
        + f"</main>\n<script>{SCRIPT}</script></body></html>\n"
    )


def body(report: AuditReport, titles: Mapping[str, str] = {}) -> str:
    """The page's content without a frame: verdict, findings, tables, what was checked."""
    ordered = by_severity(report.findings)
    names = anchors(ordered)
    parts = [
        f"<p>{_verdict(ordered)}</p>",
        '<p class="meta">A finding says what is printed, what follows and under which assumption; '
        "it says nothing about how the page came to be. A row that passes is possible, not "
        "confirmed.</p>",
    ]
    if ordered:
        parts += [_filters(ordered, titles), "<h2>Findings</h2>"]
        parts += [_article(f, name) for f, name in zip(ordered, names, strict=True)]
    if report.rows:
        parts += ["<h2>As printed</h2>", *_tables(report, ordered, names)]
    parts += ["<h2>What was checked</h2>", _checks(report)]
    for heading, lines in (
        ("Not checked", [f"{s.what}: {s.why}" for s in report.skipped]),
        ("Read as", report.read_as),
        ("What a pass is worth", [power_line(power) for power in report.power]),
    ):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f"<h2>{heading}</h2><ul>{items}</ul>")
    return "\n".join(parts) + "\n"


def anchors(findings: Sequence[AnyFinding]) -> list[str]:
    """A name for each finding that stays when others come and go: kind, table, row, dataset."""
    seen: dict[str, int] = {}
    names = []
    for finding in findings:
        place = (finding.kind, finding.table, finding.dataset, finding.row, *finding.metrics[:1])
        name = re.sub(r"[^a-z0-9]+", "-", " ".join(place).lower()).strip("-")[:80]
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _verdict(findings: Sequence[AnyFinding]) -> str:
    if not findings:
        return "Nothing was found."
    counts = {s: sum(f.severity == s for f in findings) for s in SEVERITIES}
    return "Found: " + ", ".join(
        f"{n} {severity}{'s' if n > 1 else ''}".replace("discrepancys", "discrepancies")
        for severity, n in counts.items()
        if n
    )


def _filters(findings: Sequence[AnyFinding], titles: Mapping[str, str]) -> str:
    severities = [s for s in SEVERITIES if any(f.severity == s for f in findings)]
    kinds = list(dict.fromkeys(f.kind for f in findings))
    shown: list[tuple[str, str]] = [(s, s) for s in severities]
    shown += [(k, titles.get(k, k.replace("_", " "))) for k in kinds]
    boxes = " ".join(
        f'<label><input type="checkbox" data-filter="{escape(name)}" checked> {escape(text)}'
        "</label>"
        for name, text in shown
    )
    return f'<p>{boxes} <label>with <input id="word" type="search" size="12"></label></p>'


def _article(finding: AnyFinding, name: str) -> str:
    place = ", ".join(part for part in (finding.table, finding.dataset, finding.row) if part)
    short = finding.why
    more = []
    if isinstance(finding, InfeasibleRow):
        first, *others = finding.hypotheses
        possible = ", ".join(h.name for h in others if h.once) or "nothing else that was tried"
        gap = "no ranking fits" if first.slack is None else f"{first.slack:.2f} units off"
        short = f"Under {first.name} {gap}; possible under {possible}."
        more.append(f"<p>{escape(finding.why)}</p>")
    more += [f'<p class="meta">May be innocent: {escape(" ".join(finding.explanations))}</p>']
    if isinstance(finding, InfeasibleRow):
        tried = "".join(
            f"<tr><th>{escape(h.name)}</th><td>{'none' if h.slack is None else f'{h.slack:.2f}'}"
            f"</td><td>{'not decided' if h.undecided else 'possible' if h.once else 'no'}</td></tr>"
            for h in finding.hypotheses
        )
        more.append(
            "<table><tr><th>hypothesis</th><th>slack</th><th></th></tr>" + tried + "</table>"
        )
        repairs = [f"{r.metric} {r.printed} to {r.repaired}" for r in finding.repairs]
        if repairs:
            more.append(f"<p>One digit would do: {escape(', '.join(repairs))}</p>")
    if isinstance(finding, PartsVersusWhole):
        listed = [*finding.cells_beyond, *finding.ratios]
        more.append("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in listed) + "</ul>")
    if isinstance(finding, PlainFinding) and finding.repair:
        more.append(f"<p>Would agree: {escape(finding.repair)}</p>")
    return (
        f'<article class="finding {finding.severity}" id="{name}" '
        f'data-severity="{finding.severity}" data-kind="{escape(finding.kind)}"><details><summary>'
        f'<span class="tag">{finding.severity}</span> <a href="#{name}">{escape(place)}</a>: '
        f"{escape(finding.printed)}<br>{escape(short)}</summary>"
        + "".join(more)
        + "</details></article>"
    )


def _tables(report: AuditReport, findings: Sequence[AnyFinding], names: Sequence[str]) -> list[str]:
    """The printed tables; a cell that a finding is about is marked and leads to it."""
    marked: dict[tuple[str, str, str, str], tuple[str, str]] = {}
    for finding, name in reversed(list(zip(findings, names, strict=True))):
        for metric in finding.metrics:
            marked[finding.table, finding.dataset, finding.row, metric] = (finding.severity, name)
    rows = report.rows
    if len(rows) > MOST_ROWS:
        hit = {key[:3] for key in marked}
        rows = [row for row in rows if (row.table, row.dataset, row.label) in hit]
    tables: dict[tuple[str, str], list[PrintedRow]] = {}
    for row in rows:
        tables.setdefault((row.table, row.dataset), []).append(row)
    shown = []
    for (table, dataset), part in tables.items():
        metrics = list(dict.fromkeys(metric for row in part for metric in row.cells))
        heading = escape(", ".join(text for text in (table, dataset) if text))
        lines = "".join(_row(row, metrics, marked) for row in part)
        header = "".join(f"<th>{escape(metric)}</th>" for metric in metrics)
        shown.append(
            f'<div class="scroll"><table><caption>{heading}</caption>'
            f"<thead><tr><th>row</th>{header}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
    return shown


def _row(
    row: PrintedRow,
    metrics: Sequence[str],
    marked: Mapping[tuple[str, str, str, str], tuple[str, str]],
) -> str:
    cells = ""
    for metric in metrics:
        text = escape(row.cells.get(metric, ""))
        severity, name = marked.get((row.table, row.dataset, row.label, metric), ("", ""))
        cells += (
            f'<td class="{severity}"><a href="#{name}">{text}</a></td>'
            if name and text
            else f"<td>{text}</td>"
        )
    return f"<tr><th>{escape(row.label)}</th>{cells}</tr>"


def _checks(report: AuditReport) -> str:
    lines = "".join(
        f"<tr><th>{escape(c.kind.replace('_', ' '))}</th><td>{c.examined} {escape(c.unit)}</td>"
        f"<td>{c.reported}</td></tr>"
        for c in report.checks
    )
    return "<table><tr><th>check</th><th>looked at</th><th>reported</th></tr>" + lines + "</table>"
