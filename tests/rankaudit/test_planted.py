"""Slips that have to be found: real tables with one thing in them that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rankaudit.audit import audit_csv
from rankaudit.metrics import Metric
from tests.rankaudit.populations import Population, means

COLUMNS = ("NDCG@5", "NDCG@10", "MRR@5", "MRR@10", "HR@5", "HR@10", "Recall@10", "Precision@10",
           "MAP@10")  # fmt: skip
METRICS = tuple(metric for name in COLUMNS if (metric := Metric.parse(name)))
METHODS = ("A", "B", "C", "Ours")
Cells = dict[str, float]
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]


def real(seed: int, users: int = 400) -> list[list[NDArray[np.int64]]]:
    """Ranks of every method, the last the best."""
    rng = np.random.default_rng(seed)
    population = Population(np.ones(users, dtype=np.int64), 200)
    return [population.run(rng, skill) for skill in (0.6, 0.9, 1.2, 1.5)]


def cells_of(ranks: list[NDArray[np.int64]]) -> Cells:
    return dict(zip(COLUMNS, means(ranks, METRICS), strict=True))


# Each takes the cells of a row and moves one out of what the others allow, by a proof in a line.
SLIPS: dict[str, Callable[[Cells], Cells]] = {
    "MRR above NDCG": lambda c: {**c, "MRR@10": c["NDCG@10"] + 0.002},
    "NDCG above HR": lambda c: {**c, "NDCG@5": c["HR@5"] + 0.002},
    "HR falls with the cut-off": lambda c: {**c, "HR@5": c["HR@10"] + 0.002},
    "NDCG falls with the cut-off": lambda c: {**c, "NDCG@10": c["NDCG@5"] - 0.002},
    "MRR falls with the cut-off": lambda c: {**c, "MRR@10": c["MRR@5"] - 0.002},
    "Recall of one target is not HR": lambda c: {**c, "Recall@10": c["HR@10"] + 0.002},
    "Precision of one target is not HR / k": lambda c: {
        **c, "Precision@10": c["HR@10"] / 10 + 0.002
    },
    "MAP of one target is not MRR": lambda c: {**c, "MAP@10": c["MRR@10"] - 0.002},
    # Hits at ranks 6 to 10 add at most 1 / log2(7) each to NDCG, and at least 1 / log2(11).
    "NDCG gains more than new hits can": lambda c: {
        **c, "NDCG@10": c["NDCG@5"] + (c["HR@10"] - c["HR@5"]) / np.log2(7) + 0.002
    },
    "MRR gains less than new hits must": lambda c: {
        **c, "MRR@10": c["MRR@5"] + (c["HR@10"] - c["HR@5"]) / 10 - 0.002
    },
    "a row from another column order": lambda c: {**c, "NDCG@5": c["MRR@5"], "MRR@5": c["NDCG@5"]},
    "a zero too many": lambda c: {**c, "HR@10": c["HR@10"] / 10},
}  # fmt: skip


def audit(folder: Path, lines: list[list[str]]) -> set[tuple[str, str]]:
    """(kind, row) of the findings, notes aside."""
    path = folder / "table.csv"
    path.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    report = audit_csv(path, power=False)
    return {(f.kind, f.row) for f in report.findings if f.severity != "note"}


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 6))]
)
@pytest.mark.parametrize("slip", SLIPS)
def test_a_cell_that_the_others_do_not_allow(slip: str, seed: int, tmp_path: Path) -> None:
    lines = [["row", *COLUMNS]]
    for number, ranks in enumerate(real(seed)):
        cells = cells_of(ranks)
        moved = SLIPS[slip](cells) if number == 1 else cells
        lines.append([METHODS[number], *(f"{value:.4f}" for value in moved.values())])
    assert audit(tmp_path, lines) == {("infeasible_row", "B")}


@pytest.mark.parametrize("seed", range(3))
def test_a_share_that_is_no_number_of_users(seed: int, tmp_path: Path) -> None:
    """Half a hit of 400 users is 12.5 units of the fourth digit."""
    lines = [["row", "users", "HR@10", "NDCG@10"]]
    for number, ranks in enumerate(real(seed)):
        cells = cells_of(ranks)
        hits = cells["HR@10"] + (0.5 / 400 if number == 2 else 0.0)
        lines.append([METHODS[number], "400", f"{hits:.4f}", f"{cells['NDCG@10']:.4f}"])
    assert audit(tmp_path, lines) == {("whole_hits", "C")}


@pytest.mark.parametrize("versus", ["", "A"])
@pytest.mark.parametrize("seed", range(3))
def test_an_improvement_that_does_not_follow(seed: int, versus: str, tmp_path: Path) -> None:
    """Three points more than the unrounded values give; rounding moves it by less than one."""
    names = ("NDCG@5", "NDCG@10", "HR@10")
    lines = [["row", "role", "versus", *names]]
    rows = [cells_of(ranks) for ranks in real(seed)]
    for name, cells in zip(METHODS, rows, strict=True):
        lines.append([name, "", "", *(f"{cells[n]:.4f}" for n in names)])
    base = rows[0] if versus else {n: max(row[n] for row in rows[:-1]) for n in names}
    gains = [100 * (rows[-1][n] / base[n] - 1) for n in names]
    gains[seed] += 3.0
    lines.append(["Improv.", "improvement", versus, *(f"{gain:.2f}%" for gain in gains)])
    assert audit(tmp_path, lines) == {("improvement", "Improv.")}


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_do_not_add_up(seed: int, tmp_path: Path) -> None:
    """One overall cell moved by five hits of 400: the shares of 150 and 250 users are stated."""
    lines = [["table", "row", "group", "users", "NDCG@10", "HR@10"]]
    for number, ranks in enumerate(real(seed)):
        for table, group, part in (
            ("all", "", ranks), ("parts", "x", ranks[:150]), ("parts", "y", ranks[150:])
        ):  # fmt: skip
            cells = cells_of(part)
            moved = 5 / 400 if number == 0 and not group else 0.0
            shown = [f"{cells['NDCG@10']:.4f}", f"{cells['HR@10'] + moved:.4f}"]
            lines.append([table, METHODS[number], group, str(len(part)), *shown])
    found = audit(tmp_path, lines)
    assert ("whole_hits", "A") in found
    assert ("parts_vs_whole", ", ".join(METHODS)) in found
    assert len(found) == 2


@pytest.mark.parametrize("mark", ["**{}**", "_{}_"])
def test_a_mark_on_the_wrong_row(mark: str, tmp_path: Path) -> None:
    """Bold belongs to the last and underline to the last but one; here the first has it."""
    lines = [["row", "NDCG@10"]]
    for number, ranks in enumerate(real(0)):
        text = f"{cells_of(ranks)['NDCG@10']:.4f}"
        lines.append([METHODS[number], mark.format(text) if number == 0 else text])
    assert audit(tmp_path, lines) == {("marks", "A")}
