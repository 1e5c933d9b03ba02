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
from benchmark.preflight.contract import ContractBroken, check_contract
from benchmark.run import run_seeds
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from findrec.recommender import Batch, Catalogue, Features, Output, Recommender

ITEMS = 40
FEATURES = torch.cat([torch.zeros(1, 6), torch.randn(ITEMS, 6, generator=torch.Generator())])
CATALOGUE = Catalogue(ITEMS, image=Features(FEATURES, torch.arange(ITEMS + 1) > 0))


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


class Shifted(SASRec):
    """As many rows as items, of which the first is the padding's: every rank is off by one."""

    def item_table(self):
        return torch.cat([torch.zeros(1, self.config.dim), super().item_table()[:-1]])


class NotANumber(SASRec):
    def item_table(self):
        return super().item_table().index_fill(0, torch.tensor([3]), torch.nan)


class OneInfinity(Changed):
    """Beside an infinity, no finite difference used to count."""

    def after(self, states, batch):
        infinite = torch.zeros_like(states)
        infinite[0, 0, 0] = torch.inf
        return states - states.mean(0, keepdim=True) + infinite


class WritesInTraining(Changed):
    def after(self, states, batch):
        if batch.training:
            batch.items[:, -1] = 0
        return states


class WritesKey(Changed):
    def after(self, states, batch):
        batch.key.add_(1)
        return states


class Projected(Changed):
    """Projects by whatever `projection` makes."""

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.projection(torch.randn(config.dim, config.dim))

    def projection(self, values):
        raise NotImplementedError

    def after(self, states, batch):
        return states @ self.by


class RandomBuffer(Projected):
    def projection(self, values):
        self.register_buffer("by", values)


class RandomAttribute(Projected):
    def projection(self, values):
        self.by = values


class Frozen(Projected):
    def projection(self, values):
        self.by = nn.Parameter(values, requires_grad=False)


class MovingMean(Changed):
    mean: torch.Tensor

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.register_buffer("mean", torch.zeros(config.dim))

    def after(self, states, batch):
        if batch.training:
            self.mean.lerp_(states.detach().mean((0, 1)), 0.1)
            return states
        return states - self.mean


class Remembers(Changed):
    last = 0.0

    def after(self, states, batch):
        if batch.training:
            self.last = float(states.mean())
            return states
        return states - self.last


class RowsAsUsers(Changed):
    by_user: nn.Embedding

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.by_user = nn.Embedding(512, config.dim)

    def after(self, states, batch):
        return states + self.by_user(batch.rows).unsqueeze(1)


class OtherWithTable(Changed):
    """The engine gives the table with every batch."""

    def after(self, states, batch):
        return states if batch.table is None else states + batch.table.mean(0)


class OneMask(Changed):
    """Dropout whose mask is the same at every step."""

    def after(self, states, batch):
        kept = torch.rand(states.shape[1:], generator=torch.Generator().manual_seed(7)) > 0.5
        return states * kept * 2 if batch.training else states


class SeesLaterInTraining(Changed):
    def after(self, states, batch):
        return states + states.mean(1, keepdim=True) if batch.training else states


class Detached(Changed):
    def after(self, states, batch):
        return states.detach()


class Misspelt(SASRec):
    objective = "casual"  # type: ignore[assignment]


class StatesAlone(SASRec):
    def forward(self, batch):
        return super().forward(batch).states


class TableDropout(SASRec):
    def item_table(self):
        return nn.functional.dropout(super().item_table(), 0.3, self.training)


class TableDrawsInEvaluation(SASRec):
    """What is drawn changes nothing, but for the next that draws."""

    def item_table(self):
        if not self.training:
            torch.rand(1)
        return super().item_table()


class TableCountsEvaluations(SASRec):
    def item_table(self):
        self.calls = getattr(self, "calls", -1) + (not self.training)
        return super().item_table() + 0.1 * self.calls


