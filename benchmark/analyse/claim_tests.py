"""Sentences of the paper -> tests on stored runs, one answer a dataset and protocol.

What tests a claim follows from its kind: an order is every row above every other one, a best value
of a sweep is alone in the confidence set of the best, a change is one contrast, a shape is a chain
of contrasts, a gap is how a contrast differs between length buckets. A claim whose kind does not
say it has an entry `test` in claims.yaml. Orders are judged in NDCG@10; a change in the metric that
the sentence states.

How arms are found and compared is in `benchmark/analyse/claim_statistics.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product

import numpy as np

from benchmark.analyse.above_all import all_above
from benchmark.analyse.alignment import alignment_table
from benchmark.analyse.best import p_best
from benchmark.analyse.bootstrap import Score
from benchmark.analyse.claim_data import LONG_TAIL, TAIL, Finding, Here
from benchmark.analyse.claim_statistics import (
    all_of,
    arms_of_rows,
    gap,
    joined,
    lacking_runs,
    of_effect,
    share,
    too_few_users,
)
from benchmark.analyse.effects import Word, effect_of
from benchmark.analyse.rules import RULES
from benchmark.analyse.statistics import paired_t
from benchmark.evaluate.metrics import History
from benchmark.paper import (
    ChangeClaim,
    Claim,
    ClaimTest,
    GapClaim,
    MixedClaim,
    OrderClaim,
    ShapeClaim,
)

SWEPT = ("table 6", "table 7", "table 8", "table 9", "figure 3")
"""Display items of one hyperparameter, whose claims say which value is best."""
NOISE = {25: "noise=0.25", 50: "noise=0.5", 100: "permuted-features"}
"""Share of the items whose features are another item's, in per cent -> variant."""
ALIGNED = "image-text"
"""The pair that IICM brings together."""


def answer(claim: Claim, here: Here, protocol: History) -> Finding | None:
    """The answer of the runs; None where trained runs have no say in the claim."""
    if claim.test is not None:
        return _TESTS[claim.test.by](claim.test, here, protocol)
    match claim:
        case OrderClaim():
            return _order(claim, here, protocol)
        case ChangeClaim():
            return _change(claim, here, protocol)
        case ShapeClaim():
            return _shape(claim, here, protocol)
        case MixedClaim():
            return _mixed(claim, here, protocol)
        case GapClaim():
            return gap(
                claim.row,
                claim.baseline,
                claim.metric,
                claim.groups,
                claim.direction,
                here,
                protocol,
            )
        case _:
            return None


# ---------------------------------------------------------------- kinds


def _order(claim: OrderClaim, here: Here, protocol: History) -> Finding:
    rows = [(claim.display_item, row) for row in (*claim.above, *claim.below)]
    arms, problem = arms_of_rows(here, rows)
    if problem is not None:
        return problem
    above, below = arms[: len(claim.above)], arms[len(claim.above) :]
    if claim.display_item in SWEPT:
        return _best_value(above[0], below, here, protocol)
    if (few := too_few_users(here, claim.groups, arms)) is not None:
        return few
    parts = [
        all_above(
            here.scores(group),
            [here.signs([a], [b], RULES.metric, protocol) for a, b in product(above, below)],
            alpha=here.rules.alpha / len(claim.groups),
        )
        for group in claim.groups
    ]
    names = [
        f"{a} over {b}{f', length {group}' if group else ''}"
        for group in claim.groups
        for a, b in product(above, below)
    ]
    found = all_of(joined(parts), names, arms, here)
    if not any(claim.groups):
        return found
    # the paper's table of groups has some of the rows, and the sentence reads as if it had all
    asked = f"against {', '.join(below)}, the rows of {claim.display_item}"
    return replace(found, said=f"{found.said}; {asked}")


