"""The statistics of a claim: the arms that it compares, their differences at once, and how a
difference changes with the length of the users' sequences.

Users of different buckets are different samples: a difference of contrasts between two buckets adds
their variances. The seeds are the same, and what they share cancels, so that its interval is, if
anything, too wide.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from benchmark.analyse.above_all import AllAbove
from benchmark.analyse.bootstrap import Contrast, degrees_of_freedom
from benchmark.analyse.claim_data import LONG_TAIL, Finding, Here
from benchmark.analyse.effects import Effect, effect_of, word_of
from benchmark.analyse.rules import RULES, Rules
from benchmark.evaluate.metrics import History

T = TypeVar("T")


def arms_of_rows(here: Here, rows: Sequence[tuple[str, str]]) -> tuple[list[str], Finding | None]:
    """The arms of the paper's rows, or why they cannot be compared. rows: (display item, row)."""
    reason = next((here.barred[row] for row in rows if row in here.barred), "")
    if reason:
        return [], Finding("not testable here", reason)
    unknown = [f"{row} of {item}" for item, row in rows if (item, row) not in here.places]
    if unknown:
        return [], Finding("not reached", f"no runs of {', '.join(unknown)}")
    names = [here.places[row] for row in rows]
    return names, lacking_runs(here, names)


def lacking_runs(here: Here, names: Sequence[str]) -> Finding | None:
    """Why the arms cannot be compared: those without all their seeds. None where they can be."""
    lacking = list(dict.fromkeys(here.lacking(names)))
    if not lacking:
        return None
    shown = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if lacking[4:] else "")
    return Finding("not reached", f"runs are missing of {shown}", arms=tuple(names))


def joined(parts: Sequence[AllAbove]) -> AllAbove:
    """Of several populations, whose bounds hold at a level shared by all."""
    return AllAbove(
        tuple(effect for part in parts for effect in part.effects),
        tuple(upper for part in parts for upper in part.upper),
        min(1.0, len(parts) * float(np.nanmin([part.p_below for part in parts]))),
    )


def all_of(
    result: AllAbove,
    names: Sequence[str],
    arms: Sequence[str],
    here: Here,
    metric: str = RULES.metric,
) -> Finding:
    """That all of several differences are positive; the finding shows the one that decides. names:
    of the differences. arms: what they rest on."""
    rules = here.rules
    word = result.word_of_order(rules.smallest_effect, rules.minimum_seeds)
    at = result.deciding(word)
    which = "the weakest" if at == result.weakest else "the one that decides"
    said = f"{len(names)} differences, {which}: {names[at]}" if names[1:] else names[0]
    if word == "not reached":
        said = _few(result.effects[at], rules)
    return Finding(
        word, said, metric, result.p_either, result.effects[at], tuple(dict.fromkeys(arms))
    )


def of_effect(effect: Effect, said: str, arms: Sequence[str], here: Here, metric: str) -> Finding:
    """That one difference is positive."""
    word = word_of(effect, here.rules)
    if word == "not reached":
        said = _few(effect, here.rules)
    return Finding(word, said, metric, effect.p, effect, tuple(arms))


def _few(effect: Effect, rules: Rules) -> str:
    return f"no verdict on {min(effect.n_seeds)} seeds, it needs {rules.minimum_seeds}"


def share(value: float) -> str:
    """A relative difference in per cent; "unknown" for NaN, as where a score is 0 or there is one
    seed."""
    return "unknown" if np.isnan(value) else f"{100 * value:+.1f} %"


def too_few_users(here: Here, groups: Sequence[str], arms: Sequence[str]) -> Finding | None:
    """What is said of a claim about groups of users, as `Here.scores` names them, one of which
    nobody, or one user alone, belongs to; None where each has two at least."""
    for group in groups:
        if (users := here.scores(group).n_users) < 2:
            who = "users" if group in ("", LONG_TAIL) else f"users of length {group}"
            said = f"{who}: {users}, and nothing can be inferred from fewer than two"
            return Finding("not testable here", said, arms=tuple(arms))
    return None


def gap(
    row: str,
    baseline: str,
    metric: str,
    groups: Sequence[str],
    direction: str,
    here: Here,
    protocol: History,
) -> Finding:
    """That the relative difference of two rows changes from bucket to bucket in one direction,
    "narrows" or "widens". groups: labels of the buckets, the shortest sequences first."""
    arms, problem = arms_of_rows(here, [("table 3", row), ("table 3", baseline)])
    if problem is not None:
        return problem
    if (few := too_few_users(here, groups, arms)) is not None:
        return few
    signs = here.signs([arms[0]], [arms[1]], metric, protocol)
    scores = [here.scores(group) for group in groups]
    found = [one.contrast(signs) for one in scores]
    if direction == "widens":
        found = found[::-1]
    users = [one.n_users for one in _turned(scores, direction)]
    steps = [_less(a, b) for a, b in pairwise(found)]
    effects = tuple(
        effect_of(step, sum(pair), here.rules)
        for step, pair in zip(steps, pairwise(users), strict=True)
    )
    shared = here.rules.alpha / len(steps)
    upper = tuple(float("nan") if s.note else s.interval(shared)[1] for s in steps)
    below = [e.p for e in effects if e.value < 0]
    p_below = min(len(steps) * min(below), 1.0) if below else 1.0
    names = [f"gap at {a} over gap at {b}" for a, b in pairwise(_turned(groups, direction))]
    sizes = ", ".join(
        f"{share(float(np.expm1(c.value)))} at {group}"
        for group, c in zip(_turned(groups, direction), found, strict=True)
    )
    finding = all_of(AllAbove(effects, upper, p_below), names, arms, here, metric)
    return Finding(
        finding.word,
        f"{row} over {baseline}: {sizes}; {finding.said}",
        metric,
        finding.p,
        finding.effect,
        finding.arms,
    )


def _less(a: Contrast, b: Contrast) -> Contrast:
    """The difference of two contrasts of different users."""
    variances = np.array([a.error**2, b.error**2])
    note = a.note or b.note
    df = float("nan") if note else degrees_of_freedom(variances, np.array([a.df, b.df]))
    return Contrast(
        a.value - b.value, float(np.sqrt(variances.sum())), df, (*a.n_seeds, *b.n_seeds), note
    )


def _turned(groups: Sequence[T], direction: str) -> Sequence[T]:
    return groups[::-1] if direction == "widens" else groups
