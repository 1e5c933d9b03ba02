"""Variants of a row, or rows of a variant, side by side on the validation targets of trial seeds:
what a choice costs that the tables do not show, without a look at test ranks.

A run of this kind is a trial like those of the search: it has the trial seeds, several validation
targets a user, and no ranks on test. It differs from them in its name, "trial [layers=4]", so that
no search takes it for one of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.columns import user_scores
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import spec_of
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunSpec
from benchmark.settings.registry import Profile
from benchmark.tune.grid import Tuning


@dataclass(frozen=True)
class Beside:
    """A variant (or row) beside the first one that was asked for, under one protocol."""

    name: str
    protocol: History
    mean: float
    """NDCG@10 over users and trial seeds."""
    seeds: int
    difference: float
    """Relative; with the ends of its 95 % interval over users and seeds. NaN of the first."""
    low: float
    high: float


def variant_trial(
    model: str, dataset: str, profile: Profile, variant: str, tuning: Tuning
) -> RunSpec:
    """The variant's settings in the profile, run as a trial. Raises InputError as `resolve` does,
    and where the tuning says nothing of the dataset."""
    spec = spec_of(model, dataset, profile, variant)
    targets = tuning.domain(dataset).validation_targets
    trial = spec.with_protocol(trial=True, validation_targets=targets)
    return trial.model_copy(update={"variant": f"trial [{spec.variant}]"})


def side_by_side(runs: Mapping[str, Sequence[RunResult]]) -> list[Beside]:
    """runs: variant or row -> its finished trials, a run a seed, on the same users; the others are
    held against the first, if it has any. Those without a finished run are left out."""
    reference = next(iter(runs))
    names = [name for name, own in runs.items() if own]
    scores = {
        Score(name, RULES.metric, protocol): user_scores(
            runs[name], RULES.metric, protocol, "validation"
        )
        for name in names
        for protocol in PROTOCOLS
    }
    bootstrap = CrossedBootstrap(scores)
    found = []
    for name in names:
        for protocol in PROTOCOLS:
            own, first = (Score(n, RULES.metric, protocol) for n in (name, reference))
            difference = low = high = float("nan")
            if name != reference and reference in names:
                compared = bootstrap.compare(own, first)
                difference, low, high = compared.difference, compared.low, compared.high
            found.append(
                Beside(name, protocol, bootstrap.mean(own), len(runs[name]), difference, low, high)
            )
    return found
