"""Golden curves: the first losses of every row, as they were, beside the same made now.

A curve is compared to the bit where everything that can move a last digit is the same (`MadeWith`).
Elsewhere its recommendation loss alone is compared, within `tolerance`: among the model's own terms
are statistics, such as the mean gate of an expert, that rounding can move far more than the loss.
What differs is either a mistake or intended; an intended change makes the file anew, and
the comparison of old and new is its record.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from benchmark.analyse.regression import Check
from benchmark.errors import InputError
from benchmark.files import atomic_file
from benchmark.runs.spec import Frozen

LEAST_TOLERANCE = 5e-5
"""Difference of a recommendation loss that another machine or version may always make, as a share
of the largest value of its curve. Vector instructions round sums and normal draws otherwise: on
AVX2, and without vector instructions, every curve but one lay within 6.1e-6 of that on AVX-512, and
most within 1e-7 (docs/regression.md)."""

AMPLIFICATION = 10
"""How many times a curve's own `rounding` another machine may make. The one curve that went beyond
`LEAST_TOLERANCE` (IISAN on ML-100k, 9.8e-5) has a rounding of 9.2e-5: its steps amplify a
difference that those of the other rows carry along."""

RECOMMENDATION = "recommendation"
"""Name of the loss that every trained row has."""

REMAKE = "./reproduce.sh golden --write"


class MadeWith(Frozen):
    """What can change the last digit of a loss besides code, settings and data."""

    torch: str
    numpy: str
    numba: str
    isa: str
    """Vector instructions that torch uses: "AVX512", "AVX2", "DEFAULT" ..."""
    cpu: str
    """The processor's family as LLVM names it; numba compiles for it, and the matrix products of
    one instruction set differ between families."""
    scan: str
    """Backend of the selective scan."""


class Curve(Frozen):
    """One row on one dataset."""

    losses: dict[str, list[float]]
    """By name, one value a step: the recommendation loss and the model's own terms. Empty for a
    control, which is not trained."""
    ranks: dict[str, float]
    """Mean NDCG@10 over users of the parameters that validation chose, by split and protocol.
    Rounding that turns one rank can choose another step, so they are compared on equal `MadeWith`
    alone."""
    rounding: float = Field(0.0, ge=0)
    """Largest difference of the recommendation loss that changing every initial parameter by one
    unit in its last place makes, as a share of the curve's largest value."""

    @property
    def tolerance(self) -> float:
        """What another machine or version may change of the recommendation loss, as that share."""
        return max(LEAST_TOLERANCE, AMPLIFICATION * self.rounding)


class Golden(Frozen):
    """A file of golden curves."""

    made_with: MadeWith
    data: dict[str, str]
    """Hash of each dataset's bundle."""
    curves: dict[str, dict[str, Curve]]
    """By dataset and row."""

    def named(self) -> dict[str, Curve]:
        """The curves by "SASRec on beauty"."""
        return {
            f"{row} on {dataset}": curve
            for dataset, rows in self.curves.items()
            for row, curve in rows.items()
        }

    def part(self, datasets: Sequence[str] | None, rows: Sequence[str] | None) -> "Golden":
        """The curves of some datasets and rows alone; None is all of them."""
        kept = {
            dataset: {row: curve for row, curve in own.items() if rows is None or row in rows}
            for dataset, own in self.curves.items()
            if datasets is None or dataset in datasets
        }
        return self.model_copy(update={"curves": kept})


@dataclass(frozen=True)
class Difference:
    """How far two curves of one row lie apart."""

    largest: float
    """Largest difference of a loss, as a share of the largest absolute value of the older curve."""
    loss: str
    """The loss in which it is largest; empty where no loss differs."""
    step: int
    """First step, from 1, at which any loss differs; 0 where none does."""
    ranks: tuple[str, ...]
    """Names of the ranks' means that differ."""

    def __bool__(self) -> bool:
        return bool(self.step or self.ranks)

    def __str__(self) -> str:
        parts = []
        if self.step:
            parts.append(
                f"{self.loss} loss by {self.largest:.1e} at most, first at step {self.step}"
            )
        if self.ranks:
            parts.append("ranks (" + ", ".join(self.ranks) + ")")
        return " and ".join(parts) or "equal"


def difference(old: Curve, new: Curve) -> Difference:
    """Between two curves. A loss that one of them lacks, or has for fewer steps, differs by inf."""
    apart = {
        loss: _apart(old.losses.get(loss, []), new.losses.get(loss, []))
        for loss in dict.fromkeys([*old.losses, *new.losses])
    }
    found = {loss: own for loss, own in apart.items() if own[1]}
    largest = max(found, key=lambda loss: found[loss][0], default="")
    names = dict.fromkeys([*old.ranks, *new.ranks])
    return Difference(
        loss=largest,
        largest=found[largest][0] if found else 0.0,
        step=min((step for _, step in found.values()), default=0),
        ranks=tuple(name for name in names if old.ranks.get(name) != new.ranks.get(name)),
    )


def rounding_of(curve: Curve, moved: Curve) -> float:
    """`rounding` of a curve, from the one that starts one unit in the last place away."""
    return difference(_portable(curve), _portable(moved)).largest


