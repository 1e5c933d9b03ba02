"""The audit: what printed numbers can and cannot be, for the FindRec paper and for any other.

    from benchmark.analyse.audit import run_audit
    report = run_audit(None, Path("results/audit"))           # the paper
    report = run_audit(Path("my_paper.csv"), Path("out"))     # any table of ranking metrics

It needs no training. docs/audit.md lists the findings, docs/audit-method.md the mathematics, the
CSV format and what a pass does not prove.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmark.analyse.audit.base_rate import run_base_rate
from benchmark.analyse.audit.findings import AuditReport
from benchmark.analyse.audit.generic import audit_csv
from benchmark.analyse.audit.paper import audit_paper
from benchmark.analyse.audit.report import write_report

__all__ = ["AuditReport", "audit_csv", "audit_paper", "run_audit", "run_base_rate"]


def run_audit(csv: Path | None, out: Path, own_runs: pd.DataFrame | None = None) -> AuditReport:
    """Audit the paper (no CSV) or a CSV file, and write `audit.json` and `audit.md` under `out`.

    own_runs: means of our own runs (columns `dataset`, `row`, `metric`, `mean`), which the paper's
    proportional rows are set beside. Raises InputError if the CSV file is malformed.
    """
    report = audit_paper(own_runs) if csv is None else audit_csv(csv)
    write_report(report, out)
    return report
