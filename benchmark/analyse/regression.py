"""Regression check: do fresh runs still reach the committed references?

Users are fixed here, so seeds are the only chance. For a spec with reference means over users
r_1..r_m (one a seed, sd s) and fresh means f_1..f_n of the same code, Student's prediction interval
says how far the two means may lie apart:

    t = (mean(f) - mean(r)) / (s sqrt(1 / n + 1 / m)),   m - 1 degrees of freedom

The spread is taken from the references alone, since a few fresh seeds say little of it. A spec
fails when t is below the alpha quantile, alpha divided by the number of specs (Bonferroni), so that
sound code fails a whole check with probability alpha. A rise beyond the opposite quantile does not
fail; it is reported, since the references are then out of date.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmark.analyse.statistics import RULES
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.runs.runset import RunSet

ALPHA = 0.01
"""Chance that a check of sound code fails, over all its specs."""

Outcome = Literal["passed", "failed", "risen", "unjudged", "missing"]


@dataclass(frozen=True)
class Check:
    """One spec's verdict."""

    name: str
    outcome: Outcome
    message: str
    fresh: float = np.nan
    reference: float = np.nan
    p: float = np.nan
    """Chance of so low a fresh mean, one-sided."""

    @property
    def ok(self) -> bool:
        return self.outcome in ("passed", "risen")


def check_means(
    fresh: Mapping[str, npt.ArrayLike],
    reference: Mapping[str, npt.ArrayLike],
    *,
    alpha: float = ALPHA,
) -> list[Check]:
    """The rule on means over users, one a seed, of every spec that has a reference.

    "missing": no fresh value, or a NaN (a failed run) among them. "unjudged": fewer than two
    reference seeds, a NaN among them, or references that do not vary and differ from the fresh
    mean. Neither counts as passed. Raises ValueError if there is no reference at all.
    """
    if not reference:
        raise ValueError("there is nothing to check against: no spec has a reference")
    share = alpha / len(reference)
    return [
        _check(name, np.asarray(fresh.get(name, ()), float), np.asarray(values, float), share)
        for name, values in reference.items()
    ]


def check_runs(
    fresh: RunSet,
    reference: RunSet,
    *,
    profile: str,
    metric: str = RULES.metric,
    alpha: float = ALPHA,
) -> list[Check]:
    """The rule on every spec of a profile that the references hold, on the test split.

    Raises InputError if the references hold no finished run of the profile.
    """
    references = _means(reference, profile, metric)
    if not references:
        raise InputError(f"{reference.root} holds no finished run of the profile {profile!r}")
    return check_means(_means(fresh, profile, metric), references, alpha=alpha)


def detectable_drop(
    seeds: int, fresh: int, *, specs: int = 1, power: float = 0.9, alpha: float = ALPHA
) -> float:
    """The drop, in sds over seeds, that a check of so many specs finds with the given power: from
    the noncentral t distribution."""
    df = seeds - 1
    cut = stats.t.ppf(1 - alpha / specs, df)
    scale = np.sqrt(1 / fresh + 1 / seeds)
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        reached = stats.nct.sf(cut, df, middle / scale) >= power
        low, high = (low, middle) if reached else (middle, high)
    return high


def write_junit(path: Path, checks: list[Check]) -> None:
    """JUnit XML: a test case for each spec. A drop is a failure, a missing or unjudged spec an
    error, a rise a pass with its message in system-out."""
    suite = ET.Element(
        "testsuite",
        name="regression check",
        tests=str(len(checks)),
        failures=str(sum(check.outcome == "failed" for check in checks)),
        errors=str(sum(check.outcome in ("missing", "unjudged") for check in checks)),
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname="regression", name=check.name)
        if check.outcome == "failed":
            ET.SubElement(case, "failure", message=check.message)
        elif not check.ok:
            ET.SubElement(case, "error", message=check.message, type=check.outcome)
        else:
            ET.SubElement(case, "system-out").text = check.message
    tree = ET.ElementTree(suite)
    ET.indent(tree)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tree.write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another path") from error


def _check(
    name: str, fresh: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], alpha: float
) -> Check:
    if not len(fresh) or np.isnan(fresh).any():
        why = "a fresh run failed" if len(fresh) else "no fresh run"
        return Check(name, "missing", why, reference=float(reference.mean()))
    now, before = float(fresh.mean()), float(reference.mean())
    if len(reference) < 2 or np.isnan(before):
        why = "a reference run failed" if np.isnan(before) else "fewer than two reference seeds"
        return Check(name, "unjudged", why, now, before)
    sd = float(reference.std(ddof=1))
    if sd <= 1e-12 * abs(before):
        if np.isclose(now, before, rtol=1e-9, atol=0):
            return Check(name, "passed", f"{now:.6g}, as before", now, before, 1.0)
        message = f"{now:.6g}, was {before:.6g}; the references do not vary, so no rule applies"
        return Check(name, "unjudged", message, now, before)
    t = (now - before) / (sd * np.sqrt(1 / len(fresh) + 1 / len(reference)))
    p = float(stats.t.cdf(t, len(reference) - 1))
    outcome: Outcome = "failed" if p < alpha else "risen" if p > 1 - alpha else "passed"
    message = (
        f"{now:.6g} over {len(fresh)} seeds, was {before:.6g} over {len(reference)} "
        f"(sd {sd:.2g}): t = {t:.2f}, p = {p:.2g}, limit {alpha:.2g}"
    )
    if outcome == "risen":
        message += "; better than the references, which should be promoted anew"
    return Check(name, outcome, message, now, before, p)


def _means(runs: RunSet, profile: str, metric: str) -> dict[str, list[float]]:
    """RunSpec, trials left out -> mean over users of every stored seed; NaN for a failed one."""
    means: dict[str, list[float]] = {}
    for stored in runs.scan():
        if stored.result is None:
            raise InputError(f"{stored.problem}; the check needs every run whole")
        spec = stored.result.record.spec
        if spec.profile == profile and not spec.protocol.trial:
            ranks = stored.result.test
            mean = np.nan if ranks is None else float(per_user(ranks, metric).mean())
            means.setdefault(str(spec.key), []).append(mean)
    return means
