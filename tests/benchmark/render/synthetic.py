"""Stored runs made from seeded random numbers, for tests of the renderer alone: they look like runs
and say nothing about any method."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.evaluate.metrics import PROTOCOLS, per_user
from benchmark.plan import Planned, plan, specs
from benchmark.runs.ranks import PENALTIES, Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import Curves, RunResult, Timings
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.settings.registry import Profile
from tests.benchmark.results import draw_above, make_ranks, make_record

QUALITY = {"SASRec": 1.2, "Mamba4Rec": 1.35, "MMMLP": 1.5, "FindRec": 1.6}
"""Of the order of 1; other rows have 1."""


def synthetic_run(spec: RunSpec, seed: int, users: int) -> RunResult:
    rng = np.random.default_rng([seed, *f"{spec.dataset} {spec.model} {spec.variant}".encode()])
    quality = QUALITY.get(spec.model, 1.0) * rng.normal(1.0, 0.03)
    if spec.variant != "base":
        quality *= 0.93
    steps = list(range(20, 220, 20))
    rising = np.linspace(0.2, 1.0, len(steps)) ** 0.5 * 0.1 * quality
    losses = {"recommendation": list(np.linspace(7.0, 5.5, len(steps)))}
    if spec.model == "FindRec":
        shares = np.linspace(0.25, 0.4, len(steps))
        losses |= {"expert_1": list(shares), "expert_2": list(0.5 - shares)}
        losses |= {"expert_3": [0.25] * len(steps), "expert_4": [0.25] * len(steps)}
        losses |= {"alignment": list(np.linspace(-0.6, -0.75, len(steps)))}
    record = make_record(
        spec,
        seed,
        steps=steps[-1],
        targets_seen=steps[-1] * 4000,
        parameters=400_000,
        curves=Curves(
            loss_steps=steps,
            losses=losses,
            validation_steps=steps,
            validation=list(rising),
            validation_left_out=list(1.2 * rising),
        ),
        timings=Timings(training=float(rng.uniform(20, 300)), evaluation=5.0),
        message="",
    )
    length = (5 + np.arange(users) % 45).astype(np.int32)
    validation, test = (_ranks(rng, users, quality) for _ in range(2))
    artefacts = {"snapshot": _snapshot(rng)} if spec.protocol.snapshot else {}
    return RunResult(record, validation, test, length, artefacts)


def _ranks(rng: np.random.Generator, users: int, quality: float) -> Ranks:
    """Up to three items of the history stand above the target; the more is taken from their
    scores, the fewer."""
    kept = make_ranks(draw_above(rng, users, quality))
    history = np.minimum(rng.integers(0, 4, users), kept.above).astype(np.int32)
    left = np.linspace(0.9, 0.0, len(PENALTIES))
    lowered = np.floor(history[:, None] * left).astype(np.int32)
    return replace(kept, above_masked=kept.above - history, lowered=lowered)


def _snapshot(rng: np.random.Generator, positions: int = 60, width: int = 8) -> dict:
    """Unaligned states before, and after them ones of which a half is shared."""
    shots = {}
    for when, shared in (("before", 0.0), ("after", 0.5)):
        common = rng.normal(size=(positions, width))
        for modality in ("text", "image"):
            own = rng.normal(size=(positions, width))
            shots[f"{when}.{modality}"] = (shared * common + (1 - shared) * own).astype(np.float32)
        shots[f"{when}.id"] = rng.normal(size=(positions, width + 4)).astype(np.float32)
        shots[f"{when}.gates"] = rng.dirichlet(np.ones(4), size=8).astype(np.float32)
    return shots


def fill(
    store: Store,
    names: Sequence[str],
    profile: Profile,
    *,
    seeds: int = 3,
    users: int = 240,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> list[Planned]:
    """Write a run for every spec and seed that the named tables and figures need."""
    wanted = specs(names, profile, datasets=datasets, models=models)
    for spec in wanted:
        alone = spec.protocol.control or spec.protocol.snapshot
        for seed in range(1 if alone else seeds):
            store.write(synthetic_run(spec, seed, users))
    return plan(wanted, range(seeds), RunSet(store), as_stored=True)


def scores_of(
    store: Store, rows: Sequence[RunSpec], seeds: int, metric: str = "NDCG@10"
) -> CrossedBootstrap:
    """The test scores of some rows of one dataset, both protocols, read anew from the store."""
    values, fixed = {}, []
    for spec in rows:
        own = range(1 if spec.protocol.control else seeds)
        ranks = [store.read(spec.key, seed).test for seed in own]
        for protocol in PROTOCOLS:
            score = Score(str(spec.key), metric, protocol)
            masked = protocol == "left out"
            values[score] = np.stack([per_user(r, metric, masked=masked) for r in ranks], axis=1)
            fixed += [score] if spec.protocol.control else []
    return CrossedBootstrap(values, fixed=fixed)
