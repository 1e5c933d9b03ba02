"""The engine against separate models, other stackings of itself, and its own promises."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from baselines.gru4rec import GRU4Rec
from baselines.sasrec import SASRec
from benchmark.data.sequences import Windows
from benchmark.runs.checkpoint import CheckpointFile
from benchmark.runs.spec import Training
from benchmark.train.engine import TrainingRun, train
from benchmark.train.objectives import make_task, query
from benchmark.train.order import BatchOrder
from benchmark.train.stack import Stack
from benchmark.train.step import seed_loss
from findrec.recommender import Batch, Catalogue, Output
from tests.benchmark.train.synthetic import sequences

ITEMS, LENGTH = 30, 12
CPU = torch.device("cpu")
SETTINGS = Training(lr=5e-3, batch_size=16, steps=24, eval_every=8, warmup_steps=4)


@pytest.fixture(autouse=True)
def _no_fallback():
    functorch: Any = torch._C._functorch  # its stubs lack these two
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    yield
    functorch._set_vmap_fallback_enabled(before)


def build(cls=SASRec, **changes):
    config = cls.Config(**{"dim": 16, "max_length": LENGTH, "dropout": 0.2, **changes})
    return lambda: cls(config, Catalogue(ITEMS))


def run(seeds, settings=SETTINGS, cls=SASRec, data=None, **options):
    windows, queries = data or sequences()
    return train(build(cls), settings, windows, queries, seeds, device=CPU, **options)


@pytest.mark.parametrize("cls", [SASRec, GRU4Rec])
def test_a_seed_does_not_notice_its_neighbours(cls):
    """Seed 3 alone equals seed 3 in a stack of four, bit for bit, over a whole training run."""
    alone = run([3], cls=cls, groups=False)
    stacked = run([0, 3, 5, 9], cls=cls)
    for name, value in alone.parameters.items():
        assert torch.equal(value[0], stacked.parameters[name][1]), name
    assert alone.curves[0] == stacked.curves[1]


def test_gradients_of_a_stack_equal_those_of_separate_models():
    """float64, so that 1e-10 is far above rounding and far below any mistake."""
    windows, _ = sequences()
    make = lambda: build()().double()  # noqa: E731
    stack = Stack(make, [4, 5, 6], CPU)
    index = np.stack([BatchOrder(len(windows.items), s).batch(0, 16) for s in stack.seeds])
    items, first = (
        torch.from_numpy(windows.items[index]),
        torch.from_numpy(windows.first_target[index]),
    )
    keys = torch.tensor([[s, 0] for s in stack.seeds])
    task = make_task(stack.model, items, first, keys)
    rows = torch.arange(16)
    layout = torch.arange(16 * LENGTH).view(16, LENGTH)
    fields = {**vars(task), "weights": task.weights.double()}
    stacked, _ = stack.call(
        seed_loss, keys, [task.items], [rows], layout, fields, in_dims=(0, 0, None, None, 0)
    )
    stacked.sum().backward()
    for at, seed in enumerate(stack.seeds):
        torch.manual_seed(seed)
        model = make()
        states = model(Batch(task.items[at], rows, keys[at], training=True)).states
        logits = states[task.user[at], task.position[at]] @ model.item_table().T
        loss = torch.nn.functional.cross_entropy(logits, task.targets[at], reduction="none")
        (loss * task.weights[at]).sum().backward()
        for name, p in model.named_parameters():
            got = stack.parameters[f"model.{name}"].grad[at]
            torch.testing.assert_close(got, p.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cls", [SASRec, GRU4Rec])
def test_length_groups_change_nothing_but_float_order(cls):
    """Two steps in float32: 2e-5 on parameters of order 0.1 leaves room for Adam, which divides by
    the square root of tiny second moments, and none for a lost or doubled position."""
    settings = SETTINGS.model_copy(update={"steps": 2, "eval_every": 2})
    whole, grouped = (run([1], settings, cls=cls, groups=g) for g in (False, True))
    for name, value in whole.parameters.items():
        torch.testing.assert_close(value, grouped.parameters[name], rtol=0, atol=2e-5)


def test_causal_objective_is_the_mean_over_all_prefixes():
    """Without dropout, all positions at once and one sample per prefix have one loss (float64)."""
    windows, _ = sequences(users=8)
    model = build(dropout=0.0)().double()
    items = torch.from_numpy(windows.items)
    key = torch.zeros(1, 2, dtype=torch.int64)
    task = make_task(model, items[None], torch.zeros(1, 8, dtype=torch.int64), key)
    states = model(Batch(task.items[0], torch.arange(8), key[0])).states
    table = model.item_table()
    logits = states[task.user[0], task.position[0]] @ table.T
    losses = torch.nn.functional.cross_entropy(logits, task.targets[0], reduction="none")
    counted = task.weights[0] > 0
    causal = losses[counted].mean()
    # the weights themselves are float32
    assert float(task.weights[0][counted].sum()) == pytest.approx(1, abs=1e-6)
    assert task.weights[0][counted].unique().numel() == 1
    singles = []
    for row in items.tolist():
        sequence = [i for i in row if i]
        for end in range(1, len(sequence)):
            prefix = torch.tensor([sequence[:end]])
            state = model(Batch(prefix, torch.zeros(1, dtype=torch.int64), key[0])).states[0, -1]
            target = torch.tensor(sequence[end] - 1)
            singles.append(torch.nn.functional.cross_entropy(table @ state, target))
    torch.testing.assert_close(causal, torch.stack(singles).mean(), rtol=1e-12, atol=0)


def test_padding_row_stays_zero_for_every_seed():
    parameters = run([0, 1, 2]).parameters
    tables = {k: v for k, v in parameters.items() if v.shape == (3, ITEMS + 1, 16)}
    assert list(tables) == ["model.items.ids.weight"]
    for name, value in tables.items():
        assert torch.count_nonzero(value[:, 0]) == 0, name
        assert (value[:, 1:] != 0).all(), name


def test_training_learns_the_rule_of_the_data():
    """Nine of ten steps go to the next item: NDCG@10 far above the 0.15 or so of a random order."""
    settings = SETTINGS.model_copy(update={"steps": 150, "eval_every": 25})
    assert run([0], settings).curves[0].validation[-1] > 0.6


def test_a_diverged_seed_fails_alone():
    """A seed whose parameters become infinite is marked failed; the other ends as it does alone."""
    windows, queries = sequences()
    job = TrainingRun(build(), SETTINGS, windows, queries, [0, 1], CPU, False, lambda _: None, None)
    with torch.no_grad():
        for p in job.stack.parameters.values():
            p[0] = math.inf
    trained = job.run()
    assert trained.curves[0].failure is not None
    assert math.isnan(trained.curves[0].validation[-1])
    assert trained.curves[0].steps == trained.curves[1].steps  # it stays, and disturbs nobody
    assert trained.curves[1] == run([1], groups=False).curves[0]


def test_an_interrupted_run_continues_bit_for_bit(tmp_path):
    class Stop(Exception):
        pass

    def interrupt(progress):
        if progress.step == 17:
            raise Stop

    file = CheckpointFile(tmp_path / "run.checkpoint")
    with pytest.raises(Stop):
        run([0, 1], watch=interrupt, checkpoint=file)
    assert file.path.exists()
    continued, whole = run([0, 1], checkpoint=file), run([0, 1])
    assert not file.path.exists()
    for name, value in whole.parameters.items():
        assert torch.equal(value, continued.parameters[name]), name
    assert continued.curves == whole.curves


def test_a_damaged_checkpoint_starts_afresh(tmp_path):
    file = CheckpointFile(tmp_path / "run.checkpoint")
    file.path.write_bytes(b"half a file")
    assert run([0], checkpoint=file).curves == run([0]).curves


def test_the_end_of_the_decay_is_what_is_ranked():
    """The parameters are those of the last step, whatever validation said on the way."""
    trained = run([0])
    windows, queries = sequences()
    job = TrainingRun(build(), SETTINGS, windows, queries, [0], CPU, None, lambda _: None, None)
    for _ in range(SETTINGS.steps):
        job.train_step()
    for name, value in trained.parameters.items():
        assert torch.equal(value, job.stack.parameters[name]), name
    assert trained.curves[0].steps == [8, 16, 24]


def test_when_validation_is_looked_at_changes_no_parameter():
    often = run([0], SETTINGS.model_copy(update={"eval_every": 3}))
    for name, value in run([0]).parameters.items():
        assert torch.equal(value, often.parameters[name]), name


def test_budgets_share_their_trunk_bit_for_bit(tmp_path):
    """A longer budget that goes on from the trunk of a shorter one equals itself from scratch, its
    curve included; one whose decay begins before the trunk's end takes none of it."""
    trunk = CheckpointFile(tmp_path / "trunk")
    longer = SETTINGS.model_copy(update={"steps": 60})  # its rate falls from step 42 on
    run([0], trunk=trunk)  # from step 17 on
    state = trunk.load(CPU)
    assert state is not None
    assert state["step"] == 17
    begun: list[int] = []
    shared = run([0], longer, trunk=trunk, watch=lambda progress: begun.append(progress.step))
    assert begun[0] == 18
    assert shared.inherited_seconds > 0
    again = run([0], trunk=trunk)
    assert again.inherited_seconds == 0
    for left, right in ((shared, run([0], longer)), (again, run([0]))):
        assert left.curves == right.curves
        for name, value in left.parameters.items():
            assert torch.equal(value, right.parameters[name]), name


