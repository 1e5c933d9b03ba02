"""What the items of the users' own history cost each row, and what a constant would save.

Every row has three scores of one metric: the history kept, kept with its scores lowered by the
constant that is best for the row on validation (`benchmark/analyse/suppression.py`), and left out.
All of them are contrasts of the same resamples of users and seeds as the analysis plan's, so that a
difference with the history kept or left out is the one that the plan's claims rest on. The
intervals take each row's constant as given: that another sample of validation targets could have
chosen another one is not in them. Beside it stands the score at every constant that was counted
(`benchmark/analyse/dose.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmark.analyse.bootstrap import CrossedBootstrap, Interval, Score
from benchmark.analyse.contrasts import Arm, arm_scores
from benchmark.analyse.decomposition import LogRatio, retention
from benchmark.analyse.dose import Response, lowered_scores, respond
from benchmark.analyse.effects import Effect, effect_of
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.suppression import are_lowered, suppress

State = Literal["kept", "with constant", "left out"]

STATES: tuple[State, ...] = ("kept", "with constant", "left out")


@dataclass(frozen=True)
class RetainedRow:
    """One row with finished runs."""

    name: str
    scores: Mapping[State, Interval]
    """The metric's mean with its interval."""
    n_seeds: int
    penalty: float
    """The constant, in standard deviations of a query's scores; infinite where leaving the history
    out is best on validation, and where lowered scores are not stored."""
    retention: LogRatio
    """log of the score with the history kept over the score with it left out."""
    response: Response | None = None
    """The score at every constant; None where lowered scores are not stored."""
    lead: Mapping[State, Effect] = field(default_factory=dict)
    """The subject's lead over this row, a log of a ratio; nothing where there is none to compare.
    In "with constant" either row has its own constant."""


def retained_rows(arms: Mapping[str, Arm], subject: str, rules: Rules = RULES) -> list[RetainedRow]:
    """Those of the arms of one dataset that have finished runs, in their order.

    arms: name -> its runs. subject: the name of the arm whose lead over the others is asked for.
    Raises InputError where arms were ranked on different users.
    """
    arms = {name: arm for name, arm in arms.items() if arm.runs}
    values = {
        score: found
        for score, found in arm_scores(arms, rules).values.items()
        if score.metric == rules.metric
    }
    penalties: dict[str, float] = {}
    responses: dict[str, Response] = {}
    for name, arm in arms.items():
        suppressed = suppress(arm.runs, rules.metric)
        penalties[name] = suppressed.penalty
        if all(are_lowered(run.test) for run in arm.runs):  # some references lack them
            lowered = lowered_scores(arm.runs, rules.metric)
            responses[name] = respond(arm.name, lowered, rules.metric, rules)
        values[_score(arm, "with constant", rules)] = suppressed.values
    scores = CrossedBootstrap(values, rules)
    return [
        RetainedRow(
            name,
            {s: scores.interval(_score(arm, s, rules)) for s in STATES},
            len(arm.runs),
            penalties[name],
            retention(scores, arm.name, rules.metric),
            responses.get(name),
            _lead(scores, arms[subject], arm) if subject in arms and name != subject else {},
        )
        for name, arm in arms.items()
    ]


def _lead(scores: CrossedBootstrap, subject: Arm, other: Arm) -> dict[State, Effect]:
    found: dict[State, Effect] = {}
    for state in STATES:
        own, its = (_score(arm, state, scores.rules) for arm in (subject, other))
        found[state] = effect_of(scores.contrast({own: 1, its: -1}), scores.n_users, scores.rules)
    return found


def _score(arm: Arm, state: State, rules: Rules) -> Score:
    return Score(arm.name, rules.metric, state)