def _best_value(best: str, others: Sequence[str], here: Here, protocol: History) -> Finding:
    """By the confidence set of the best, all pairs at once."""
    scores, rules = here.scores(), here.rules
    names = [Score(here.arms[arm].name, RULES.metric, protocol) for arm in (best, *others)]
    found = p_best(scores, names)
    second = max(names[1:], key=scores.mean)
    effect = effect_of(scores.contrast({names[0]: 1, second: -1}), scores.n_users, rules)
    word: Word = "undecided"
    rest = max(found[name] for name in names[1:])
    if min(here.arms[arm].asked for arm in (best, *others)) < rules.minimum_seeds:
        word = "not reached"
    elif rest < rules.alpha:
        word = "supported"
    elif found[names[0]] < rules.alpha:
        word = "opposite"
    inside = [a for a, n in zip((best, *others), names, strict=True) if found[n] >= rules.alpha]
    said = f"confidence set of the best: {', '.join(inside) or 'none'}"
    return Finding(
        word, said, p=float(np.fmin(rest, found[names[0]])), effect=effect, arms=(best, *others)
    )


def _change(claim: ChangeClaim, here: Here, protocol: History) -> Finding | None:
    item = f"table {claim.start.table}"
    if (item, claim.start.row) not in here.places:
        return None  # of data, not of runs
    arms, problem = arms_of_rows(here, [(item, claim.start.row), (item, claim.end.row)])
    if problem is not None:
        return problem
    if (few := too_few_users(here, [claim.start.group], arms)) is not None:
        return few
    first, second = arms if claim.direction == "decrease" else arms[::-1]
    scores = here.scores(claim.start.group)
    signs = here.signs([first], [second], claim.start.metric, protocol)
    effect = effect_of(scores.contrast(signs), scores.n_users, here.rules)
    printed = float(claim.stated.rstrip("%")) / 100
    size = -np.log1p(-printed) if claim.direction == "decrease" else np.log1p(printed)
    within = effect.low <= size <= effect.high
    said = f"{first} over {second}"
    if not np.isnan(effect.low):
        said += f"; the stated {claim.stated} is {'inside' if within else 'outside'} the interval"
    return of_effect(effect, said, arms, here, claim.start.metric)


def _shape(claim: ShapeClaim, here: Here, protocol: History) -> Finding:
    """A chain of steps: rising throughout, or not (a turn)."""
    arms, problem = arms_of_rows(here, [(claim.display_item, row) for row in claim.rows])
    if problem is not None:
        return problem
    steps = [here.signs([b], [a], RULES.metric, protocol) for a, b in pairwise(arms)]
    names = [f"{b} over {a}" for a, b in pairwise(arms)]
    result = all_above(here.scores(), steps)
    rises = all_of(result, names, arms, here)
    if claim.shape == "rises":
        return rises
    lowest = int(np.argmin([effect.value for effect in result.effects]))
    turned = here.scores().contrast({name: -sign for name, sign in steps[lowest].items()})
    effect = effect_of(turned, here.scores().n_users, here.rules)
    words: dict[Word, Word] = {
        "supported": "opposite",
        "opposite": "supported",
        "smaller than 1 %": "undecided",
    }
    said = f"the step that falls most: {arms[lowest]} over {arms[lowest + 1]}"
    word = words.get(rises.word, rises.word)
    return Finding(word, said, p=rises.p, effect=effect, arms=tuple(arms))


def _mixed(claim: MixedClaim, here: Here, protocol: History) -> Finding:
    """Supported if one difference is above 0 and another below, each at the level shared by all;
    opposite if all are on one side."""
    places = [(claim.display_item, row) for pair in claim.pairs for row in pair]
    arms, problem = arms_of_rows(here, places)
    if problem is not None:
        return problem
    pairs = list(zip(arms[::2], arms[1::2], strict=True))
    scores = here.scores()
    effects = [
        effect_of(
            scores.contrast(here.signs([a], [b], RULES.metric, protocol)),
            scores.n_users,
            here.rules,
        )
        for a, b in pairs
    ]
    up = [e.p for e in effects if e.value > 0 and not np.isnan(e.p)]
    down = [e.p for e in effects if e.value < 0 and not np.isnan(e.p)]
    word: Word = "undecided"
    p = float("nan")
    if min(min(e.n_seeds) for e in effects) < here.rules.minimum_seeds:
        word = "not reached"
    elif up and down:
        p = min(len(effects) * max(min(up), min(down)), 1.0)
        word = "supported" if p < here.rules.alpha else "undecided"
    elif len(up or down) == len(effects):
        p = max(up or down)
        word = "opposite" if p < here.rules.alpha else "undecided"
    said = "; ".join(
        f"{a} over {b}: {share(effect.relative[0])}"
        for (a, b), effect in zip(pairs, effects, strict=True)
    )
    return Finding(word, said, p=p, arms=tuple(arms))


