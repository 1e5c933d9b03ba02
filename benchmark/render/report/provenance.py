"""Where each number of the report comes from: its runs, seed by seed, and what they were made with.

Plain data for the report's script: `cells` by the id that a table's cell carries, `specs` by the
spec's key, so that settings stand once however many cells they are behind.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmark.analyse.cells import CellSpec
from benchmark.evaluate.metrics import PAPER_METRICS, per_user
from benchmark.render.document import ValueKey, number
from benchmark.render.tables.build import BuiltTable
from benchmark.runs.schema import RunResult
from benchmark.runs.store import Store


def cell_id(key: ValueKey) -> str:
    """The id of a cell on the page."""
    return "|".join(key)


class Provenance:
    """Collects cells and specs from tables; runs are read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.cells: dict[str, dict[str, Any]] = {}
        self.specs: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, list[RunResult]] = {}

    def add(self, table: BuiltTable) -> None:
        """Every cell of a table; those without runs say so."""
        by_key = {cell_spec.key: cell_spec for cell_spec in table.cell_specs}
        for r in table.cells.to_dict("records"):
            key = ValueKey(r["table"], r["row"], r["column"], r["dataset"], r["metric"])
            cell: dict[str, Any] = {
                "title": " · ".join(part for part in (key.row, key.column) if part),
                "where": f"{key.metric} on {key.dataset}",
                "mean": number(r["mean"]) or "no value",
                "sd": number(r["sd"]),
                "interval": _interval(r["ci_low"], r["ci_high"]),
                "paper": number(r["paper"]),
                "grade": r["grade"],
                "status": r["status"],
            }
            cell_spec = next((s for p, s in by_key.items() if p == key[1:4]), None)
            if cell_spec is None:
                cell["source"] = "counted from the bundle"
            else:
                split = "validation" if key.table.endswith("-validation") else "test"
                shown = table.shown[cell_spec.spec.key]
                cell["spec"] = self._unit(cell_spec, shown)
                cell["split"] = split
                cell["values"] = self._values(cell_spec, shown, key.metric, split)
            self.cells[cell_id(key)] = cell

    def _unit(self, cell_spec: CellSpec, shown: tuple[int, ...]) -> str:
        name = _name(cell_spec, shown)
        if name not in self.specs:
            runs = self._read(cell_spec, shown)
            record = runs[0].record if runs else None
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
                "implementation": cell_spec.spec.implementation,
                "made": made,
                "config": _flat(cell_spec.spec.config),
                "training": _flat(
                    cell_spec.spec.training.model_dump() if cell_spec.spec.training else {}
                ),
                "protocol": _flat(cell_spec.spec.protocol.model_dump()),
                "seeds": [
                    {
                        "seed": run.record.seed,
                        "steps": run.record.steps,
                        "best": run.record.best_step,
                        "end": "plateau" if run.record.plateau else "budget",
                        "seconds": round(run.record.timings.training, 1),
                    }
                    for run in runs
                ],
            }
        return name

    def _values(
        self, cell_spec: CellSpec, shown: tuple[int, ...], metric: str, split: str
    ) -> list[str]:
        """The metric of every seed that is shown."""
        found = []
        for run in self._read(cell_spec, shown):
            ranks = run.test if split == "test" else run.validation
            assert ranks is not None
            assert run.length is not None
            values = per_user(ranks, metric)
            if cell_spec.bucket is not None:
                values = values[cell_spec.bucket.holds(run.length)]
            found.append(number(float(np.mean(values))) if len(values) else "no users")
        return found

    def _read(self, cell_spec: CellSpec, shown: tuple[int, ...]) -> list[RunResult]:
        name = _name(cell_spec, shown)
        if name not in self._runs:
            self._runs[name] = [self.store.read(cell_spec.spec.key, seed) for seed in shown]
        return self._runs[name]

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {"metrics": list(PAPER_METRICS), "cells": self.cells, "specs": self.specs}


def _name(cell_spec: CellSpec, shown: tuple[int, ...]) -> str:
    """Tables may show other seeds of one spec."""
    return f"{cell_spec.spec.key}, seeds {', '.join(map(str, shown)) or 'none'}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{number(low)} to {number(high)}"


def _flat(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, _text(value)) for name, value in settings.items()]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return "yes" if value is True else "no" if value is False else str(value)
