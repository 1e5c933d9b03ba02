"""The report as a few lines for a terminal: two a finding, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from rankaudit.findings import AuditReport, Power, by_severity


def summary(
    report: AuditReport, width: int | None = None, most: int | None = None
) -> Iterator[str]:
    """Lines of text: findings, what was checked, what was not, what a pass is worth.

    width: cut lines of findings to this many characters; None leaves them whole. most: show so
    many findings and the number of the others; None shows all.
    """
    findings = by_severity(report.findings)
    for finding in findings[:most]:
        place = ", ".join(part for part in (finding.table, finding.dataset, finding.row) if part)
        yield _cut(f"{finding.severity:13} {place}: {finding.printed}", width)
        yield _cut(f"{'':13} {finding.why}", width)
    if more := len(findings[most:]) if most is not None else 0:
        yield f"... and {more} more, in the report"
    if findings:
        yield ""
    for check in report.checks:
        yield f"{check.kind:20} {check.reported:4} of {check.examined} {check.unit}"
    for skipped in report.skipped:
        yield f"not checked: {skipped.what}: {skipped.why}"
    for rule in report.read_as:
        yield f"read as: {rule}"
    for power in report.power:
        yield power_line(power)


def power_line(power: Power) -> str:
    """What share of slips in one cell a pass of these columns excludes."""
    shares = ", ".join(f"{slip} in {share:.0%}" for slip, share in power.found.items())
    return (
        f"a pass of {', '.join(power.columns)} is possible, not confirmed; of slips in one cell it "
        f"would have shown (units of the last digit, {power.cells} cells): {shares}"
    )


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: max(width - 1, 1)] + "…"
