"""Costs as a table and as power laws: cost = a size^b, fitted by least squares on logarithms."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.files import write_bytes
from benchmark.scale.measure import STEPS, Cost

SIZES = {"items, sampled": "items"}
"""Fields of a point that a line varies, where the line's name is another."""


def size_of(cost: Cost) -> float:
    """The size that differs among the points of the cost's line."""
    name = SIZES.get(cost.point.varies, cost.point.varies)
    return float(getattr(cost.point, name))


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """(a, b) of cost = a size^b. Raises ValueError for fewer than two different positive sizes."""
    if len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError("a power law needs positive costs at two sizes or more")
    b, log_a = np.polyfit(np.log(sizes), np.log(costs), 1)
    return math.exp(log_a), float(b)


def lines(costs: Sequence[Cost]) -> dict[tuple[str, str], list[Cost]]:
    """The costs by part and by what varies, the smallest size first."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for cost in sorted(costs, key=size_of):
        found.setdefault((cost.point.part, cost.point.varies), []).append(cost)
    return found


def write_page(costs: Sequence[Cost], folder: Path) -> None:
    """folder/scale.csv, a row a measurement, and folder/scale.md, with a fit a line."""
    table = io.StringIO()
    fields = [*Cost.model_fields["point"].annotation.model_fields]  # type: ignore[union-attr]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*fields, "cpu_seconds", "wall_seconds", "peak_mb"])
    for cost in costs:
        point = cost.point.model_dump()
        writer.writerow(
            [
                *(point[name] for name in fields),
                f"{cost.cpu_seconds:.3f}",
                f"{cost.wall_seconds:.3f}",
                f"{cost.peak_mb:.0f}",
            ]
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "scale.csv", table.getvalue().encode())
    write_bytes(folder / "scale.md", _page(costs).encode())


def _page(costs: Sequence[Cost]) -> str:
    page = [
        "# Cost against size",
        "",
        "CPU seconds of one thread, and peak memory of the process (Python with torch takes "
        f"about 400 MB of it). A step's cost is of {STEPS} steps. Exponent b of the fit "
        "cost = a size^b, over all points of the line and over the two largest, which the fixed "
        "costs of small sizes weigh on less.",
        "",
    ]
    for (part, varies), own in lines(costs).items():
        page += [
            f"## {part} against {varies}",
            "",
            f"| {SIZES.get(varies, varies)} | CPU s | peak MB |",
            "|---:|---:|---:|",
            *(f"| {size_of(c):,.0f} | {c.cpu_seconds:.2f} | {c.peak_mb:,.0f} |" for c in own),
            "",
        ]
        if len({size_of(cost) for cost in own}) > 1:
            page += [f"CPU: {_exponents(own)}.", ""]
    return "\n".join(page)


def _exponents(costs: Sequence[Cost]) -> str:
    parts = []
    for what, own in (("all points", costs), ("the two largest", costs[-2:])):
        _, b = power_law([size_of(c) for c in own], [c.cpu_seconds for c in own])
        parts.append(f"b = {b:.2f} ({what})")
    return ", ".join(parts)