class Auxiliary(SASRec):
    """With the states as an auxiliary output, and their mean square as a loss."""

    def forward(self, batch):
        states = super().forward(batch).states
        return Output(states, {"z": self.outside(states)})

    def outside(self, states):
        return states

    def aux_losses(self, aux, valid, key):
        return {"norm": (aux["z"].square().mean(-1) * valid).sum() / valid.sum()}


class AuxOfOthers(Auxiliary):
    def outside(self, states):
        return states - states.mean(0, keepdim=True)


class AuxOfNoShape(Auxiliary):
    def outside(self, states):
        return states.mean()


class AuxDraws(Auxiliary):
    def aux_losses(self, aux, valid, key):
        return {"norm": aux["z"][torch.randperm(len(valid))].square().mean()}


class AuxOfPadding(Auxiliary):
    def aux_losses(self, aux, valid, key):
        return {"norm": aux["z"].square().mean()}


class AuxPerUser(Auxiliary):
    def aux_losses(self, aux, valid, key):
        return {"norm": aux["z"].square().mean((1, 2))}


class AuxNotFinite(Auxiliary):
    def aux_losses(self, aux, valid, key):
        return {"norm": torch.tensor(torch.inf)}


class AuxUnknown(Auxiliary):
    def aux_loss_weights(self):
        return {"nrm": 1.0}


class WithFeatures(Changed):
    """Adds features by item, row 0 for the padding; sound."""

    known: torch.Tensor
    modalities = ()  # of SASRec's own items

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.register_buffer("known", catalogue.image.values)
        self.linear = nn.Linear(6, config.dim)

    def after(self, states, batch):
        return states + self.linear(self.known[self.rows(batch.items)])

    def rows(self, items):
        return items


class ByPosition(Changed):
    """A constant by position that has as many rows as there are items; sound."""

    places: torch.Tensor

    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.register_buffer("places", torch.linspace(-1, 1, ITEMS * config.dim).view(ITEMS, -1))

    def after(self, states, batch):
        return states + self.places[: states.shape[1]]


class FeaturesShifted(WithFeatures):
    def rows(self, items):
        return (items - 1).clamp(min=0)


class FeaturesWithoutPadding(WithFeatures):
    def __init__(self, config, catalogue):
        super().__init__(config, catalogue)
        self.known = catalogue.image.values[1:]

    def rows(self, items):
        return items.clamp(max=ITEMS - 1)


class TableFeaturesShifted(WithFeatures):
    def item_table(self):
        return super().item_table() + self.linear(self.known[:-1])


