"""Writes an audit as `audit.json` (a list of findings) and `audit.md` (for people)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rankaudit.files import write_text
from rankaudit.findings import (
    AnyFinding,
    AuditReport,
    InfeasibleRow,
    PartsVersusWhole,
    PlainFinding,
)
from rankaudit.page import to_html
from rankaudit.terminal import power_line

TITLES = {
    "infeasible_row": "Rows that no ranking gives under the stated protocol",
    "parts_vs_whole": "Subgroup tables against the whole",
    "proportional_rows": "Rows in one constant ratio",
    "improvement": "Improvement rows",
    "marks": "Bold, underline, stars",
    "whole_hits": "Whole numbers of hits",
    "parts_of_some": "Groups of some of the users",
}
ADVICE = "choose another folder (option --out)"
_PREAMBLE = (
    "A finding says what is printed, what follows from it and under which assumption. It says "
    "nothing about how the page came to be; every finding lists innocent explanations. A row that "
    "passes is possible, not confirmed."
)


def to_markdown(report: AuditReport, titles: Mapping[str, str] = {}) -> str:
    """The report for people: what was checked, then the findings by kind, in the checks' order.

    titles: of the kinds that the caller's own checks report.
    """
    lines = [f"# Audit: {report.source}", "", _PREAMBLE, "", "## What was checked", ""]
    lines += ["| check | looked at | reported |", "|---|---|---|"]
    lines += [f"| {c.kind} | {c.examined} {c.unit} | {c.reported} |" for c in report.checks]
    titles = {**TITLES, **titles}
    for kind in dict.fromkeys(check.kind for check in report.checks):
        findings = report.of(kind)
        if not findings:
            continue
        lines += ["", f"## {titles[kind]} (`{kind}`)"]
        if kind == "infeasible_row":
            lines += ["", *_slack_table([f for f in findings if isinstance(f, InfeasibleRow)])]
        for finding in findings:
            lines += ["", *_one(finding)]
    if report.skipped:
        lines += ["", "## Not checked", ""]
        lines += [f"- {skipped.what}: {skipped.why}" for skipped in report.skipped]
    if report.read_as:
        lines += ["", "## Read as", "", *(f"- {rule}" for rule in report.read_as)]
    if report.power:
        lines += ["", "## What a pass is worth", ""]
        lines += [f"- {power_line(power)}" for power in report.power]
    return "\n".join(lines) + "\n"


def _slack_table(findings: list[InfeasibleRow]) -> list[str]:
    """One line a row: slacks under every hypothesis, in units of the last digit."""
    names = list(dict.fromkeys(h.name for f in findings for h in f.hypotheses))
    lines = [
        "Smallest slack in units of the last printed digit; one rounding covers 0.5, a rounded "
        "mean of rounded runs 1.0.",
        "",
        "| table | row | dataset | " + " | ".join(names) + " | one-digit repairs |",
        "|" + "---|" * (len(names) + 4),
    ]
    for finding in findings:
        slacks = {
            h.name: "none" if h.slack is None else f"{h.slack:.2f}" for h in finding.hypotheses
        }
        cells = [finding.table, finding.row, finding.dataset]
        cells += [slacks.get(name, "") for name in names] + [str(len(finding.repairs))]
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    return lines


def _one(finding: AnyFinding) -> list[str]:
    place = f"table {finding.table}, " if finding.table else ""
    dataset = f" ({finding.dataset})" if finding.dataset else ""
    lines = [
        f"**{place}{finding.row}{dataset}** · {finding.severity}",
        "",
        f"- Printed: {finding.printed}",
        f"- Follows: {finding.why}",
    ]
    if isinstance(finding, InfeasibleRow) and finding.repairs:
        repairs = ", ".join(f"{r.metric} {r.printed} to {r.repaired}" for r in finding.repairs)
        lines.append(f"- One digit would do: {repairs}")
    if isinstance(finding, PartsVersusWhole) and finding.cells_beyond:
        lines.append("- With the known shares: " + "; ".join(finding.cells_beyond))
    if isinstance(finding, PartsVersusWhole) and finding.ratios:
        lines.append("- Ratios: " + "; ".join(finding.ratios))
    if isinstance(finding, PlainFinding) and finding.repair:
        lines.append(f"- Would agree: {finding.repair}")
    lines.append("- May be innocent: " + " ".join(finding.explanations))
    return lines


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def write_report(report: AuditReport, out: Path, titles: Mapping[str, str] = {}) -> None:
    """Write `audit.json`, `audit.md` and `audit.html` under `out`, each whole or not at all.

    titles: as for `to_markdown`. Raises InputError where `out` cannot be written.
    """
    write_text(out / "audit.json", to_json(report), ADVICE)
    write_text(out / "audit.md", to_markdown(report, titles), ADVICE)
    write_text(out / "audit.html", to_html(report, {**TITLES, **titles}), ADVICE)


def to_json(report: AuditReport) -> str:
    """The report as JSON text, as `AuditReport.model_validate_json` reads it."""
    return json.dumps(report.model_dump(mode="json"), indent=1) + "\n"
