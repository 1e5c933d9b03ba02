"""How often the audit reports anything on other published tables and public run logs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from rankaudit.audit import audit_csv
from rankaudit.files import write_text
from rankaudit.findings import AuditReport
from rankaudit.report import ADVICE, write_report

FOLDER = Path(__file__).with_name("base_rate")


class Source(BaseModel):
    """Where a sample's numbers come from and which protocol is assumed for them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    url: str
    date: date
    form: str
    protocol: str


def load_sources() -> dict[str, Source]:
    """The samples by file name."""
    stored = yaml.safe_load((FOLDER / "sources.yaml").read_text(encoding="utf-8"))
    return {name: Source.model_validate(source) for name, source in stored["sources"].items()}


def run_base_rate(out: Path, names: list[str] | None = None) -> dict[str, AuditReport]:
    """Audit the samples (all, or those named), one folder each under `out`, with a summary.

    All of them take one to two minutes on one core.
    """
    sources = load_sources()
    reports = {name: audit_csv(FOLDER / name) for name in names or list(sources)}
    for name, report in reports.items():
        write_report(report, out / Path(name).stem)
    write_text(out / "base_rate.md", summary(reports, sources), ADVICE)
    return reports


def summary(reports: dict[str, AuditReport], sources: dict[str, Source]) -> str:
    """A table: reported of examined, per source and check."""
    kinds = list(dict.fromkeys(c.kind for report in reports.values() for c in report.checks))
    total = {kind: [0, 0] for kind in kinds}
    lines = [
        "# The audit on other published results",
        "",
        "Reported of examined, per check.",
        "",
        "| source | date | form | " + " | ".join(kinds) + " |",
        "|" + "---|" * (len(kinds) + 3),
    ]
    for name, report in reports.items():
        counts = {kind: [0, 0] for kind in kinds}
        for check in report.checks:
            for add in (counts, total):
                add[check.kind][0] += check.reported
                add[check.kind][1] += check.examined
        source = sources[name]
        lines.append(
            f"| [{source.title}]({source.url}) | {source.date} | {source.form} | "
            + " | ".join(f"{r} of {n:,}" if n else "" for r, n in counts.values())
            + " |"
        )
    lines.append(
        "| all | | | " + " | ".join(f"{r} of {n:,}" if n else "" for r, n in total.values()) + " |"
    )
    lines += ["", "Protocols assumed:", ""]
    lines += [f"- {sources[name].title}: {sources[name].protocol}" for name in reports]
    return "\n".join(lines) + "\n"
