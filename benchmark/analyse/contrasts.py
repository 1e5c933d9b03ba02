"""The analysis plan carried out on stored runs: its contrasts, and its claims about the best row.

An arm is a row in a variant, "FindRec permuted-features". Every contrast is a sum of log means of
NDCG@10 over users and seeds, with the interval of the crossed bootstrap
(`benchmark/analyse/bootstrap.py`); beside it stands the same sum of mean log ranks, a measure that
no cut-off limits, which decides nothing. For a user it is the expectation of log(rank) over ties,

    (1 / (e + 1)) sum over r = a + 1 .. a + e + 1 of log r  =  log((a + e + 1)! / a!) / (e + 1)

with a items above the target and e equal to it, averaged over the user's targets; exp of a
difference of two means is the ratio of geometric mean ranks, and lower is better.

Primary claims are corrected by Holm over all of them (P1, P2, M1), one that was not tested counting
as p = 1; secondary contrasts by Benjamini and Hochberg, one family a protocol over all datasets.

The claims about the best row are judged of the subject as it is by default, and that decides. Other
readings of the same method can be judged by the same rule beside it: of each claim on each dataset
they are a family, corrected by Holm, in which one that was not tested counts as p = 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaln

from benchmark.analyse.above_all import all_above
from benchmark.analyse.analysis_plan import AnalysisPlan, Contrast
from benchmark.analyse.bootstrap import Contrast as Difference
from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.columns import user_scores
from benchmark.analyse.effects import (
    DISCOVERY_RATE,
    Effect,
    Word,
    corrected,
    discoveries,
    effect_of,
    without_significance,
    word_of,
)
from benchmark.analyse.judged import WITHOUT_VERDICT, Judged, JudgedBest, JudgedContrast
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray, holm
from benchmark.analyse.verdict import best_on_validation
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import Convergence

LOG_RANK = "mean log rank"


@dataclass(frozen=True)
class Arm:
    """The finished runs of one row in one variant on one dataset."""

    runs: tuple[RunResult, ...]
    asked: int
    """How many seeds were asked for."""

    @property
    def complete(self) -> bool:
        return 0 < self.asked == len(self.runs)

    @property
    def name(self) -> str:
        """As its draws of seeds are named in every table."""
        return str(self.runs[0].record.spec.key)


def mean_log_rank(ranks: Ranks, *, masked: bool) -> FloatArray:
    """[U]: expectation of log(rank) over ties, the mean over a user's targets."""
    above, equal = (
        (ranks.above_masked, ranks.equal_masked) if masked else (ranks.above, ranks.equal)
    )
    values = (gammaln(above + equal + 2.0) - gammaln(above + 1.0)) / (equal + 1.0)
    if ranks.user is None:
        return np.asarray(values)
    first = np.flatnonzero(np.diff(ranks.user, prepend=-1))
    return np.asarray(np.add.reduceat(values, first) / np.diff(first, append=len(values)))


def arm_scores(arms: Mapping[str, Arm], rules: Rules = RULES) -> CrossedBootstrap:
    """NDCG@10 and mean log rank of every arm that has runs, under both protocols.

    Raises InputError where arms were ranked on different users.
    """
    values: dict[Score, FloatArray] = {}
    for arm in arms.values():
        if not arm.runs:
            continue
        tests = [run.test for run in arm.runs if run.test is not None]
        for protocol in PROTOCOLS:
            ndcg = user_scores(arm.runs, rules.metric, protocol)
            log_rank = [mean_log_rank(test, masked=protocol == "left out") for test in tests]
            values[Score(arm.name, rules.metric, protocol)] = ndcg
            values[Score(arm.name, LOG_RANK, protocol)] = np.stack(log_rank, axis=1)
    try:
        return CrossedBootstrap(values, rules)
    except ValueError as error:
        raise InputError(f"runs of {', '.join(arms)} cannot be compared: {error}") from error


def judge_plan(
    plan: AnalysisPlan,
    arms: Mapping[str, Mapping[str, Arm]],
    *,
    rows: Sequence[str] = (),
    readings: Sequence[str] = (),
    untestable: Mapping[str, Mapping[str, str]] | None = None,
    absent: Mapping[str, Mapping[str, str]] | None = None,
    rules: Rules = RULES,
) -> Judged:
    """Every claim and contrast of the plan on the datasets of `arms`.

    arms: dataset -> name of an arm -> its runs; an arm that is not there counts as one without
    runs. rows: the rows that the subject of the plan's claims about the best row is compared with;
    none leaves these claims out. readings: arms that these claims are judged of too, on datasets
    where one of them has runs. untestable: dataset -> arm -> why a contrast with it says nothing
    there. absent: dataset -> arm -> why it has no runs, where that is known. Raises InputError
    where arms of one dataset were ranked on different users.
    """
    best: list[JudgedBest] = []
    others: list[JudgedBest] = []
    contrasts: list[JudgedContrast] = []
    for dataset, own in arms.items():
        scores = arm_scores(own, rules)
        if rows:
            best += [
                _best(plan.best_row.subject, claim, dataset, protocol, rows, own, scores)
                for claim, protocol in plan.best_row.claims.items()
            ]
        why = (absent or {}).get(dataset, {})
        if rows and any(name in own and own[name].runs for name in readings):
            for claim, protocol in plan.best_row.claims.items():
                family = [_best(r, claim, dataset, protocol, rows, own, scores) for r in readings]
                others += _as_a_family([_explained(one, why) for one in family], rules)
        barred = (untestable or {}).get(dataset, {})
        contrasts += [
            _contrast(contrast, dataset, protocol, own, barred, why, scores)
            for contrast in plan.contrasts
            for protocol in contrast.protocols
        ]
    return replace(_after_correction(plan, best, contrasts, rules), readings=tuple(others))