def _distance(a: float, b: float) -> float:
    """|a - b|; NaN is equal to NaN, and infinitely far from any number."""
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b)


def _apart(before: list[float], now: list[float]) -> tuple[float, int]:
    """Largest relative difference, and the first step that differs; (0, 0) for equal ones."""
    if len(before) != len(now):
        return float("inf"), min(len(before), len(now)) + 1
    apart = [_distance(a, b) for a, b in zip(before, now, strict=True)]
    steps = [at for at, own in enumerate(apart, 1) if own > 0]
    if not steps:
        return 0.0, 0
    scale = max((abs(value) for value in before if not math.isnan(value)), default=0.0)
    return (max(apart) / scale if scale > 0 else float("inf")), steps[0]


def compare(golden: Golden, fresh: Golden) -> list[Check]:
    """A verdict for each row and dataset: "missing" where one of the two lacks it."""
    exact = golden.made_with == fresh.made_with
    old, new = golden.named(), fresh.named()
    hashes = {d: (golden.data.get(d), h) for d, h in fresh.data.items()}
    moved = [d for d, (before, now) in hashes.items() if before is not None and before != now]
    note = f"; the data of {', '.join(moved)} are not those it was made from" if moved else ""
    checks = []
    for name in dict.fromkeys([*old, *new]):
        title = f"golden curve of {name}"
        if name not in new:
            message = f"there is no such row any more: make the file anew, {REMAKE}"
            checks.append(Check(title, "missing", message))
        elif name not in old:
            message = f"the row has no golden curve: make the file anew, {REMAKE}"
            checks.append(Check(title, "missing", message))
        elif exact:
            found = difference(old[name], new[name])
            checks.append(_verdict(title, found, 0.0, note))
        else:
            found = difference(_portable(old[name]), _portable(new[name]))
            checks.append(_verdict(title, found, old[name].tolerance, note))
    return checks


def _portable(curve: Curve) -> Curve:
    """What of a curve is compared between machines."""
    kept = {name: values for name, values in curve.losses.items() if name == RECOMMENDATION}
    return Curve(losses=kept, ranks={})


def _verdict(title: str, found: Difference, tolerance: float, note: str) -> Check:
    if not found:
        return Check(title, "passed", "equal to the bit")
    if tolerance and found.largest <= tolerance:
        message = f"{found}, within {tolerance:.1e} for other versions or another CPU"
        return Check(title, "passed", message)
    allowed = f"{tolerance:.1e} is allowed" if tolerance else "equal versions and CPU allow none"
    message = f"differs in {found}; {allowed}{note}. If it is intended: {REMAKE}"
    return Check(title, "failed", message)


def changes(golden: Golden | None, fresh: Golden) -> list[str]:
    """Old beside new, a line each: what they were made with, then every row that differs."""
    if golden is None:
        return [f"{len(fresh.named())} curves, and none before"]
    lines = []
    for part, now in fresh.made_with.model_dump().items():
        before = getattr(golden.made_with, part)
        if before != now:
            lines.append(f"{part}: {before} -> {now}")
    old, new = golden.named(), fresh.named()
    lines += [f"{name}: gone" for name in old if name not in new]
    lines += [f"{name}: new" for name in new if name not in old]
    equal = 0
    for name in [name for name in new if name in old]:
        found = difference(old[name], new[name])
        equal += not found
        if found:
            lines.append(f"{name}: {found}{_last(old[name], new[name])}")
    return [*lines, f"{equal} of {len(new)} curves are as they were"]


def _last(old: Curve, new: Curve) -> str:
    """The last recommendation loss of both."""
    before, now = old.losses.get(RECOMMENDATION), new.losses.get(RECOMMENDATION)
    if not before or not now:
        return ""
    return f"; last recommendation loss {before[-1]:.6g} -> {now[-1]:.6g}"


def read_golden(path: Path) -> Golden:
    """Raises InputError, with the command that makes the file, where it is missing or damaged."""
    try:
        return Golden.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the golden curves ({error.strerror}); make them: {REMAKE}"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: no golden curves ({first}); make them anew: {REMAKE}") from error


def write_golden(path: Path, golden: Golden) -> None:
    """A list a line, so that a change of one curve is a change of its lines. Numbers are written
    with as many digits as give them back exactly. Raises InputError where it cannot be written."""
    content = golden.model_dump()
    curves: Mapping[str, Mapping[str, Curve]] = golden.curves
    content["curves"] = {
        dataset: {row: _marked(curve) for row, curve in rows.items()}
        for dataset, rows in curves.items()
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    for dataset in curves.values():
        for curve in dataset.values():
            for values in curve.losses.values():
                text = text.replace(json.dumps(json.dumps(values)), json.dumps(values))
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _marked(curve: Curve) -> dict[str, object]:
    """With every list as one string, which the indentation leaves on its line."""
    return {
        "losses": {name: json.dumps(values) for name, values in curve.losses.items()},
        "ranks": curve.ranks,
        "rounding": curve.rounding,
    }