# ---------------------------------------------------------------- entries `test` of claims.yaml


def _gap_test(test: ClaimTest, here: Here, protocol: History) -> Finding:
    groups = [bucket.label for bucket in here.rules.buckets]
    return gap(test.row, test.against[0], RULES.metric, groups, test.direction, here, protocol)


def _noise(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """Who keeps more of its score when the features of some or all items are other items'? Judged
    at every share whose runs are there."""
    rows = (test.row, *test.against)
    shares = [
        share
        for share, variant in NOISE.items()
        if not here.lacking([f"{row} {variant}" for row in rows])
    ]
    arms = [*rows, *(f"{row} {NOISE[share]}" for share in shares for row in rows)]
    problem = lacking_runs(here, [*arms, *(f"{row} {NOISE[100]}" for row in rows)])
    if problem is not None:
        return problem
    own = test.row
    pairs = [(share, NOISE[share], other) for share in shares for other in test.against]
    signs = [
        here.signs([f"{own} {noisy}", other], [own, f"{other} {noisy}"], RULES.metric, protocol)
        for _, noisy, other in pairs
    ]
    names = [f"what {own} keeps over what {other} keeps at {share} %" for share, _, other in pairs]
    finding = all_of(all_above(here.scores(), signs), names, arms, here)
    missing = [f"{share} %" for share in NOISE if share not in shares]
    said = finding.said + (f"; not run: {', '.join(missing)}" if missing else "")
    return Finding(finding.word, said, p=finding.p, effect=finding.effect, arms=tuple(arms))


def _long_tail(test: ClaimTest, here: Here, protocol: History) -> Finding:
    arms = [test.row, *test.against]
    problem = lacking_runs(here, arms)
    if problem is not None:
        return problem
    if not here.frequency:
        return Finding(
            "not reached",
            "needs the dataset's bundle, which counts how often targets are trained on",
            arms=tuple(arms),
        )
    if not here.in_tail().any():
        return Finding("not reached", "no test target is in the long tail", arms=tuple(arms))
    if (few := too_few_users(here, [LONG_TAIL], arms)) is not None:
        return few
    signs = [here.signs([test.row], [o], RULES.metric, protocol) for o in test.against]
    names = [f"{test.row} over {other}" for other in test.against]
    finding = all_of(all_above(here.scores(LONG_TAIL), signs), names, arms, here)
    share = f"targets among the {TAIL:.0%} of items that are trained on least"
    return Finding(
        finding.word, f"{share}: {finding.said}", p=finding.p, effect=finding.effect,
        arms=tuple(arms),
    )  # fmt: skip


def _significance(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """By users and seeds; the paper's own rule, a paired t-test over seeds, is told beside it."""
    arms = [test.row, *test.against]
    problem = lacking_runs(here, arms)
    if problem is not None:
        return problem
    scores = here.scores()
    signs = [here.signs([test.row], [o], RULES.metric, protocol) for o in test.against]
    names = [f"{test.row} over {other}" for other in test.against]
    finding = all_of(all_above(scores, signs), names, arms, here)
    own, *others = (
        scores.over_seeds(Score(here.arms[arm].name, RULES.metric, protocol)) for arm in arms
    )
    won = [o for o in others if len(o) == len(own) and own.mean() > o.mean()]
    passed = sum(paired_t(own, other).p < 0.05 for other in won)
    said = f"{finding.said}; by the paper's own rule better than {passed} of {len(others)} rows"
    return Finding(finding.word, said, p=finding.p, effect=finding.effect, arms=tuple(arms))


def _gates(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """The last logged use of the experts; it describes."""
    problem = lacking_runs(here, [test.row])
    if problem is not None:
        return problem
    losses = [run.record.curves.losses for run in here.arms[test.row].runs]
    entropy = [own["gate_entropy"][-1] for own in losses if own.get("gate_entropy")]
    names = sorted({name for own in losses for name in own if name.startswith("expert_")})
    shares = [np.mean([own[name][-1] for own in losses if own.get(name)]) for name in names]
    if not shares:
        return Finding("not reached", "no curve of the gates is stored", arms=(test.row,))
    said = f"mean gates at the end: {', '.join(f'{share:.2f}' for share in sorted(shares)[::-1])}"
    if entropy:
        said += f"; entropy of the gates over log K: {np.mean(entropy):.2f} (1: all alike)"
    return Finding("described", said, metric="", arms=(test.row,))


def _alignment(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """E[K] and CKA of the stored states before and after training, lambda by lambda. It describes:
    each lambda has one seed, whose spread over positions says nothing of other seeds."""
    if not here.snapshots:
        return Finding("not reached", "run `alignment`, which measures it", metric="")
    found = alignment_table(here.snapshots)
    parts = []
    for (pair, measure), own in found.groupby(["pair", "measure"], sort=False):
        if measure == "MMD" or (measure == "E[K]" and pair != ALIGNED):
            continue  # nothing asks that the ID stream shares the others' coordinates
        values = own.pivot(index="weight", columns="when", values=["value", "chance"])
        sizes = [
            f"{line['value', 'before']:.2f} to {line['value', 'after']:.2f} at {weight:g}"
            for weight, line in values.iterrows()
        ]
        chance = f", chance {values['chance', 'after'].mean():.2f}" if measure == "E[K]" else ""
        parts.append(f"{str(pair).replace('-', ' and ')}, {measure}{chance}: {', '.join(sizes)}")
    said = f"before to after training, by lambda (one seed each): {'; '.join(parts)}"
    return Finding("described", said, metric="", arms=(test.row,))


def _variants(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """The row against each of its variants that has been run. It describes: the claim names no
    direction."""
    parts, arms, effects = [], [test.row], []
    for variant in test.variants:
        name = f"{test.row} {variant}"
        if here.lacking([test.row, name]):
            continue
        signs = here.signs([test.row], [name], RULES.metric, protocol)
        effect = effect_of(here.scores().contrast(signs), here.scores().n_users, here.rules)
        value, low, high = map(share, effect.relative)
        parts.append(f"over {variant} {value} ({low} to {high})")
        arms.append(name)
        effects.append(effect)
    if not parts:
        return Finding(
            "not reached",
            f"runs are missing of {test.row} and of its {', '.join(test.variants)}",
            arms=(test.row,),
        )
    said = f"{test.row} {', '.join(parts)}"
    return Finding("described", said, effect=effects[0], arms=tuple(arms))


def _cost(test: ClaimTest, here: Here, protocol: History) -> Finding:
    """How the time of a layer grows with the length of the sequence, Mamba's beside attention's:
    the exponents of power laws, by least squares on logarithms."""
    mamba, attention = (here.costs.get(f"{name} layer", {}) for name in ("Mamba", "attention"))
    lengths = sorted(set(mamba) & set(attention))
    if len(lengths) < 2:
        return Finding("not reached", "run `scale`, which measures it", metric="")
    exponents = [
        np.polyfit(np.log(lengths), np.log([costs[n] for n in lengths]), 1)[0]
        for costs in (mamba, attention)
    ]
    ratios = [mamba[n] / attention[n] for n in (lengths[0], lengths[-1])]
    said = (
        f"forward and backward on one core, lengths {lengths[0]} to {lengths[-1]}: the time of a "
        f"Mamba layer grows as length^{exponents[0]:.2f}, that of causal self-attention as "
        f"length^{exponents[1]:.2f}; at {lengths[0]} Mamba's layer takes {ratios[0]:.1f} times as "
        f"long as attention's, at {lengths[-1]} {ratios[1]:.1f} times"
    )
    return Finding("described", said, metric="")


def _nothing(test: ClaimTest, here: Here, protocol: History) -> Finding:
    return Finding("not testable here", f"it would take {test.needs}", metric="")


_TESTS: Mapping[str, Callable[[ClaimTest, Here, History], Finding]] = {
    "gap": _gap_test,
    "noise": _noise,
    "long-tail": _long_tail,
    "significance": _significance,
    "gates": _gates,
    "alignment": _alignment,
    "variants": _variants,
    "cost": _cost,
    "nothing": _nothing,
}
