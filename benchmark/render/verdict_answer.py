"""The verdict in a sentence or two: of the plan, and of what is asked beside it."""

from collections.abc import Sequence

from benchmark.analyse.analysis_plan import AnalysisPlan
from benchmark.analyse.effects import NOT_REACHED
from benchmark.analyse.judged import WITHOUT_VERDICT, Judged, pair_verdict
from benchmark.analyse.rules import RULES
from benchmark.render.document import with_range
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.verdict_texts import M1
from benchmark.settings.registry import Profile

Further = Sequence[tuple[Profile, Judged]]
"""Profiles that ask something beside the plan, and what it comes to there."""


def primary_dataset(plan: AnalysisPlan) -> str:
    """The one that decides."""
    return next(name for name, role in plan.datasets.items() if role == "primary")


def answer(judged: Judged, dataset: str, plan: AnalysisPlan) -> str:
    """The verdict on a dataset in two sentences: P1 with P2, and M1."""
    best = [one for one in judged.best if one.dataset == dataset]
    if not best:
        return NOT_REACHED
    m1 = next(
        (
            one
            for one in judged.contrasts
            if one.dataset == dataset and one.contrast.claim == "primary"
        ),
        None,
    )
    not_reached = (
        f"Whether {plan.best_row.subject}'s machinery beats plain late fusion (M1) is not reached."
    )
    return f"{pair_verdict(best)} {M1.get(m1.word, not_reached) if m1 is not None else not_reached}"


def beside(profile: Profile, judged: Judged, dataset: str) -> str:
    """What a profile that asks something beside the plan has of the claims about the best row, in a
    sentence; "" before the six seeds of two rows are there."""
    shown = [
        (one, one.margin)
        for one in judged.best
        if one.dataset == dataset
        and one.margin is not None
        and min(one.margin.n_seeds) >= RULES.minimum_seeds
    ]
    if not shown:
        return ""
    subject, others = shown[0][0].subject, shown[0][0].others
    later = "Exploratory: asked after the answer was known."
    if all(one.word not in WITHOUT_VERDICT for one, _ in shown):
        return f"With {profile.title}: {pair_verdict([one for one, _ in shown])} {later}"
    margins = " and ".join(
        f"{with_range(*margin.relative)} against {one.strongest} ({one.claim}, "
        f"{HEADINGS[one.protocol]})"
        for one, margin in shown
    )
    rows = others[0] if len(others) == 1 else f"{len(others)} other rows"
    return (
        f"With {profile.title}, which {subject} and {rows} have been run with so far: {subject} "
        f"{margins}. {later}"
    )
