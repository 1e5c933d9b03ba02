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

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy  # loads `optimize` at first use: it takes longer than the rest of rankaudit
from numpy.typing import NDArray

from rankaudit.feasibility import TOLERANCE
from rankaudit.findings import Outcome, PartsVersusWhole, PlainFinding, Skipped
from rankaudit.hits import hits_add_up
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rows import Row

_EDGE = 1e-9  # float error of sums of decimals


def subgroups(rows: Sequence[Row]) -> list[Outcome]:
    """Compare every group table with the rows over all users that its groups may divide.

    These are rows of the same dataset and protocol: of the same table if it has any, else of every
    other table by itself, and then only what contradicts all of them is reported. Groups divide
    the users if their stated numbers add up to the whole's; this is assumed, and a finding says so,
    if the numbers are not stated. Groups of fewer users are compared one by one, as parts.
    """
    tables: dict[tuple[str, str, int | None], list[Row]] = {}
    for row in rows:
        if row.group and row.role != "improvement":
            tables.setdefault((row.table, row.dataset, row.protocol.candidates), []).append(row)
    outcomes, skipped = [], []
    for (table, dataset, _), parts in tables.items():
        found = _wholes(rows, parts)
        place = ", ".join(part for part in (table, dataset) if part) or "groups"
        if not found:
            why = "no row over all users of the same methods, dataset and protocol"
            skipped.append(Skipped(what=place, why=why))
            continue
        tried = [_compare(place, parts, wholes) for wholes in found]
        clean = [outcome for outcome in tried if not any(o.findings for o in outcome)]
        outcomes += clean[0] if clean else tried[0]
    outcomes.append(
        Outcome(kind="parts_vs_whole", unit="group tables left out", examined=0, findings=[],
                skipped=skipped)
    )  # fmt: skip
    return [outcome for outcome in outcomes if outcome.examined or outcome.skipped]


def _wholes(rows: Sequence[Row], parts: Sequence[Row]) -> list[list[Row]]:
    """Rows over all users that the groups may be parts of, by table; if able, of their own."""
    first = parts[0]
    relevant = {part.protocol.relevant for part in parts}
    tables: dict[str, list[Row]] = {}
    for row in rows:
        fits = (
            not row.group
            and row.role != "improvement"
            and row.dataset == first.dataset
            and row.protocol.candidates == first.protocol.candidates
            # Groups may differ in their numbers of targets, and then the whole has a mixture.
            and (relevant == {row.protocol.relevant} or len(relevant) > 1)
            and any(row.name == part.name for part in parts)
        )
        if fits:
            tables.setdefault(row.table, []).append(row)
    return [tables[first.table]] if first.table in tables else list(tables.values())


def _compare(place: str, parts: Sequence[Row], wholes: Sequence[Row]) -> list[Outcome]:
    """One group table against the rows of one other table."""
    groups = list(dict.fromkeys(part.group for part in parts))
    sizes = {group: _one_number(p.users for p in parts if p.group == group) for group in groups}
    total = _one_number(whole.users for whole in wholes)
    known = {group: size for group, size in sizes.items() if size is not None}
    if total is not None and len(known) == len(groups) - 1 and sum(known.values()) < total:
        (last,) = (group for group in groups if group not in known)
        known[last] = total - sum(known.values())  # what the others leave
    if total is not None and known and sum(known.values()) < total:
        some = parts_of_some(parts, wholes)
        why = (
            f"its groups have {sum(known.values()):,} of {total:,} users, so they do not divide "
            "them; each was held against the whole by itself"
        )
        return [some.model_copy(update={"skipped": [Skipped(what=place, why=why)]})]
    if total is not None and sum(known.values()) > total:
        why = f"its groups have {sum(known.values()):,} users, the whole {total:,}: they overlap"
    elif len(groups) == 1:
        why = f"the one group '{groups[0]}' does not divide the users"
    elif not all(_is_full(parts, group, wholes) for group in groups):
        why = "no method has a row for every group and for all users"
    else:
        why = ""
    if why:
        skip = Skipped(what=place, why=why)
        return [Outcome(kind="parts_vs_whole", unit="cells", examined=0, findings=[],
                        skipped=[skip])]  # fmt: skip
    complete = len(known) == len(groups)
    shares = {group: size / sum(known.values()) for group, size in known.items()}
    stated = complete and total is not None
    outcomes = [
        parts_vs_whole(
            parts,
            wholes,
            shares if complete else None,
            assumed=not stated,
            shares_stated=stated,
        )
    ]
    if stated:
        by_method = {
            whole.name: [p for group in groups for p in parts
                         if (p.name, p.group) == (whole.name, group)]
            for whole in wholes
        }  # fmt: skip
        full = {name: rows for name, rows in by_method.items() if len(rows) == len(groups)}
        outcomes.append(hits_add_up(wholes, full))
    return outcomes