def make(cls: type[Recommender]) -> Callable[[], Recommender]:
    config = SASRecConfig(dim=8, max_length=15, heads=2, dropout=0.0)
    return lambda: cls(config, CATALOGUE)


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
        (Shifted, "item_table", "row 20 of .* for item 21, and forward reads row 21"),
        (NotANumber, "item_table", "not finite for item 4"),
        (OneInfinity, "forward", "not finite for user 1"),
        (WritesInTraining, "forward", "changes batch.items"),
        (WritesKey, "forward", "changes batch.key"),
        (RandomBuffer, "__init__", "draws 'by', which is no parameter"),
        (RandomAttribute, "__init__", "draws 'by', which is no parameter"),
        (Frozen, "__init__", "'by' that is not to be trained"),
        (MovingMean, "forward", "changes 'mean'; the rule: buffers are constants"),
        (Remembers, "forward", "once it has been called in training"),
        (RowsAsUsers, "forward", "in another row of the batch"),
        (OtherWithTable, "forward", "when batch.table has the item table"),
        (OneMask, "forward", "the same at any step"),
        (SeesLaterInTraining, "forward", r"when later items change \(in training\)"),
        (Detached, "forward", "without a gradient"),
        (StatesAlone, "forward", "gives a Tensor"),
        (TableDropout, "item_table", "in a second call or in training"),
        (TableDrawsInEvaluation, "item_table", "draws from a global generator"),
        (TableCountsEvaluations, "item_table", "in a second call or in training"),
        (AuxOfOthers, "forward", "other aux 'z' when the other users of the batch change"),
        (AuxOfNoShape, "forward", r"\[\] as aux 'z'"),
        (AuxDraws, "aux_losses", "draws from a global generator"),
        (AuxOfPadding, "aux_losses", "another 'norm' when the padding holds other values"),
        (AuxPerUser, "aux_losses", r"gives \[6\] as 'norm'"),
        (AuxNotFinite, "aux_losses", "gives inf as 'norm'"),
        (AuxUnknown, "aux_loss_weights", "weighs 'nrm', .* did you mean 'norm'"),
        (FeaturesShifted, "forward", "reads row 20 of 'known' for item 21; .* in row 21"),
        (FeaturesWithoutPadding, "forward", "reads row 21 of 'known' for item 21; .* in row 20"),
        (TableFeaturesShifted, "item_table", "reads row 20 of 'known' for item 21"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_broken_rule_is_named(windows, cls, method, said):
    with pytest.raises(ContractBroken, match=said) as broken:
        check_contract("Mine", make(cls), windows, CATALOGUE)
    assert str(broken.value).startswith(f"Mine: {cls.__name__}.{method} (")
    assert "line " in str(broken.value)


def test_an_objective_that_is_none_is_named(windows):
    """Any but the known ones would be trained as causal without a word."""
    with pytest.raises(ContractBroken, match=r"Mine: Misspelt \(.*'casual'; did you mean 'causal'"):
        check_contract("Mine", make(Misspelt), windows, CATALOGUE)


@pytest.mark.parametrize("cls", [SASRec, Auxiliary, WithFeatures, ByPosition])
def test_a_sound_model_passes_and_no_global_generator_moves(windows, cls):
    before = torch.get_rng_state()
    check_contract("Mine", make(cls), windows, CATALOGUE)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "name", [n for n, method in methods().items() if method.category != "control"]
)
def test_every_row_passes_at_quick_widths_within_a_second(name):
    """Both shipped datasets have text, one has images; the time leaves out the loading. It is the
    least of three, because what else the machine does can only add to it."""
    bundle = load_bundle("ml-100k", root=None)
    spec = spec_of(name, "ml-100k", get_profile("quick"))
    sequences = split(bundle, spec.protocol)
    windows = sequences.train
    fed = apply_feature_control(bundle.catalogue(), spec, sequences.histories, 0)
    build = builder(spec, fed)
    check_contract(name, build, windows, fed)  # compiles kernels once
    seconds = []
    for _ in range(3):
        started = time.process_time()
        check_contract(name, build, windows, fed)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 1.0


def test_a_reading_with_noise_in_evaluation_passes():
    """The reading "noise of the bottleneck" draws it there too, keyed; nothing else is let off."""
    bundle = load_bundle("ml-100k", root=None)
    spec = spec_of("FindRec (released)", "ml-100k", get_profile("smoke"), "noise-at-evaluation")
    fed = bundle.catalogue()
    windows = split(bundle, spec.protocol).train
    build = builder(spec, fed)
    check_contract("Released", build, windows, fed)
    silent = builder(spec_of(spec.model, spec.dataset, get_profile("smoke")), fed)

    def noisy() -> Recommender:
        model = silent()
        for bottleneck in model.bottlenecks.values():
            bottleneck.always_noisy = True
        return model

    with pytest.raises(ContractBroken, match="in a second evaluation"):
        check_contract("Released", noisy, windows, fed)


def test_a_run_of_a_broken_model_ends_before_its_first_step(tmp_path):
    spec = spec_of("SASRec", "beauty", get_profile("smoke"))
    spec = spec.model_copy(update={"implementation": f"{__name__}:PaddingRow", "model": "Mine"})
    steps: list[int] = []
    with pytest.raises(ContractBroken, match=r"Mine: PaddingRow.item_table .* for 2423 items"):
        run_seeds(spec, [0], Store(tmp_path), watch=lambda progress: steps.append(progress.step))
    assert steps == []
