"""Audit of printed ranking metrics: what NDCG, MRR, HR and the like can and cannot be together.

    from rankaudit import run_audit
    report = run_audit(Path("my_table.csv"), Path("out"))

It needs the printed rows alone. docs/audit-method.md has the mathematics, the format and what a
pass does not prove.
"""

from __future__ import annotations

from pathlib import Path

from rankaudit.audit import audit_csv, audit_rows
from rankaudit.findings import AuditReport
from rankaudit.report import write_report

__all__ = ["AuditReport", "audit_csv", "audit_rows", "run_audit"]


def run_audit(csv: Path, out: Path) -> AuditReport:
    """Audit a file of result rows (CSV, LaTeX or Markdown), and write `audit.md`, `audit.html` and
    `audit.json` under `out`.

    Raises InputError if the file is malformed or `out` cannot be written.
    """
    report = audit_csv(csv)
    write_report(report, out)
    return report