def _one_number(numbers: Iterable[int | None]) -> int | None:
    """The number that all rows state, or None if some state none or they differ."""
    distinct = set(numbers)
    return distinct.pop() if len(distinct) == 1 else None


def _is_full(parts: Sequence[Row], group: str, wholes: Sequence[Row]) -> bool:
    return any(p.group == group and p.name == whole.name for p in parts for whole in wholes)


def parts_of_some(parts: Sequence[Row], wholes: Sequence[Row]) -> Outcome:
    """Groups that are some of the users, each by itself against the whole.

    n of N users with mean p leave the others (N w - n p) / (N - n), which no metric lets fall
    below 0 or rise above 1.
    """
    examined, findings = 0, []
    by_name = {whole.name: whole for whole in wholes}
    for part in parts:
        whole = by_name.get(part.name)
        if whole is None or part.users is None or whole.users is None:
            continue
        rest = whole.users - part.users
        for metric, cell in part.cells.items():
            if metric not in whole.cells or rest <= 0:
                continue
            examined += 1
            low, high = cell.interval(part.rounding)
            least, most = whole.cells[metric].interval(whole.rounding)
            over = (whole.users * most - part.users * low) / rest
            under = (whole.users * least - part.users * high) / rest
            if over < -_EDGE or under > 1 + _EDGE:
                findings.append(
                    PlainFinding(
                        kind="parts_of_some",
                        table=part.table,
                        row=part.label,
                        dataset=part.dataset,
                        printed=f"{metric} {cell.text} for {part.users:,} users, "
                        f"{whole.cells[metric].text} for {whole.users:,}",
                        why=f"The other {rest:,} users would need a mean of {under:.4f} to "
                        f"{over:.4f}, outside 0 to 1.",
                        severity="contradiction",
                        explanations=[
                            "The tables may come from different runs or seeds.",
                            "The group's users may not be among those of the whole.",
                        ],
                    )
                )
    return Outcome(
        kind="parts_of_some", unit="cells of some users", examined=examined, findings=findings
    )


