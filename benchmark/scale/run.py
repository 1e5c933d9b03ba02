"""All measurements, each in a process of its own, so that peaks of memory do not mix."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmark.errors import InputError
from benchmark.scale.measure import Cost, Point

SMALLEST = 10_000
"""Interactions."""

START = 4.0
"""CPU seconds of a process before it measures anything: imports and data."""


def points(largest: int) -> Iterator[Point]:
    """What is measured, up to `largest` interactions, in half decades; items go to a tenth of that.

    A line varies one size; a bundle's users and items grow with its interactions, ten of them each.
    """
    steps = [n for k in range(4, 8) for n in (10**k, 3 * 10**k) if n <= largest]
    for n in steps:
        yield Point(part="bundle", varies="interactions", interactions=n, items=n // 10)
        yield Point(part="metrics", varies="interactions", interactions=n)
        if n <= 10**6:
            yield Point(part="evaluation", varies="interactions", interactions=n, items=1_000)
    few: dict[str, Any] = {"interactions": 20_000}
    for n in (n // 10 for n in steps):
        yield Point(part="evaluation", varies="items", interactions=2_000, items=n)
        if n <= 100_000:
            yield Point(part="step", varies="items", items=n, **few)
        yield Point(part="step", varies="items, sampled", items=n, negatives=512, **few)
    for window in (25, 50, 100, 200):
        long: dict[str, Any] = {"interactions": 50_000, "mean_length": 200, "items": 1_000}
        yield Point(part="step", varies="window", window=window, **long)
    for window in (50, 100, 200, 400, 800):
        yield Point(part="Mamba layer", varies="window", window=window)
        yield Point(part="attention layer", varies="window", window=window)
    for seeds in (1, 2, 4, 8):
        yield Point(part="step", varies="seeds", seeds=seeds, items=1_000, **few)
    for width in (64, 256, 1_024, 4_096):
        yield Point(part="step", varies="width", width=width, items=1_000, **few)
        yield Point(part="bundle", varies="width", interactions=100_000, items=10_000, width=width)


def expected_seconds(p: Point) -> float:
    """CPU seconds that a measurement takes, roughly: for a line that says how long all will."""
    users = p.interactions / p.mean_length
    work = {
        "bundle": 1.8e-6 * p.interactions + 2e-8 * p.items * p.width,
        "metrics": 4e-5 * users,
        "evaluation": 1e-4 * users + 4e-8 * users * p.items,
        "step": p.seeds
        * (
            0.6 * p.window / 50 + 4e-4 * p.width + (2e-4 if p.negatives is None else 3e-6) * p.items
        ),
        "Mamba layer": 0.01 * p.window,
        "attention layer": 0.002 * p.window + 1e-5 * p.window**2,
    }
    return START + work[p.part]


def measure(largest: int, say: Callable[[str], None]) -> list[Cost]:
    """The costs of all points; a point whose process ends without a result is named and left out.

    Raises InputError for fewer than 10,000 interactions.
    """
    if largest < SMALLEST:
        raise InputError(f"--largest {largest}: give at least {SMALLEST} interactions")
    wanted, costs = list(points(largest)), []
    minutes = sum(map(expected_seconds, wanted)) / 60
    say(f"{len(wanted)} measurements, some {minutes:.0f} minutes of one core that is free for them")
    for number, point in enumerate(wanted, 1):
        name = f"[{number}/{len(wanted)}] {point.part} against {point.varies}"
        found = measured(point)
        if isinstance(found, str):
            say(f"{name}: no result ({found})")
            continue
        say(f"{name}: {found.cpu_seconds:.2f} CPU s, {found.own_mb:,.0f} MB of its own")
        costs.append(found)
    return costs


def measured(point: Point) -> Cost | str:
    """The cost of one point, measured in a process of its own; or why there is none."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmark.scale.measure", point.model_dump_json()],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if ran.returncode < 0:
        return "killed, as for memory"
    if ran.returncode:
        return (ran.stderr.splitlines() or [f"exit status {ran.returncode}"])[-1]
    return Cost.model_validate_json(ran.stdout)