def test_selection_sees_validation_alone():
    """Training must not change when the test targets do; it is not even given them."""
    windows, queries = sequences()
    fields = {f.name for f in dataclasses.fields(queries)}
    assert fields == {"user", "history", "target", "seen_items", "seen_offsets", "length"}
    other = dataclasses.replace(queries, length=queries.length + 100)
    assert run([0], data=(windows, queries)).curves == run([0], data=(windows, other)).curves


def test_order_visits_every_window_once_an_epoch():
    order = BatchOrder(windows=10, seed=0)
    drawn = np.concatenate([order.batch(step, 4) for step in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert list(drawn[:10]) != list(drawn[10:])
    assert list(BatchOrder(10, 0).batch(3, 4)) == list(drawn[12:16])


def test_query_of_a_cloze_model_ends_in_the_mask():
    history = torch.tensor([[1, 2, 0, 0], [1, 2, 3, 4]])
    items, end = query("cloze", history, mask_token=9)
    assert items.tolist() == [[1, 2, 9, 0], [2, 3, 4, 9]]
    assert end.tolist() == [2, 3]
    items, end = query("causal", history, mask_token=9)
    assert items.tolist() == history.tolist()
    assert end.tolist() == [1, 3]


def test_a_stack_is_built_before_it_moves():
    """Stacking after the first model has moved fails on every device but the CPU; the meta device
    shows that without a GPU."""
    stack = Stack(build(), [0, 1, 2], torch.device("meta"))
    assert {p.device.type for p in stack.parameters.values()} == {"meta"}
    assert {p.device.type for p in stack.model.parameters()} == {"meta"}


def test_prefix_training_gets_the_same_targets_as_the_causal_objective():
    windows, queries = sequences(length=6)
    prefixes = [
        (row[: end + 1], user)
        for user, row in enumerate(windows.items)
        for end in range(1, np.count_nonzero(row))
    ]
    items = np.zeros((len(prefixes), windows.items.shape[1]), dtype=np.int64)
    for at, (prefix, _) in enumerate(prefixes):
        items[at, : len(prefix)] = prefix
    first = np.array([len(prefix) - 2 for prefix, _ in prefixes])
    every = Windows(items, first, np.array([user for _, user in prefixes]), prefixes=True)
    fields = ([0], CPU, False, lambda _: None, None)
    causal = TrainingRun(build(), SETTINGS, windows, queries, *fields)
    literal = TrainingRun(build(), SETTINGS, every, queries, *fields)
    assert literal.targets_per_step == SETTINGS.batch_size
    # in one pass over the data, whose steps are the rows over the batch size
    passes = [run.targets_per_step * len(run.windows.items) for run in (causal, literal)]
    assert passes[1] == pytest.approx(passes[0], rel=1e-12)  # float64 sums of whole numbers


class Modes(SASRec):
    """Notes in which mode `forward` found it."""

    seen: ClassVar[set[tuple[bool, bool]]] = set()

    def forward(self, batch: Batch) -> Output:
        self.seen.add((batch.training, self.training))
        return super().forward(batch)


def test_steps_train_and_evaluations_evaluate():
    Modes.seen.clear()
    trained = run([0], cls=Modes)
    trained.scorer()(torch.tensor([[1, 2, 0]]))
    assert Modes.seen == {(True, True), (False, False)}
