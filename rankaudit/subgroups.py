"""Kind `parts_vs_whole`: a subgroup table against the whole that its groups divide.

If the groups partition the rankings, each method's overall metric is the mean of its group metrics
with the groups' shares as weights, the same for every method and metric. So (1) the ratio of two
methods overall lies between their smallest and largest ratio over the groups, and (2) one set of
weights w >= 0, sum w = 1, reproduces every overall number. With rounding: weights that sum to one
average the parts' rounding errors, which stay within half a unit; the whole adds its own half. As
the errors of different cells are free of each other, (2) holds for some unprinted digits exactly
if the printed numbers fit some weights within one unit (two, if runs were rounded before).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from rankaudit.feasibility import TOLERANCE
from rankaudit.findings import Outcome, PartsVersusWhole
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, quotient_interval
from rankaudit.rows import Row


def parts_vs_whole(
    parts: Sequence[Row], wholes: Sequence[Row], known: Mapping[str, float] | None = None
) -> Outcome:
    """Compare the groups' rows with the rows over all rankings, method by method.

    parts: rows with a group, of one dataset; wholes: rows of the same methods without one.
    known: the groups' shares, if the data tell them.
    """
    groups = list(dict.fromkeys(row.group for row in parts))
    by_group = {(row.name, row.group): row for row in parts}
    cells = []
    for whole in wholes:
        if all((whole.name, group) in by_group for group in groups):
            rows = [by_group[whole.name, group] for group in groups]
            for metric, total in whole.cells.items():
                if all(metric in row.cells for row in rows):
                    cells.append((whole, metric, total, [row.cells[metric] for row in rows]))
    outcome = Outcome(kind="parts_vs_whole", unit="cells", examined=len(cells), findings=[])
    if not cells:
        return outcome
    first = cells[0][0]
    matrix = np.array([[p.value for p in row] for _, _, _, row in cells])
    overall = np.array([t.value for _, _, t, _ in cells])
    # Group and whole may be printed to different digits; an error of one unit is the sum of the
    # two half units, whichever weights average the parts.
    unit = np.array([(t.unit + max(p.unit for p in row)) / 2 for _, _, t, row in cells])
    slack, weights = _best_weights(matrix, overall, unit)
    allowance = 2 * first.rounding.value
    slack_known = None
    if known is not None:
        shares = np.array([known[group] for group in groups])
        slack_known = float(np.max(np.abs(matrix @ (shares / shares.sum()) - overall) / unit))
    ratios = _ratio_violations([(w, m, t, row) for w, m, t, row in cells])
    beyond_known = slack_known is not None and slack_known > allowance + TOLERANCE
    if slack <= allowance + TOLERANCE and not ratios and not beyond_known:
        return outcome
    table = next(row.table for row in parts)
    worst = max(range(len(cells)), key=lambda i: abs(matrix[i] @ weights - overall[i]) / unit[i])
    row, metric, printed, _ = cells[worst]
    finding = PartsVersusWhole(
        table=f"{table} against {first.table}",
        row=", ".join(dict.fromkeys(whole.name for whole, *_ in cells)),
        dataset=first.dataset,
        printed=f"{len(cells)} cells over all rankings and {len(groups)} groups each",
        why=f"One set of group shares cannot give every overall number: the best one leaves "
        f"{slack:.1f} units where rounding of parts and whole covers {allowance:.0f} (worst: "
        f"{row.name} {metric}, printed {printed.text}, from the groups "
        f"{matrix[worst] @ weights:.4f}). "
        + ("" if slack_known is None else f"With the known shares it is {slack_known:.1f} units. ")
        + f"{len(ratios)} ratios of two methods lie outside their range over the groups.",
        severity="contradiction"
        if slack > allowance + TOLERANCE or ratios
        else "discrepancy",
        explanations=[
            "The two tables may come from different runs or seeds.",
            "Group metrics may be averaged over other users than the overall ones, so that the "
            "groups do not divide them.",
            "The two tables may have been evaluated under different protocols.",
        ],
        slack=round(slack, 4),
        allowance=allowance,
        best_weights={g: round(float(w), 4) for g, w in zip(groups, weights, strict=True)},
        slack_known=None if slack_known is None else round(slack_known, 4),
        known_weights=None if known is None else {g: round(known[g], 4) for g in groups},
        ratios=ratios,
    )  # fmt: skip
    return outcome.model_copy(update={"findings": [finding]})


def _best_weights(
    matrix: NDArray[np.float64], total: NDArray[np.float64], unit: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Weights on the simplex that reproduce `total` within the smallest number of units."""
    scaled, goal = matrix / unit[:, None], total / unit
    one = np.ones((len(goal), 1))
    count = matrix.shape[1]
    result = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.vstack([np.hstack([scaled, -one]), np.hstack([-scaled, -one])]),
        b_ub=np.concatenate([goal, -goal]),
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
        method="highs",
    )
    assert result.fun is not None  # any weights fit within some number of units
    assert result.x is not None
    return float(result.fun), np.asarray(result.x[:count])


def _ratio_violations(cells: Sequence[tuple[Row, Metric, Printed, list[Printed]]]) -> list[str]:
    """Pairs whose overall ratio no group ratio reaches, with all rounding in their favour."""
    found = []
    for (row_a, metric, a, parts_a), (row_b, other, b, parts_b) in combinations(cells, 2):
        if metric != other or row_a.name == row_b.name:
            continue
        low, high = quotient_interval(a, b, row_a.rounding)
        ranges = [
            quotient_interval(p, q, row_a.rounding) for p, q in zip(parts_a, parts_b, strict=True)
        ]
        least, most = min(r[0] for r in ranges), max(r[1] for r in ranges)
        if high < least or low > most:
            found.append(
                f"{metric}: {row_a.name} / {row_b.name} is {a.value / b.value:.3f} overall, "
                f"{least:.3f} to {most:.3f} over the groups"
            )
    return found
