"""Costs as a table, as power laws and as a figure, with what they mean for larger data."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from benchmark.files import write_bytes
from benchmark.scale import gpu
from benchmark.scale.figure import draw
from benchmark.scale.fit import FIXED_FROM
from benchmark.scale.lines import SIZES, WHAT, fits, lines, size_of
from benchmark.scale.measure import BATCH, DIM, STEPS, Cost
from benchmark.scale.targets import (
    HOST_MB,
    NEGATIVES,
    PASSES,
    SEEDS,
    TARGETS,
    Fits,
    demands,
    on_cpu,
    on_gpu,
)


def write_page(costs: Sequence[Cost], folder: Path) -> None:
    """folder/scale.csv, a row a measurement; scale.md with fits and extrapolations; the figure
    scale.svg, .pdf and .png."""
    table = io.StringIO()
    fields = [*Cost.model_fields["point"].annotation.model_fields]  # type: ignore[union-attr]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*fields, "cpu_seconds", "wall_seconds", "peak_mb", "own_mb"])
    for cost in costs:
        point = cost.point.model_dump()
        writer.writerow(
            [
                *(point[name] for name in fields),
                f"{cost.cpu_seconds:.3f}",
                f"{cost.wall_seconds:.3f}",
                f"{cost.peak_mb:.0f}",
                f"{cost.own_mb:.0f}",
            ]
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "scale.csv", table.getvalue().encode())
    write_bytes(folder / "scale.md", _page(costs).encode())
    draw(costs, folder)


def _page(costs: Sequence[Cost]) -> str:
    base = max((cost.base_mb for cost in costs), default=0.0)
    page = [
        "# Cost against size",
        "",
        "Made by `python -m benchmark scale`. CPU seconds of one thread; memory is the peak of the "
        f"process above the {base:,.0f} MB that Python and its packages take. A step's cost is of "
        f"{STEPS} steps of {BATCH} windows of SASRec at width {DIM}. The law of a line is "
        "cost = fixed + a size^b, by least squares on logarithms; without a fixed cost where "
        f"there are fewer than {FIXED_FROM} sizes or none fits better. b has its 95 % interval, "
        "which knows of noise alone and not of whether such a law holds beyond the points.",
        "",
        "![Cost against size](scale.svg)",
        "",
        *_laws(costs),
        "",
        *_gpu(),
        *_cpu(fits(costs, "CPU s")),
        *_breaks(fits(costs, "own MB")),
        "## Measurements",
        "",
    ]
    for (part, varies), own in lines(costs).items():
        page += [
            f"### {part} against {varies}",
            "",
            f"| {SIZES.get(varies, varies)} | CPU s | own MB |",
            "|---:|---:|---:|",
            *(f"| {size_of(c):,.0f} | {c.cpu_seconds:.2f} | {c.own_mb:,.0f} |" for c in own),
            "",
        ]
    return "\n".join(page)


def _laws(costs: Sequence[Cost]) -> list[str]:
    found = [
        "## Laws",
        "",
        "| part | against | of | points | fixed | b | 95 % interval |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for what in WHAT:
        for line, law in fits(costs, what).items():
            interval = f"{law.low:.2f} to {law.high:.2f}" if math.isfinite(law.low) else "none"
            found.append(
                f"| {line[0]} | {line[1]} | {what} | {law.points} | {law.fixed:,.3g} | "
                f"{law.b:.2f} | {interval} |"
            )
    return found


def _gpu() -> list[str]:
    rows = [
        f"| {found.row} | {found.target} | {found.steps:,.0f} | {found.seeds_at_once} | "
        + (
            f"{_range(*found.milliseconds)} | {_range(*found.hours)} |"
            if found.seeds_at_once
            else "does not fit | |"
        )
        for row in gpu.ROWS
        for found in (on_gpu(row, target) for target in TARGETS)
    ]
    return [
        "## On GPUs, from the cost model",
        "",
        f"{SEEDS} seeds of a row on one H100 (80 GB), by the model of docs/performance.md: "
        f"{gpu.BANDWIDTH / 1e12} TB/s, {gpu.FLOPS / 1e12:.0f} TFLOP/s in float32, "
        f"{1e6 * gpu.KERNEL} microseconds a kernel; a step takes between the largest and the sum "
        "of the three. **No part of it was measured on a GPU.** Hours divide by the number of "
        "GPUs: rows and stacks of seeds are independent. It takes for granted:",
        "",
        f"- {PASSES:.0f} passes over the data, as the profile `paper` makes over MicroLens-100k, "
        f"one window a user, {gpu.WINDOWS} windows a step. Whether that is converged at this size "
        "nobody knows; hours are in proportion to it.",
        f"- windows as long as Beauty's ({gpu.POSITIONS:,} positions a step) and the paper's "
        "widths, at which docs/performance.md counted.",
        f"- {gpu.LOGIT_PASSES} passes over the logits of a full softmax; past 10^5 items "
        f"{NEGATIVES:,} sampled items instead, whose effect on quality is another matter; "
        f"{gpu.TABLE_PASSES} passes over the item table for AdamW.",
        f"- every user ranked twice (validation and test), at {gpu.RANKING_PASSES} passes over the "
        "scores.",
        "- data and features that are there, and read in no time.",
        "- Amazon's published sizes as they are. Its users have two ratings on average, and "
        "whoever has fewer than three drops out of leave-one-out: upper bounds.",
        "",
        "| row | data | steps | seeds at once | ms a step | hours |",
        "|---|---|---:|---:|---:|---:|",
        *rows,
        "",
    ]


def _range(low: float, high: float) -> str:
    return f"{low:,.3g} to {high:,.3g}"


def _cpu(time: Fits) -> list[str]:
    found = on_cpu(time)
    if not found:
        return []
    return [
        "## On a CPU, from the measurements",
        "",
        f"Hours of one core for one seed of SASRec at width {DIM}, by the laws above, each "
        "size by itself and their effects multiplied; passes and sampled items as "
        "above, but with 512 of them. The bundle is made once, ranking is of validation and test.",
        "",
        "| data | bundle | training | ranking |",
        "|---|---:|---:|---:|",
        *(
            f"| {c.target} | {c.bundle:,.3g} | {c.training:,.3g} | {c.ranking:,.3g} |"
            for c in found
        ),
        "",
    ]


def _breaks(memory: Fits) -> list[str]:
    names = [target.name for target in TARGETS]
    rows = [
        f"| {demand.part} | {demand.limit:,.3g} {demand.of} | "
        + " | ".join(
            f"{'**' if demand.megabytes[name] > HOST_MB else ''}"
            f"{demand.megabytes[name] / 1e3:,.3g}"
            f"{'**' if demand.megabytes[name] > HOST_MB else ''}"
            for name in names
        )
        + " |"
        for demand in demands(memory)
    ]
    limits = [
        f"| the item tables of {row.name}'s {SEEDS} seeds in a GPU's {gpu.GPU_BYTES / 1e9:.0f} GB "
        f"(16 bytes a number) | {gpu.GPU_BYTES / gpu.table_bytes(row, 1, SEEDS):,.3g} items | "
        + " | ".join(f"{gpu.table_bytes(row, int(t.items), SEEDS) / 1e9:,.3g}" for t in TARGETS)
        + " |"
        for row in gpu.ROWS[:1]
    ]
    return [
        "## What breaks first",
        "",
        f"Memory of a CPU by part, by the laws above: the size at which "
        f"{HOST_MB / 1e3:.0f} GB are reached, and GB at the published sizes, bold where that is "
        "more. The part with the least room at MicroLens-1M's size comes first.",
        "",
        f"| part | {HOST_MB / 1e3:.0f} GB at | {' | '.join(names)} |",
        "|---|---:|" + "---:|" * len(names),
        *rows,
        *limits,
        "",
    ]