def parts_vs_whole(
    parts: Sequence[Row],
    wholes: Sequence[Row],
    known: Mapping[str, float] | None = None,
    assumed: bool = False,
    shares_stated: bool = False,
) -> Outcome:
    """Compare the groups' rows with the rows over all rankings, method by method.

    parts: rows with a group, of one dataset; wholes: rows of the same methods without one.
    known: the groups' shares, if the data tell them; shares_stated: if the page does.
    assumed: whether it is an assumption that the groups divide the rankings; then two statements
    differ, and the page does not contradict itself.
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
    rounding = max((row.rounding for row in (*parts, *wholes)), key=lambda r: r.value)
    allowance = 2 * rounding.value
    slack_known, beyond = None, []
    if known is not None:
        shares = np.array([known[group] for group in groups])
        means = matrix @ (shares / shares.sum())
        away = np.abs(means - overall) / unit
        slack_known = float(np.max(away))
        beyond = [
            f"{whole.name} {metric}: {mean:.4f} from the groups, {total.text} printed"
            for (whole, metric, total, _), mean, units in zip(cells, means, away, strict=True)
            if units > allowance + TOLERANCE
        ]
    ratios = _ratio_violations(cells, rounding)
    if slack <= allowance + TOLERANCE and not ratios and not beyond:
        return outcome
    table = next(row.table for row in parts)
    worst = max(range(len(cells)), key=lambda i: abs(matrix[i] @ weights - overall[i]) / unit[i])
    row, metric, printed, _ = cells[worst]
    gap = (
        f"leaves {slack:.1f} units where rounding of parts and whole covers {allowance:.0f} "
        f"(worst: {row.name} {metric}, printed {printed.text}, from the groups "
        f"{matrix[worst] @ weights:.4f})"
    )
    why = (
        f"One set of group shares cannot give every overall number: the best one {gap}. "
        if slack > allowance + TOLERANCE
        else f"Some set of group shares {gap}. "
    )
    proved = slack > allowance + TOLERANCE or bool(ratios) or shares_stated
    return outcome.model_copy(update={"findings": [PartsVersusWhole(
        table=f"{table or 'groups'} against {first.table or 'the whole'}",
        row=", ".join(dict.fromkeys(whole.name for whole, *_ in cells)),
        dataset=first.dataset,
        printed=f"{len(cells)} cells over all rankings and {len(groups)} groups each",
        why=why
        + ("" if slack_known is None else f"With the known shares it is {slack_known:.1f} units. ")
        + f"{len(ratios)} ratios of two methods lie outside their range over the groups."
        + (" That the groups divide the users is an assumption." if assumed else ""),
        severity="contradiction" if proved and not assumed else "discrepancy",
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
        cells_beyond=beyond,
    )]})  # fmt: skip


def _best_weights(
    matrix: NDArray[np.float64], total: NDArray[np.float64], unit: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Weights on the simplex that reproduce `total` within the smallest number of units."""
    scaled, goal = matrix / unit[:, None], total / unit
    one = np.ones((len(goal), 1))
    count = matrix.shape[1]
    for method in ("highs", "highs-ipm"):
        result = scipy.optimize.linprog(
            np.append(np.zeros(count), 1.0),
            A_ub=np.vstack([np.hstack([scaled, -one]), np.hstack([-scaled, -one])]),
            b_ub=np.concatenate([goal, -goal]),
            A_eq=np.append(np.ones(count), 0.0)[None],
            b_eq=[1.0],
            method=method,
        )
        if result.status == 0 and result.fun is not None and result.x is not None:
            return float(result.fun), np.asarray(result.x[:count])
    return 0.0, np.full(count, 1.0 / count)  # nothing is found where the solver gave no answer


def _ratio_violations(
    cells: Sequence[tuple[Row, Metric, Printed, list[Printed]]], rounding: Rounding
) -> list[str]:
    """Pairs whose overall ratio no group ratio reaches, with all rounding in their favour."""
    half = rounding.value
    found = []
    for metric in dict.fromkeys(metric for _, metric, _, _ in cells):
        column = [(row, total, parts) for row, other, total, parts in cells if other == metric]
        printed = np.array([[total, *parts] for _, total, parts in column], dtype=object)
        value = np.vectorize(lambda cell: cell.value, otypes=[float])(printed)
        unit = np.vectorize(lambda cell: cell.unit, otypes=[float])(printed)
        low, high = np.maximum(value - half * unit, 0.0), value + half * unit
        for i, (row_a, a, _) in enumerate(column):
            others = slice(i + 1, None)
            # Intervals of the ratios of row i to every later row: over all, then by group.
            with np.errstate(divide="ignore"):
                least = low[i] / high[others]
                most = np.where(low[others] > 0, high[i] / low[others], np.inf)
            lowest, highest = least[:, 1:].min(axis=1), most[:, 1:].max(axis=1)
            below = most[:, 0] < lowest * (1 - _EDGE)
            for j in np.flatnonzero(below | (least[:, 0] * (1 - _EDGE) > highest)):
                row_b, b, _ = column[i + 1 + j]
                found.append(
                    f"{metric}: {row_a.name} / {row_b.name} is "
                    + (f"{a.value / b.value:.3f}" if b.value else "infinite")
                    + f" overall, {lowest[j]:.3f} to {highest[j]:.3f} over the groups"
                )
    return found
