"""All measurements, each in a process of its own, so that peaks of memory do not mix."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmark.errors import InputError
from benchmark.scale.measure import Cost, Point


def points(largest: int) -> Iterator[Point]:
    """What is measured, up to `largest` interactions; items go to a tenth of that."""
    tens = [10**k for k in range(4, 8) if 10**k <= largest]
    for n in tens:
        yield Point(part="bundle", varies="interactions", interactions=n, items=n // 10)
        yield Point(part="metrics", varies="interactions", interactions=n)
    for n in (n // 10 for n in tens):
        yield Point(part="evaluation", varies="items", interactions=2_000, items=n)
        if n <= 100_000:
            yield Point(part="step", varies="items", interactions=20_000, items=n)
        sampled = {"interactions": 20_000, "negatives": 512, "items": n}
        yield Point.model_validate({"part": "step", "varies": "items, sampled"} | sampled)
    small = {"part": "step", "items": 1_000}
    for window in (25, 50, 100, 200):
        long = {"varies": "window", "interactions": 50_000, "mean_length": 200, "window": window}
        yield Point.model_validate(small | long)
    for window in (50, 100, 200, 400, 800):
        yield Point(part="Mamba layer", varies="window", window=window)
        yield Point(part="attention layer", varies="window", window=window)
    for name, values in (("seeds", (1, 2, 4)), ("width", (64, 256, 1_024))):
        for value in values:
            own = {"varies": name, "interactions": 20_000, name: value}
            yield Point.model_validate(small | own)


def measure(largest: int, say: Callable[[str], None]) -> list[Cost]:
    """The costs of all points; a point whose process ends without a result is named and left out.

    Raises InputError for fewer than 10,000 interactions.
    """
    if largest < 10_000:
        raise InputError(f"--largest {largest}: give at least 10000 interactions")
    costs = []
    for point in points(largest):
        ran = subprocess.run(
            [sys.executable, "-m", "benchmark.scale.measure", point.model_dump_json()],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        name = f"{point.part} against {point.varies}"
        if ran.returncode:
            reason = (ran.stderr.splitlines() or [f"exit status {ran.returncode}"])[-1]
            killed = ran.returncode < 0
            say(f"{name}: no result ({'killed, as for memory' if killed else reason})")
            continue
        cost = Cost.model_validate_json(ran.stdout)
        say(f"{name}: {cost.cpu_seconds:.2f} CPU s, {cost.peak_mb:,.0f} MB")
        costs.append(cost)
    return costs
