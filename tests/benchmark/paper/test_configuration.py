"""One configuration in several tables."""

from __future__ import annotations

from benchmark.paper.configuration import base_configuration
from rankaudit.metrics import Metric
from rankaudit.printed import Printed
from rankaudit.rows import Row


def row(name: str, *texts: str) -> Row:
    metrics = (Metric("NDCG", 5), Metric("NDCG", 10))
    cells = {m: Printed.parse(t, "test") for m, t in zip(metrics, texts, strict=True)}
    return Row("1", "data", name, cells)


def test_base_configuration_that_differs_and_a_setting_that_beats_it() -> None:
    headline = row("full", "0.0843", "0.1027")
    same, other = row("2", "0.0843", "0.1027"), row("512", "0.0838", "0.1044")
    assert base_configuration(headline, [[same]], [same]).findings == []
    findings = base_configuration(headline, [[same], [other]], [same, other]).findings
    assert [f.severity for f in findings] == ["discrepancy", "note"]
    assert findings[1].printed == "NDCG@10 0.1044 against 0.1027"
