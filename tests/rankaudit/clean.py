"""Tables of every kind that real rankings give, as files: nothing in them contradicts itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rankaudit.interpret import Defaults
from rankaudit.metrics import Metric
from tests.rankaudit.populations import Population, means

Array = NDArray[np.float64]
METHODS = ("SASRec", "GRU4Rec", "MLP", "Ours")


@dataclass(frozen=True)
class File:
    """The text of a table, how its file is called, and what is told on the command line."""

    text: str
    suffix: str = ".csv"
    defaults: Defaults = field(default_factory=Defaults)


def metrics_of(rng: np.random.Generator, kinds: Sequence[str], most: int = 6) -> list[Metric]:
    names = [Metric(kind, k) for kind in kinds for k in (1, 3, 5, 10, 20)]
    chosen = rng.choice(len(names), size=int(rng.integers(2, most + 1)), replace=False)
    return [names[i] for i in sorted(chosen)]


ONE = ("NDCG", "MRR", "HR", "Recall", "Precision", "MAP")
ALL = ONE


def runs_of(
    rng: np.random.Generator, population: Population, metrics: Sequence[Metric], runs: int = 1
) -> Array:
    """Means of every run of one method, [runs, metrics]."""
    skill = rng.uniform(-0.5, 3.5)
    return np.array([means(population.run(rng, skill), tuple(metrics)) for _ in range(runs)])


def one_target(rng: np.random.Generator, candidates: int = 300) -> Population:
    return Population(np.ones(int(rng.integers(3, 60)), dtype=np.int64), candidates)


def several(rng: np.random.Generator, candidates: int = 300, most: int = 9) -> Population:
    return Population(rng.integers(1, most, size=int(rng.integers(3, 40))), candidates)


def table(
    rows: Sequence[tuple[str, Sequence[str]]],
    metrics: Sequence[Metric],
    more: dict[str, str] | None = None,
    delimiter: str = ",",
) -> str:
    extra = more or {}
    header = ["row", *extra, *map(str, metrics)]
    lines = [[name, *extra.values(), *cells] for name, cells in rows]
    return "\n".join(delimiter.join(line) for line in [header, *lines]) + "\n"


def shown(values: Array, decimals: int) -> list[str]:
    return [f"{value:.{decimals}f}" for value in values]


def simple(
    rng: np.random.Generator,
    population: Population,
    kinds: Sequence[str] = ONE,
    more: dict[str, str] | None = None,
    decimals: int | None = None,
    runs: int = 1,
    twice: bool = False,
    whole_mrr: bool = False,
) -> str:
    metrics = metrics_of(rng, kinds)
    if whole_mrr:
        metrics.append(Metric("MRR", None))
    digits = decimals if decimals is not None else int(rng.integers(2, 6))
    rows = []
    for name in METHODS:
        each = runs_of(rng, population, metrics, runs)
        mean = (np.round(each, digits) if twice else each).mean(axis=0)
        rows.append((name, shown(mean, digits)))
    return table(rows, metrics, more)


def shares(population: Population) -> str:
    sizes, counts = np.unique(population.relevant, return_counts=True)
    return " ".join(f"{m}:{n}" for m, n in zip(sizes, counts, strict=True))


def users_of(population: Population, runs: int = 1) -> dict[str, str]:
    return {"users": str(len(population.relevant)), "runs": str(runs)}


def leave_one_out(rng: np.random.Generator) -> File:
    return File(simple(rng, one_target(rng)))


def rounded_twice(rng: np.random.Generator) -> File:
    return File(simple(rng, one_target(rng), more={"rounding": "twice"}, runs=3, twice=True))


def averaged_runs(rng: np.random.Generator) -> File:
    population = one_target(rng)
    return File(simple(rng, population, more=users_of(population, 3), runs=3))


def known_targets(rng: np.random.Generator) -> File:
    population = several(rng)
    return File(simple(rng, population, more={"targets": shares(population)}))


def any_targets(rng: np.random.Generator) -> File:
    return File(simple(rng, several(rng), more={"targets": "any"}))


def sampled(rng: np.random.Generator) -> File:
    candidates = int(rng.choice([6, 11, 21, 101]))
    population = one_target(rng, candidates)
    return File(simple(rng, population, more={"candidates": str(candidates)}))


def any_targets_sampled(rng: np.random.Generator) -> File:
    candidates = int(rng.choice([6, 11, 21, 101]))
    population = Population(rng.integers(1, candidates + 1, size=20), candidates)
    return File(simple(rng, population, more={"targets": "any", "candidates": str(candidates)}))


def known_targets_sampled(rng: np.random.Generator) -> File:
    population = several(rng, 15, 15)
    more = {"targets": shares(population), "candidates": "15"}
    return File(simple(rng, population, more=more))


def whole_ranking(rng: np.random.Generator) -> File:
    population = one_target(rng, 101)
    more = {"candidates": "101", **users_of(population)}
    return File(simple(rng, population, more=more, whole_mrr=True))


def counted_users(rng: np.random.Generator) -> File:
    population = several(rng)
    return File(
        simple(rng, population, more={"targets": shares(population), **users_of(population)})
    )


def full_precision(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    rows = [(n, [repr(float(v)) for v in runs_of(rng, population, metrics)[0]]) for n in METHODS]
    return File(table(rows, metrics, users_of(population)))


def single_precision(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    rows = []
    for name in METHODS:
        means32 = runs_of(rng, population, metrics)[0].astype(np.float32)
        rows.append((name, [repr(float(value)) for value in means32]))
    return File(table(rows, metrics, users_of(population)))


def ten_digits(rng: np.random.Generator) -> File:
    return File(simple(rng, several(rng), more={"targets": "any"}, decimals=10))


def per_cent(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    sign = rng.random() < 0.5
    rows = []
    for name in METHODS:
        values = shown(100 * runs_of(rng, population, metrics)[0], 2)
        rows.append((name, [v + "%" for v in values] if sign else values))
    if sign:
        return File(table(rows, metrics))
    header, _, rest = table(rows, metrics).partition("\n")
    names = ["row", *(f"{metric} (%)" for metric in metrics)]
    assert header.count(",") == len(metrics)
    return File(",".join(names) + "\n" + rest)


def decimal_commas(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    rows = []
    for name in METHODS:
        values = shown(runs_of(rng, population, metrics)[0], int(rng.integers(1, 6)))
        rows.append((name, [value.replace(".", ",") for value in values]))
    return File(table(rows, metrics, delimiter=";"))


def spreads(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    rows = []
    for name in METHODS:
        each = runs_of(rng, population, metrics, 3)
        spread = each.std(axis=0)
        rows.append((name, [f"{m:.4f}±{s:.4f}" for m, s in zip(each.mean(0), spread, strict=True)]))
    return File(table(rows, metrics))


def improvement(rng: np.random.Generator) -> File:
    """Over the best or a named row; rounded once or, where it says so, twice; as per cent."""
    population, metrics = one_target(rng), metrics_of(rng, ("NDCG", "HR"), 4)
    twice, named, sign = rng.random(3) < 0.5
    values = []
    for _ in METHODS:
        each = runs_of(rng, population, metrics, 3)
        values.append((np.round(each, 4) if twice else each).mean(axis=0))
    header = ["row", "role", "versus", "rounding", *map(str, metrics)]
    rounding = "twice" if twice else ""
    lines = [
        [name, "ours" if name == "Ours" else "", "", rounding, *shown(v, 4)]
        for name, v in zip(METHODS, values, strict=True)
    ]
    base = values[0] if named else np.max(values[:-1], axis=0)
    if (base > 0).all():
        gains = shown(100 * (values[-1] / base - 1), 2)
        cells = [gain + "%" for gain in gains] if sign else gains
        lines.append(["Improv.", "", "SASRec" if named else "", rounding, *cells])
    return File("\n".join(",".join(line) for line in [header, *lines]) + "\n")


def _groups(
    rng: np.random.Generator, sizes: Sequence[int], metrics: Sequence[Metric], candidates: int = 300
) -> list[tuple[list[Array], Array]]:
    """For every method the means of each group and of all users together."""
    found = []
    for _ in METHODS:
        ranks = [
            Population(np.ones(n, dtype=np.int64), candidates).run(rng, rng.uniform(0, 3))
            for n in sizes
        ]
        parts = [means(group, tuple(metrics)) for group in ranks]
        whole = means([user for group in ranks for user in group], tuple(metrics))
        found.append((parts, whole))
    return found


def grouped(rng: np.random.Generator) -> File:
    """Groups that divide the users, with their numbers or without, in a table of their own."""
    metrics = metrics_of(rng, ONE, 4)
    sizes = [int(n) for n in rng.integers(3, 40, size=3)]
    told = rng.random() < 0.5
    lines = [["table", "row", "group", "users", *map(str, metrics)]]
    for name, (parts, whole) in zip(METHODS, _groups(rng, sizes, metrics), strict=True):
        lines.append(["main", name, "", str(sum(sizes)) * told, *shown(whole, 4)])
        for i, (n, part) in enumerate(zip(sizes, parts, strict=True)):
            lines.append(["groups", name, f"g{i}", str(n) * told, *shown(part, 4)])
    return File("\n".join(",".join(line) for line in lines) + "\n")


def some_groups(rng: np.random.Generator) -> File:
    """Groups of fewer users than the whole has."""
    metrics = metrics_of(rng, ONE, 4)
    sizes = [int(n) for n in rng.integers(3, 40, size=3)]
    kept = int(rng.integers(1, 3))
    lines = [["table", "row", "group", "users", *map(str, metrics)]]
    for name, (parts, whole) in zip(METHODS, _groups(rng, sizes, metrics), strict=True):
        lines.append(["main", name, "", str(sum(sizes)), *shown(whole, 4)])
        for i in range(kept):
            lines.append(["cold", name, f"g{i}", str(sizes[i]), *shown(parts[i], 4)])
    return File("\n".join(",".join(line) for line in lines) + "\n")


def two_protocols(rng: np.random.Generator) -> File:
    """Full ranking and sampled candidates in two tables, groups of the first in a third."""
    metrics = metrics_of(rng, ("NDCG", "HR", "MRR"), 4)
    sizes = [int(n) for n in rng.integers(3, 40, size=2)]
    lines = [["table", "row", "group", "candidates", "users", *map(str, metrics)]]
    full, few = _groups(rng, sizes, metrics), _groups(rng, sizes, metrics, 21)
    for name, (parts, whole), (_, sampled_whole) in zip(METHODS, full, few, strict=True):
        lines.append(["full", name, "", "", str(sum(sizes)), *shown(whole, 4)])
        lines.append(["sampled", name, "", "21", str(sum(sizes)), *shown(sampled_whole, 4)])
        for i, part in enumerate(parts):
            lines.append(["length", name, f"g{i}", "", str(sizes[i]), *shown(part, 4)])
    return File("\n".join(",".join(line) for line in lines) + "\n")


def two_groupings(rng: np.random.Generator) -> File:
    """The same users divided in two ways, a table each."""
    metrics = metrics_of(rng, ("NDCG", "HR", "MRR"), 4)
    sizes = [int(n) for n in rng.integers(6, 40, size=2)]
    lines = [["table", "row", "group", "users", *map(str, metrics)]]
    for name in METHODS:
        ranks = Population(np.ones(sum(sizes), dtype=np.int64), 300).run(rng, rng.uniform(0, 3))
        lines.append(["main", name, "", str(len(ranks)), *shown(means(ranks, tuple(metrics)), 4)])
        for title, cut in (("age", sizes[0]), ("length", sizes[1])):
            for group, part in (("low", ranks[:cut]), ("high", ranks[cut:])):
                mean = means(part, tuple(metrics))
                lines.append([title, name, group, str(len(part)), *shown(mean, 4)])
    return File("\n".join(",".join(line) for line in lines) + "\n")


def tied(rng: np.random.Generator) -> File:
    """Two targets in three share a score with one item: hits and gains in expectation."""
    population, metrics = one_target(rng), metrics_of(rng, ("NDCG", "HR", "MRR"))
    rows = []
    for name in METHODS:
        ranks = population.run(rng, rng.uniform(0, 3))
        later = [r + 1 for r in ranks]
        both = (means(ranks, tuple(metrics)) + 2 * means(later, tuple(metrics))) / 3
        rows.append((name, shown(both, 4)))
    return File(table(rows, metrics, {**users_of(population), "ties": "expected"}))


def _marked(values: Sequence[Array], decimals: int) -> list[list[tuple[str, int]]]:
    """Cells as text with their place in the column, 0 the best; equal prints share a place."""
    text = [shown(v, decimals) for v in values]
    columns = [
        sorted({row[j] for row in text}, key=float, reverse=True) for j in range(len(text[0]))
    ]
    return [[(cell, columns[j].index(cell)) for j, cell in enumerate(row)] for row in text]


def latex(rng: np.random.Generator) -> File:
    """Two datasets side by side, bold and underline, a caption, an improvement row."""
    metrics = metrics_of(rng, ("NDCG", "HR"), 3)
    population, k = one_target(rng), len(metrics)
    values = [
        np.concatenate([runs_of(rng, population, metrics)[0] for _ in range(2)]) for _ in METHODS
    ]
    lines = [
        r"\begin{table}\caption{Main results}\label{tab:main}",
        r"\begin{tabular}{l|" + "c" * (2 * k) + r"} \toprule % columns",
        rf"\multirow{{2}}{{*}}{{Method}} & \multicolumn{{{k}}}{{c|}}{{Beauty}}"
        rf" & \multicolumn{{{k}}}{{c}}{{ML\_100k}} \\ \cmidrule(lr){{2-{k + 1}}}",
        " & " + " & ".join([str(m) for m in metrics] * 2) + r" \\ \midrule",
    ]
    for name, cells in zip(METHODS, _marked(values, 4), strict=True):
        looks = {0: r"\textbf{%s}", 1: r"\underline{%s}"}
        written = [looks.get(place, "%s") % cell for cell, place in cells]
        lines.append(f"{name}~\\cite{{x}} & " + " & ".join(written) + r" \\")
    best = np.max(values[:-1], axis=0)
    if (best > 0).all():
        gains = [rf"{gain}\%" for gain in shown(100 * (values[-1] / best - 1), 2)]
        lines += [r"\midrule", "Improv. & " + " & ".join(gains) + r" \\"]
    lines.append(r"\bottomrule\end{tabular}\end{table}")
    return File("\n".join(lines), ".tex")


def markdown(rng: np.random.Generator) -> File:
    population, metrics = one_target(rng), metrics_of(rng, ONE)
    values = [runs_of(rng, population, metrics)[0] for _ in METHODS]
    lines = ["# Results", "", "| Model | " + " | ".join(map(str, metrics)) + " |"]
    lines.append("|---|" + "---:|" * len(metrics))
    for name, cells in zip(METHODS, _marked(values, 4), strict=True):
        written = [f"**{cell}**" if place == 0 else cell for cell, place in cells]
        lines.append(f"| {name} | " + " | ".join(written) + " |")
    return File("\n".join(lines) + "\n", ".md")


def methods_across(rng: np.random.Generator) -> File:
    """Metrics down, methods across."""
    population, metrics = one_target(rng), metrics_of(rng, ("NDCG", "HR"))
    values = [runs_of(rng, population, metrics)[0] for _ in METHODS]
    lines = ["Dataset,Metric," + ",".join(METHODS)]
    for metric, cells in zip(metrics, np.transpose(values), strict=True):
        lines.append(f"Beauty,{metric}," + ",".join(shown(cells, 4)))
    return File("\n".join(lines) + "\n")


def told_outside(rng: np.random.Generator) -> File:
    population = several(rng)
    users = str(len(population.relevant))
    return File(simple(rng, population), defaults=Defaults(targets="any", users=users, runs="1"))


KINDS: dict[str, Callable[[np.random.Generator], File]] = {
    kind.__name__: kind
    for kind in (
        leave_one_out, rounded_twice, averaged_runs, known_targets, any_targets, sampled,
        any_targets_sampled, known_targets_sampled, whole_ranking, counted_users, full_precision,
        single_precision, ten_digits, per_cent, decimal_commas, spreads, improvement, grouped,
        some_groups, two_protocols, two_groupings, tied, latex, markdown, methods_across,
        told_outside,
    )
}  # fmt: skip
