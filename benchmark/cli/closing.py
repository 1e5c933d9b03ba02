"""The last lines of a command that shows results: the answer, and where to look."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.analyse.verdict import against_best, verdict_line
from benchmark.cli.options import shown_path
from benchmark.plan import OWN_MODEL, Planned
from benchmark.settings.registry import methods

NAMED = 4
"""Rows without all their seeds that a line names."""


def verdict_lines(planned: Sequence[Planned], *, reuse_stale: bool) -> list[str]:
    """A line for each dataset on which FindRec and another trained row are shown; nothing where
    there is none. A dataset with rows that lack seeds says so instead."""
    lines = []
    for dataset in dict.fromkeys(p.key.dataset for p in planned):
        rows = {p.key.model: p for p in planned if p.key.dataset == dataset and _is_compared(p)}
        if OWN_MODEL not in rows or len(rows) < 2:
            continue
        found = {name: p.results(reuse_stale=reuse_stale) for name, p in rows.items()}
        lacking = [name for name, p in rows.items() if len(found[name]) < len(p.runs)]
        if lacking:
            count = "1 row lacks" if len(lacking) == 1 else f"{len(lacking)} rows lack"
            named = lacking if len(lacking) <= NAMED else [*lacking[: NAMED - 1], "..."]
            lines.append(f"{dataset}: no verdict yet, {count} seeds ({', '.join(named)})")
        else:
            lines.append(verdict_line(dataset, OWN_MODEL, against_best(OWN_MODEL, found)))
    return lines


def _is_compared(p: Planned) -> bool:
    """A row of the tables that is trained; readings of FindRec, arms and controls are others."""
    method = methods().get(p.key.model)
    other = method is not None and (method.by_name_alone or method.category == "control")
    return p.key.variant == "base" and not other and not p.problem


def where_to_look(paths: Sequence[Path], out: Path) -> list[str]:
    """The table that was written, as Markdown if it was, and the report, whether it is there or
    not. out: the profile's folder of results."""
    table = next((path for path in paths if path.suffix == ".md"), paths[0])
    report = out / "report" / "index.html"
    made = "" if report.is_file() else " (./reproduce.sh report makes it)"
    return [f"table: {shown_path(table)}", f"report: {shown_path(report)}{made}"]
