"""Models that break the contract are refused by name, place and rule; those of the tables pass."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from baselines.sasrec import SASRec, SASRecConfig
from benchmark.core import builder, split
from benchmark.data.bundle import load_bundle
from benchmark.data.sequences import Windows
from benchmark.feature_controls import apply_feature_control
from benchmark.plan import spec_of
from benchmark.preflight import ContractBroken, check_contract
from benchmark.run import run_seeds
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from findrec.recommender import Batch, Catalogue, Output, Recommender

ITEMS = 40


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Twenty users with 3 to 15 random items."""
    rng = np.random.default_rng(0)
    items = np.zeros((20, 16), np.int64)
    for user, length in enumerate(rng.integers(3, 16, 20)):
        items[user, :length] = rng.integers(1, ITEMS + 1, length)
    return Windows(items, np.zeros(20, np.int64), np.arange(20))


class PaddingRow(SASRec):
    def item_table(self):
        return torch.cat([torch.zeros(1, self.config.dim), super().item_table()])


class FiveShort(SASRec):
    def item_table(self):
        return super().item_table()[:-5]


class WrongWidth(SASRec):
    def item_table(self):
        return super().item_table()[:, 1:]


class Double(SASRec):
    def item_table(self):
        return super().item_table().double()


class Changed(SASRec):
    """`after` is applied to the states of SASRec."""

    def after(self, states, batch: Batch):
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        return dataclasses.replace(output, states=self.after(output.states, batch))


class NotFinite(Changed):
    def after(self, states, batch):
        return states * torch.nan


class Cut(Changed):
    def after(self, states, batch):
        return states[:, 1:]


class NoiseInEvaluation(Changed):
    def after(self, states, batch):
        generator = torch.Generator().manual_seed(int(batch.key[0]))
        return states + torch.randn(states.shape, generator=generator)


class TorchDropout(Changed):
    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.off = nn.Dropout(0.5)

    def after(self, states, batch):
        return self.off(states)


class GlobalNoise(Changed):
    def after(self, states, batch):
        return states + 0 * torch.rand(1) if batch.training else states


class NumpyNoise(Changed):
    def after(self, states, batch):
        return states + np.random.rand() if batch.training else states  # noqa: NPY002


class MeanOverBatch(Changed):
    def after(self, states, batch):
        return states - states.mean(0, keepdim=True)


class Normalised(Changed):
    """As a BatchNorm that uses the batch's statistics in training alone."""

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.batch_norm = nn.BatchNorm1d(config.dim)

    def after(self, states, batch):
        return self.batch_norm(states.flatten(0, 1)).view(states.shape)


class SeesLater(Changed):
    def after(self, states, batch):
        return states + states.mean(1, keepdim=True)


class CountsLater(Changed):
    """Divides by the length of the whole sequence: no item of it, only its end, shows."""

    def after(self, states, batch):
        return states / (batch.items > 0).sum(1)[:, None, None]


class SizeOfBatch(Changed):
    def after(self, states, batch):
        return states / len(batch.items)


class PlaceInBatch(Changed):
    def after(self, states, batch):
        return states + torch.arange(len(states))[:, None, None]


class Padding(Changed):
    def after(self, states, batch):
        return states / batch.items.shape[1]


class BehindAGate(Changed):
    """What starts at zero, as the gates of ReZero do, and opens in training."""

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.gate = nn.Parameter(torch.zeros(config.dim))

    def after(self, states, batch):
        return states + self.gate * states.mean(0, keepdim=True)


class WritesItems(Changed):
    def after(self, states, batch):
        batch.items[:, -1] = 0
        return states


def make(cls: type[Recommender]) -> Callable[[], Recommender]:
    config = SASRecConfig(dim=8, max_length=15, heads=2, dropout=0.0)
    return lambda: cls(config, Catalogue(ITEMS))


@pytest.mark.parametrize(
    ("cls", "method", "said"),
    [
        (PaddingRow, "item_table", r"\[41, 8\] for 40 items; the rule: .* row i - 1 for item i"),
        (FiveShort, "item_table", r"\[35, 8\] for 40 items"),
        (WrongWidth, "forward", "with the width of the table"),
        (Double, "item_table", "float64"),
        (NotFinite, "forward", "no finite value"),
        (Cut, "forward", r"states \[6, 11, 8\] for items \[6, 12\]"),
        (NoiseInEvaluation, "forward", "in a second evaluation"),
        (TorchDropout, "forward", "global generator"),
        (GlobalNoise, "forward", "global generator"),
        (NumpyNoise, "forward", "global generator"),
        (MeanOverBatch, "forward", "when the other users of the batch change; the rule: forward"),
        (Normalised, "forward", r"other users of the batch change \(in training\)"),
        (SeesLater, "forward", "when later items change"),
        (CountsLater, "forward", "when later items are left out"),
        (SizeOfBatch, "forward", "alone in a batch"),
        (PlaceInBatch, "forward", "alone in a batch"),
        (Padding, "forward", "alone in a batch, without padding"),
        (BehindAGate, "forward", "other users of the batch change|alone in a batch"),
        (WritesItems, "forward", "changes batch.items"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_broken_rule_is_named(windows, cls, method, said):
    with pytest.raises(ContractBroken, match=said) as broken:
        check_contract("Mine", make(cls), windows, n_items=ITEMS)
    assert str(broken.value).startswith(f"Mine: {cls.__name__}.{method} (")
    assert "line " in str(broken.value)


def test_a_sound_model_passes_and_no_global_generator_moves(windows):
    before = torch.get_rng_state()
    check_contract("Mine", make(SASRec), windows, n_items=ITEMS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "name", [n for n, method in methods().items() if method.category != "control"]
)
def test_every_row_passes_at_quick_widths_within_a_second(name):
    """Both shipped datasets have text, one has images; the time leaves out the loading."""
    bundle = load_bundle("ml-100k", root=None)
    spec = spec_of(name, "ml-100k", get_profile("quick"))
    sequences = split(bundle, spec.protocol)
    windows = sequences.train
    build = builder(spec, apply_feature_control(bundle.catalogue(), spec, sequences.histories, 0))
    check_contract(name, build, windows, n_items=bundle.n_items)  # compiles kernels once
    started = time.process_time()
    check_contract(name, build, windows, n_items=bundle.n_items)
    assert time.process_time() - started < 1.0


def test_a_run_of_a_broken_model_ends_before_its_first_step(tmp_path):
    spec = spec_of("SASRec", "beauty", get_profile("smoke"))
    spec = spec.model_copy(update={"implementation": f"{__name__}:PaddingRow", "model": "Mine"})
    steps: list[int] = []
    with pytest.raises(ContractBroken, match=r"Mine: PaddingRow.item_table .* for 2423 items"):
        run_seeds(spec, [0], Store(tmp_path), watch=lambda progress: steps.append(progress.step))
    assert steps == []
