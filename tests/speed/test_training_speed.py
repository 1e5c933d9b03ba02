"""Training and evaluation on Beauty at quick widths: one step a model, groups, stacks, ranking.

Run by `./reproduce.sh speed`. Compare entries of one run with one another; absolute times depend on
the machine and its load.
"""

import pytest
import torch

from benchmark.data.bundle import load_bundle
from benchmark.data.sequences import hold_out
from benchmark.evaluate.ranking import rank_targets
from benchmark.settings.registry import get_profile
from benchmark.settings.resolve import resolve
from benchmark.train.engine import TrainingRun

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def beauty():
    return load_bundle("beauty")


def _run(bundle, model, seeds, groups=None):
    resolved = resolve(model, bundle.name, get_profile("quick"))
    sequences = hold_out(bundle, resolved.config.max_length)
    run = TrainingRun(
        lambda: resolved.method.cls(resolved.config, bundle.catalogue()),
        resolved.training,
        sequences.train,
        sequences.validation,
        seeds,
        CPU,
        groups,
        lambda _: None,
        None,
    )
    run.train_step()
    return run


@pytest.mark.benchmark(group="one training step of 128 users, one seed")
@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Mamba4Rec", "FindRec"])
def test_step(benchmark, beauty, model):
    run = _run(beauty, model, [0])
    benchmark.pedantic(run.train_step, rounds=10, warmup_rounds=2)


@pytest.mark.benchmark(group="length groups, one step of SASRec")
@pytest.mark.parametrize("groups", [True, False], ids=["grouped", "padded"])
def test_length_groups(benchmark, beauty, groups):
    run = _run(beauty, "SASRec", [0], groups)
    benchmark.pedantic(run.train_step, rounds=10, warmup_rounds=2)


@pytest.mark.benchmark(group="three seeds, one step each, of SASRec without length groups")
@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "one after the other"])
def test_stacking(benchmark, beauty, stacked):
    if stacked:
        runs = [_run(beauty, "SASRec", [0, 1, 2])]
    else:
        runs = [_run(beauty, "SASRec", [seed], groups=False) for seed in range(3)]
    benchmark.pedantic(lambda: [run.train_step() for run in runs], rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="full-ranking validation of 4,322 users")
@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "Mamba4Rec", "FindRec"])
def test_validation(benchmark, beauty, model):
    run = _run(beauty, model, [0])
    benchmark.pedantic(run.validation_values, rounds=3, warmup_rounds=1)


@pytest.mark.benchmark(group="ranks of 4,322 users among 2,423 items from given scores")
@pytest.mark.parametrize("top", [0, 50])
def test_ranking(benchmark, beauty, top):
    queries = hold_out(beauty, 50).test
    scores = torch.randn(512, beauty.n_items, generator=torch.Generator().manual_seed(0))
    benchmark.pedantic(
        lambda: rank_targets(lambda history: scores[: len(history)], queries, top=top),
        rounds=3,
        warmup_rounds=1,
    )
