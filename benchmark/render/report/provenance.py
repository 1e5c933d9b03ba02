"""Where each number of the report comes from: its runs, seed by seed, and what they were made with.

Plain data for the report's script: `cells` by the id that a table's cell carries, `specs` by the
spec's key, so that settings stand once however many cells they are behind.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.analyse.cells import CellSpec
from benchmark.errors import InputError
from benchmark.evaluate.metrics import SHOWN_METRICS, per_user
from benchmark.render.document import ValueKey, number
from benchmark.render.tables.build import BuiltTable
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunSpec
from benchmark.settings.explain import explanation, reasons, value_text
from benchmark.settings.resolve import sources_in_files


def cell_id(key: ValueKey) -> str:
    """The id of a cell on the page."""
    return "|".join(key)


class Provenance:
    """Collects cells and specs from tables.

    tuning: folder of the tuning logs, which say how a tuned setting was chosen.
    """

    def __init__(self, tuning: Path | None = None) -> None:
        self.tuning = tuning
        self.cells: dict[str, dict[str, Any]] = {}
        self.specs: dict[str, dict[str, Any]] = {}

    def add(self, table: BuiltTable) -> None:
        """Every cell of a table; those without runs say so."""
        by_key = {cell_spec.key: cell_spec for cell_spec in table.cell_specs}
        for r in table.cells.to_dict("records"):
            key = ValueKey(*(r[name] for name in ValueKey._fields))
            cell: dict[str, Any] = {
                "title": " · ".join(part for part in (key.row, key.column) if part),
                "where": f"{key.metric} on {key.dataset}"
                + (f", history {key.protocol}" if key.protocol else ""),
                "mean": number(r["mean"]) or "no value",
                "sd": number(r["sd"]),
                "interval": _interval(r["ci_low"], r["ci_high"]),
                "paper": number(r["paper"]),
                "grade": r["grade"],
                "status": r["status"],
            }
            cell_spec = next((s for p, s in by_key.items() if p == key[1:4]), None)
            if cell_spec is None:
                cell["source"] = table.source
            else:
                split = "validation" if key.table.endswith("-validation") else "test"
                shown = table.shown[cell_spec.run_key]
                cell["spec"] = self._spec(cell_spec, shown)
                cell["split"] = split
                cell["values"] = _values(cell_spec, shown, key, split)
            self.cells[cell_id(key)] = cell

    def _spec(self, cell_spec: CellSpec, shown: Sequence[RunResult]) -> str:
        """The name under which the settings and seeds stand; added where they are new."""
        name = _name(cell_spec, shown)
        if name not in self.specs:
            record = shown[0].record if shown else None
            spec = record.spec if record is not None else cell_spec.spec
            made = {}
            if record is not None:
                environment = record.environment
                made = {
                    "device": environment.device,
                    "scan backend": environment.scan_backend,
                    "threads": environment.threads,
                    "python": environment.python,
                    "packages": ", ".join(f"{k} {v}" for k, v in environment.packages.items()),
                    "code hash": record.hashes.code,
                    "config hash": record.hashes.config,
                    "data hash": record.hashes.data,
                    "started": record.started.isoformat(timespec="seconds"),
                }
            self.specs[name] = {
                "implementation": spec.implementation if spec is not None else "not known",
                "made": made,
                "convergence": _convergence(spec),
                "settings": _settings(spec, self.tuning) if spec is not None else {},
                "seeds": [
                    {
                        "seed": run.record.seed,
                        "steps": run.record.steps,
                        "seconds": round(run.record.timings.training, 1),
                    }
                    for run in shown
                ],
            }
        return name

    def data(self, tables: Sequence[str] = ()) -> dict[str, Any]:
        """For JSON; of some tables alone, by their numbers or names, or of all."""
        cells = self.cells
        if tables:
            cells = {name: c for name, c in cells.items() if name.split("|")[0] in tables}
        used = {c["spec"] for c in cells.values() if "spec" in c}
        specs = {name: spec for name, spec in self.specs.items() if name in used}
        return {"metrics": list(SHOWN_METRICS), "cells": cells, "specs": specs}


def _values(
    cell_spec: CellSpec, shown: Sequence[RunResult], key: ValueKey, split: str
) -> list[str]:
    """The metric of every seed that is shown."""
    found = []
    for run in shown:
        ranks = run.test if split == "test" else run.validation
        assert ranks is not None
        assert run.length is not None
        values = per_user(ranks, key.metric, masked=key.protocol == "left out")
        if cell_spec.bucket is not None:
            values = values[cell_spec.bucket.holds(run.length)]
        found.append(number(float(np.mean(values))) if len(values) else "no users")
    return found


def _convergence(spec: RunSpec | None) -> str:
    """Of the budget; "" of what is not trained."""
    if spec is None:
        return "not known"
    return spec.convergence if spec.training is not None else ""


def _name(cell_spec: CellSpec, shown: Sequence[RunResult]) -> str:
    """Tables may show other seeds of one spec."""
    seeds = ", ".join(str(run.record.seed) for run in shown) or "none"
    return f"{cell_spec.run_key}, seeds {seeds}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{number(low)} to {number(high)}"


def _settings(spec: RunSpec, tuning: Path | None) -> dict[str, list[tuple[str, str, list[str]]]]:
    """By part (config, training, protocol): name, value and reasons of every setting.

    Settings of a method, profile or variant that is no more have no reasons.
    """
    try:
        sources = sources_in_files(spec)
    except InputError:
        sources = None
    found: dict[str, list[tuple[str, str, list[str]]]] = {}
    for field in explanation(spec, sources or {}, tuning)["fields"]:
        why = reasons(field) if sources is not None else []
        found.setdefault(field["part"], []).append((field["name"], value_text(field["value"]), why))
    return found
