"""How often the audit reports anything on other published tables and public run logs."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Where a sample's numbers come from and which protocol is assumed for them.

    evaluator: the code that computed the metrics.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    url: str
    date: date
    form: str
    evaluator: str
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
    reports = {name: audit_csv(FOLDER / name, power=False) for name in names or list(sources)}
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
    lines += ["", *_by_evaluator(reports, sources), "", "Protocols assumed:", ""]
    lines += [f"- {sources[name].title}: {sources[name].protocol}" for name in reports]
    return "\n".join(lines) + "\n"


def _by_evaluator(reports: Mapping[str, AuditReport], sources: Mapping[str, Source]) -> list[str]:
    """Infeasible rows by the code that computed them.

    Whether the audit cries wolf depends on how an evaluator defines and prints its metrics, so the
    rows of one evaluator are one observation: without a false finding among n evaluators whose
    numbers nobody typed, the rate is below 1 - 0.05 ** (1 / n) with 95 % confidence.
    """
    lines = [
        "## By evaluator",
        "",
        "| evaluator | sources | rows | infeasible | rows of run logs | infeasible |",
        "|---|---|---|---|---|---|",
    ]
    untyped, clean = 0, 0
    for evaluator in dict.fromkeys(sources[name].evaluator for name in reports):
        mine = [name for name in reports if sources[name].evaluator == evaluator]
        logs = [name for name in mine if sources[name].form == "run logs"]
        counts = []
        for names in (mine, logs):
            checks = [c for n in names for c in reports[n].checks if c.kind == "infeasible_row"]
            counts += [sum(c.examined for c in checks), sum(c.reported for c in checks)]
        untyped += counts[2] > 0
        clean += counts[2] > 0 and counts[3] == 0
        lines.append(
            f"| {evaluator} | {len(mine)} | {counts[0]:,} | {counts[1]} | {counts[2]:,} | "
            f"{counts[3]} |"
        )
    if untyped and clean == untyped:
        lines += [
            "",
            f"No finding in run logs of {untyped} evaluator(s): the share of evaluators on which "
            f"the audit is wrong is below {1 - 0.05 ** (1 / untyped):.0%} (95 % confidence).",
        ]
    return lines