def _explained(one: JudgedBest, absent: Mapping[str, str]) -> JudgedBest:
    missing = one.result is None and one.subject in absent
    return replace(one, note=absent[one.subject]) if missing else one


def _as_a_family(family: Sequence[JudgedBest], rules: Rules) -> list[JudgedBest]:
    """One claim of several readings, after Holm's correction over them."""
    values = [_p(one) for one in family]
    adjusted = holm([1.0 if np.isnan(value) else value for value in values])
    by_id = {id(one): float(p) for one, p in zip(family, adjusted, strict=True)}
    return [_corrected_best(one, by_id, rules, "the readings") for one in family]


def _contrast(
    contrast: Contrast,
    dataset: str,
    protocol: History,
    arms: Mapping[str, Arm],
    untestable: Mapping[str, str],
    absent: Mapping[str, str],
    scores: CrossedBootstrap,
) -> JudgedContrast:
    names = (*contrast.plus, *contrast.minus)
    reason = next((untestable[name] for name in names if name in untestable), "")
    if reason:
        return JudgedContrast(
            contrast, dataset, protocol, None, None, "not testable here", note=reason
        )
    lacking = [n for n in names if n not in arms or not arms[n].complete]
    without = [name for name in names if name not in arms or not arms[name].runs]
    if without:
        known = next((absent[name] for name in without if name in absent), "")
        note = known or f"no runs of {', '.join(without)}"
        return JudgedContrast(contrast, dataset, protocol, None, None, "not reached", note=note)
    rules = scores.rules
    signs = dict.fromkeys(contrast.plus, 1) | dict.fromkeys(contrast.minus, -1)

    def measured(metric: str) -> Effect:
        own = {Score(arms[name].name, metric, protocol): sign for name, sign in signs.items()}
        return effect_of(scores.contrast(own, log=metric != LOG_RANK), scores.n_users, scores.rules)

    effect = measured(rules.metric)
    word, note = word_of(effect, rules), effect.note
    if lacking:
        word, note = "not reached", f"seeds are missing of {', '.join(lacking)}"
    elif word == "not reached":
        note = f"no verdict on {min(effect.n_seeds)} seeds, it needs {rules.minimum_seeds}"
    return JudgedContrast(
        contrast,
        dataset,
        protocol,
        effect,
        measured(LOG_RANK),
        word,
        note=note,
        gaining=_of_convergence("gaining", names, arms),
        without_budget=_of_convergence("not established", names, arms),
    )


def _of_convergence(
    known: Convergence, names: Sequence[str], arms: Mapping[str, Arm]
) -> tuple[str, ...]:
    """Those of the arms, all of which have runs, of whose budgets this is known."""
    return tuple(name for name in names if arms[name].runs[0].record.spec.convergence == known)


def _best(
    subject: str,
    claim: str,
    dataset: str,
    protocol: History,
    rows: Sequence[str],
    arms: Mapping[str, Arm],
    scores: CrossedBootstrap,
) -> JudgedBest:
    rules = scores.rules
    # a row with a part of its seeds is not compared: what it comes to is not known yet
    there = {name: arms[name] for name in rows if name in arms and arms[name].complete}
    lacking = [name for name in (subject, *rows) if name not in arms or not arms[name].complete]
    settled_by: tuple[str, ...] = ()
    if subject not in arms or not arms[subject].runs or not there:
        note = f"no runs of {subject if there else 'any row to compare it with'}"
        return JudgedBest(
            claim, dataset, protocol, subject, (), None, (), None, "not reached", note=note
        )

    def signs(other: str, metric: str) -> dict[Score, int]:
        return {
            Score(arms[subject].name, metric, protocol): 1,
            Score(arms[other].name, metric, protocol): -1,
        }

    result = all_above(scores, [signs(other, rules.metric) for other in there])
    log_ranks = tuple(
        effect_of(scores.contrast(signs(other, LOG_RANK), log=False), scores.n_users, rules)
        for other in there
    )
    strongest = best_on_validation({n: arm.runs for n, arm in there.items()}, protocol, rules)
    word = result.word(rules.smallest_effect, rules.minimum_seeds)
    note = ""
    if lacking:
        if word != "not reached" and subject not in lacking:
            found = {other: scores.contrast(signs(other, rules.metric)) for other in there}
            settled_by = _settled_by(found, len(rows), rules)
        word, note = "not reached", f"runs are missing of {', '.join(lacking)}"
    elif word == "not reached":
        fewest = min(min(e.n_seeds) for e in result.effects)
        note = f"no verdict on {fewest} seeds, it needs {rules.minimum_seeds}"
    elif word == "refuted":
        by = [tuple(there)[at] for at in result.refuted_by(rules.smallest_effect)]
        note = f"a gain of 1 % is excluded over {', '.join(by)}"
        if result.refuted_by(0.0) and _of_convergence("gaining", [subject], arms):
            note += f"; {subject}, which loses, was still gaining at its budget"
    elif word == "undecided":
        note = next((effect.note for effect in result.effects if effect.note), "")
    return JudgedBest(
        claim,
        dataset,
        protocol,
        subject,
        tuple(there),
        result,
        log_ranks,
        strongest,
        word,
        note=note,
        gaining=_of_convergence("gaining", (subject, *there), arms),
        without_budget=_of_convergence("not established", (subject, *there), arms),
        settled_by=settled_by,
    )


