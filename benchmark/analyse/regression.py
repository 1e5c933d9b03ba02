"""Regression check: are fresh runs still what the committed references were?

Users are fixed here, so seeds are the only chance. Unchanged code makes the fresh seeds of a spec
and its reference seeds exchangeable: each choice of n of the m + n means over users is as likely to
be the fresh ones. So the sum of the fresh seeds' ranks among all (Wilcoxon's rank sum, ties by
their mean rank) has an exact distribution that depends on nothing else. That holds for seeds of any
distribution, also where some get stuck at a tenth of the quality of the rest, where a rule on
means and spreads raises false alarms (docs/regression.md).

A fault often moves all specs a little. All specs together are therefore tested too: a seed's score
is the sum of its ranks over the specs, and the scores of the fresh seeds are tested in the same
way. Summing within a seed keeps this exact where the specs of one seed depend on each other, as
those that see the same batches do.

Half of alpha is spent on the joint test, half on the single ones (Bonferroni), each on both sides:
a rise fails like a drop, since test items that leak into a history raise every metric.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.runs.runset import RunSet

ALPHA = 0.01
"""Largest chance that a check of unchanged code fails, over all its tests."""

JOINT = "all specs together"

Outcome = Literal["passed", "failed", "risen", "unjudged", "missing"]

Means = Mapping[int, float]
"""Seed -> mean of the metric over users; NaN for a seed that failed."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """The verdict on one spec, on all together, or on one golden curve."""

    name: str
    outcome: Outcome
    message: str
    fresh: float = np.nan
    """Mean over the fresh seeds."""
    reference: float = np.nan
    p: float = np.nan
    """Chance of fresh seeds as far down, or as far up, as these: the smaller of the two."""

    @property
    def ok(self) -> bool:
        return self.outcome == "passed"


def check_means(
    fresh: Mapping[str, Means], reference: Mapping[str, Means], *, alpha: float = ALPHA
) -> list[Check]:
    """A verdict on every spec that has references and, of several specs, on all together, last.

    "failed" and "risen": lower or higher than chance allows. "missing": no fresh value, or a seed
    that failed among them. "unjudged": fewer than two references, a failed one among them, or so
    few seeds that not even the most extreme ranks could fail. "passed" alone is `ok`. Raises
    ValueError if there is no reference at all.
    """
    if not reference:
        raise ValueError("there is nothing to check against: no spec has a reference")
    share = alpha if len(reference) == 1 else alpha / 2 / len(reference)
    checks = [_check(name, fresh.get(name, {}), means, share) for name, means in reference.items()]
    if len(reference) > 1:
        whole = [c.name for c in checks if c.outcome not in ("missing", "unjudged")]
        checks.append(_joint([(fresh[n], reference[n]) for n in whole], len(checks), alpha / 2))
    return checks


def check_runs(
    fresh: RunSet,
    reference: RunSet,
    *,
    profile: str,
    metric: str = RULES.metric,
    alpha: float = ALPHA,
) -> list[Check]:
    """`check_means` on every spec of a profile that the references hold, on the test split.

    Raises InputError if the references hold no finished run of the profile.
    """
    references = _means(reference, profile, metric)
    if not references:
        raise InputError(f"{reference.root} holds no finished run of the profile {profile!r}")
    return check_means(_means(fresh, profile, metric), references, alpha=alpha)


def rank_sum(fresh: npt.ArrayLike, reference: npt.ArrayLike) -> tuple[float, float]:
    """Exact chances that n of the m + n values, drawn without replacement, have a rank sum at most,
    and at least, that of the n fresh ones (Wilcoxon 1945; tied values share their mean rank)."""
    values = np.concatenate([np.asarray(fresh, float), np.asarray(reference, float)])
    return _tails(_doubled_ranks(values), np.size(fresh))


def write_junit(path: Path, checks: list[Check]) -> None:
    """JUnit XML: a test case for each verdict. A drop or a rise is a failure; what is missing or
    cannot be judged, an error."""
    suite = ET.Element(
        "testsuite",
        name="regression check",
        tests=str(len(checks)),
        failures=str(sum(check.outcome in ("failed", "risen") for check in checks)),
        errors=str(sum(check.outcome in ("missing", "unjudged") for check in checks)),
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname="regression", name=check.name)
        if check.ok:
            ET.SubElement(case, "system-out").text = check.message
        else:
            tag = "failure" if check.outcome in ("failed", "risen") else "error"
            ET.SubElement(case, tag, message=check.message, type=check.outcome)
    tree = ET.ElementTree(suite)
    ET.indent(tree)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tree.write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another path") from error


def _check(name: str, fresh: Means, reference: Means, alpha: float) -> Check:
    now, before = np.array(list(fresh.values())), np.array(list(reference.values()))
    mean, was = float(now.mean()) if len(now) else np.nan, float(before.mean())
    if np.isnan(mean):
        why = "a fresh run failed" if len(now) else "no fresh run"
        return Check(name, "missing", why, reference=was)
    if len(before) < 2 or np.isnan(was):
        why = "a reference run failed" if np.isnan(was) else "fewer than two reference seeds"
        return Check(name, "unjudged", why, mean, was)
    message = f"{mean:.6g} over {len(now)} seeds, was {was:.6g} over {len(before)}"
    if np.allclose(np.concatenate([now, before]), was, rtol=1e-9, atol=0):
        return Check(name, "passed", f"{mean:.6g}, as before", mean, was, 1.0)
    message += f" ({mean / was - 1:+.1%})" if was > 0 else ""
    return _judged(name, message, mean, was, rank_sum(now, before), len(now), len(before), alpha)


def _joint(specs: list[tuple[Means, Means]], wanted: int, alpha: float) -> Check:
    """All specs together, over the seeds that all of them have."""
    if len(specs) < wanted:
        why = f"{wanted - len(specs)} of {wanted} specs have no verdict of their own"
        return Check(JOINT, "unjudged", why)
    now = sorted(set.intersection(*(set(fresh) for fresh, _ in specs)))
    before = sorted(set.intersection(*(set(reference) for _, reference in specs)))
    if not now or not before:
        return Check(JOINT, "unjudged", "no seed is common to all specs")
    scores = np.sum(
        [
            _doubled_ranks(np.array([*(f[s] for s in now), *(r[s] for s in before)]))
            for f, r in specs
        ],
        axis=0,
    )
    middle = (len(now) + len(before) + 1) / 2
    mean, was = (
        float(part.mean()) / 2 / wanted for part in (scores[: len(now)], scores[len(now) :])
    )
    message = f"mean rank {mean:.1f} over {len(now)} seeds of {wanted} specs, expected {middle:.1f}"
    return _judged(
        JOINT, message, mean, was, _tails(scores, len(now)), len(now), len(before), alpha
    )


def _judged(
    name: str,
    message: str,
    mean: float,
    was: float,
    tails: tuple[float, float],
    fresh: int,
    reference: int,
    alpha: float,
) -> Check:
    """The verdict from the chances of ranks so low and so high, half of alpha for each."""
    low, high = tails
    limit = alpha / 2
    smallest = 1 / math.comb(fresh + reference, fresh)
    if smallest > limit:
        message += (
            f": so few seeds cannot tell, since the lowest ranks of all have chance {smallest:.2g} "
            f"and the limit is {limit:.2g}; take more (--seeds)"
        )
        return Check(name, "unjudged", message, mean, was)
    outcome: Outcome = "failed" if low <= limit else "risen" if high <= limit else "passed"
    message += f": p = {min(low, high):.2g}, limit {limit:.2g}"
    if outcome == "risen":
        message += "; a leak, or better code, of which new references have to be promoted"
    return Check(name, outcome, message, mean, was, min(low, high))


def _doubled_ranks(values: FloatArray) -> npt.NDArray[np.int64]:
    """Twice the rank of each value, a whole number also where ties share their mean rank."""
    return np.asarray(np.rint(2 * stats.rankdata(values)), dtype=np.int64)


def _tails(scores: npt.NDArray[np.int64], n: int) -> tuple[float, float]:
    """Chances that n of the scores, drawn without replacement, sum to at most, and to at least,
    the sum of the first n."""
    chances = _chances_of_sums(tuple(sorted(scores.tolist())), n)
    own = int(scores[:n].sum())
    return float(chances[: own + 1].sum()), float(chances[own:].sum())


@lru_cache(maxsize=64)
def _chances_of_sums(scores: tuple[int, ...], n: int) -> FloatArray:
    """Chance of every sum of n scores, from 0 on. Counted: ways[k, s] choices of k have sum s."""
    total = sum(scores)
    ways = np.zeros((n + 1, total + 1))
    ways[0, 0] = 1
    for score in scores:
        ways[1:, score:] += ways[:-1, : total + 1 - score].copy()
    return ways[n] / ways[n].sum()


def _means(store: RunSet, profile: str, metric: str) -> dict[str, dict[int, float]]:
    """Spec, trials left out -> mean over users of every stored seed; NaN for a failed one."""
    means: dict[str, dict[int, float]] = {}
    for stored in store.scan():
        if stored.record is None:
            raise InputError(f"{stored.problem}; the check needs every run whole")
        spec, seed = stored.record.spec, stored.record.seed
        if spec.profile == profile and not spec.protocol.trial:
            ranks = store.read(spec.key, seed).test
            mean = np.nan if ranks is None else float(per_user(ranks, metric).mean())
            means.setdefault(str(spec.key), {})[seed] = mean
    return means