def _settled_by(found: Mapping[str, Difference], rows: int, rules: Rules) -> tuple[str, ...]:
    """The rows over which no lead is shown and the smallest effect of interest is excluded by
    bounds that hold for all `rows` at once, those without runs too: Bonferroni's are above max-T's,
    whatever those bring, so that the claim is refuted once they are there."""
    smallest = np.log1p(rules.smallest_effect)
    return tuple(
        name
        for name, own in found.items()
        if own.interval(rules.alpha)[0] <= 0 and own.interval(rules.alpha / rows)[1] < smallest
    )


def _after_correction(
    plan: AnalysisPlan,
    best: Sequence[JudgedBest],
    contrasts: Sequence[JudgedContrast],
    rules: Rules,
) -> Judged:
    primary = {dataset for dataset, role in plan.datasets.items() if role == "primary"}
    claims = len(plan.best_row.claims) + sum(c.claim == "primary" for c in plan.contrasts)
    judged: list[JudgedBest | JudgedContrast] = [*best]
    judged += [one for one in contrasts if one.contrast.claim == "primary"]
    p = {id(one): _p(one) for one in judged if one.dataset in primary}
    # a claim that was not tested counts as one with p = 1, so that its runs can only help others
    values = [1.0 if np.isnan(value) else value for value in p.values()]
    adjusted: dict[int, float] = dict(
        zip(p, holm([*values, *[1.0] * (claims - len(values))]), strict=False)
    )
    families: dict[History, list[JudgedContrast]] = {}
    for contrast in contrasts:
        if contrast.contrast.claim == "secondary":
            families.setdefault(contrast.protocol, []).append(contrast)
    for family in families.values():
        adjusted |= dict(zip(map(id, family), discoveries(list(map(_p, family))), strict=True))
    return Judged(
        tuple(_corrected_best(one, adjusted, rules, "the primary claims") for one in best),
        tuple(_corrected_contrast(one, adjusted, rules) for one in contrasts),
        plan.datasets,
    )


def _p(one: JudgedBest | JudgedContrast) -> float:
    """Of what has a verdict; NaN of what has none."""
    if one.word in WITHOUT_VERDICT:
        return float("nan")
    if isinstance(one, JudgedBest):
        return one.result.p if one.result is not None else float("nan")
    return one.effect.p if one.effect is not None else float("nan")


def _corrected_best(
    one: JudgedBest, adjusted: Mapping[int, float], rules: Rules, family: str
) -> JudgedBest:
    # p is that of being above every other row: beside a refuted claim, which bounds refute, its 1
    # would read as that of the refutation
    if id(one) not in adjusted or np.isnan(_p(one)) or one.word == "refuted":
        return one
    left: Word = "refuted" if one.lost_by(rules.smallest_effect) else "undecided"
    word = corrected(one.word, adjusted[id(one)], rules.alpha, otherwise=left)
    note = one.note if word == one.word else _WEAKER.format(family)
    return replace(one, word=word, adjusted=float(adjusted[id(one)]), note=note)


def _corrected_contrast(
    one: JudgedContrast, adjusted: Mapping[int, float], rules: Rules
) -> JudgedContrast:
    if id(one) not in adjusted or np.isnan(_p(one)):
        return one
    secondary = one.contrast.claim == "secondary"
    assert one.effect is not None  # it has a p-value
    level = DISCOVERY_RATE if secondary else rules.alpha
    left = without_significance(one.effect, rules)
    word = corrected(one.word, adjusted[id(one)], level, otherwise=left)
    family = "its family" if secondary else "the primary claims"
    note = one.note if word == one.word else _WEAKER.format(family)
    return replace(one, word=word, adjusted=float(adjusted[id(one)]), note=note)


_WEAKER = "its interval excludes 0, and it does not stand after the correction for {}"
