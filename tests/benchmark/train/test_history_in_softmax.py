"""Training with the history outside the softmax, against slow loops over lists of items."""

from typing import Any

import pytest
import torch

from baselines.gru4rec import GRU4Rec
from baselines.sasrec import SASRec
from benchmark.runs.spec import Training
from benchmark.train.engine import TrainingRun, train
from benchmark.train.objectives import history_before, make_task
from benchmark.train.order import BatchOrder
from benchmark.train.stack import Stack
from benchmark.train.step import forward_and_loss
from findrec.model import FindRec
from findrec.ops import loss
from findrec.recommender import Batch, Catalogue, Recommender
from tests.benchmark.train.synthetic import sequences

ITEMS, LENGTH = 30, 12
CPU = torch.device("cpu")
SETTINGS = Training(lr=5e-3, batch_size=16, steps=4, eval_every=2, history_in_softmax=False)
KEY = torch.zeros(1, 2, dtype=torch.int64)


@pytest.fixture(autouse=True)
def _no_fallback():
    functorch: Any = torch._C._functorch  # its stubs lack these two
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    yield
    functorch._set_vmap_fallback_enabled(before)


def build(cls: type[Recommender] = SASRec, **changes: object):
    config = cls.Config(**{"dim": 16, "max_length": LENGTH, "dropout": 0.2} | changes)
    return lambda: cls(config, Catalogue(ITEMS))


def test_the_history_of_each_position_by_hand():
    """A repeat (2, at positions 0 and 2), a window that counts from its second target, padding."""
    windows = torch.tensor([[[2, 3, 2, 4, 0], [5, 6, 7, 8, 9]]])
    task = make_task(build(max_length=4)(), windows, torch.tensor([[0, 1]]), KEY)
    found = history_before(task.items[0], task.user[0], task.position[0], task.targets[0]) + 1
    targets = task.targets[0] + 1
    scored = [
        (int(target), set(row) - {int(target)})
        for row, target, weight in zip(found.tolist(), targets, task.weights[0], strict=True)
        if weight
    ]
    assert scored == [
        (3, {2}), (2, {3}), (4, {2, 3}), (7, {5, 6}), (8, {5, 6, 7}), (9, {5, 6, 7, 8}),
    ]  # fmt: skip


def test_prefixes_have_the_history_of_their_end():
    windows = torch.tensor([[[1, 2, 3, 0, 0]]])
    task = make_task(build(max_length=4)(), windows, torch.tensor([[1]]), KEY, prefixes=True)
    found = history_before(task.items[0], task.user[0], task.position[0], task.targets[0]) + 1
    assert [set(row) for row in found.tolist()] == [{1, 2, 3}]
    assert (task.targets + 1).tolist() == [[3]]


def slow_loss(model: Recommender, windows: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Mean over all targets of -log of the target's share among the items that compete."""
    items = windows[:, :-1]
    states = model(Batch(items, torch.arange(len(items)), key, training=True)).states
    table = model.item_table()
    losses = []
    for user, row in enumerate(windows.tolist()):
        for position in range(LENGTH):
            target = row[position + 1]
            if not target:
                continue
            out = set(row[: position + 1]) - {target}
            competing = [item for item in range(1, ITEMS + 1) if item not in out]
            scores = torch.stack([states[user, position] @ table[item - 1] for item in competing])
            losses.append(-scores.log_softmax(0)[competing.index(target)])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("cls", [SASRec, GRU4Rec, FindRec])
def test_loss_and_gradients_equal_a_slow_loop(cls, groups):
    """Float64: 1e-6 on the loss, whose weights are float32, and 1e-6 of a leaf's largest
    gradient. The synthetic sequences repeat items."""
    windows, _ = sequences(users=12, items=ITEMS, length=LENGTH)
    items = torch.from_numpy(windows.items)
    assert any(len(set(row)) < len(row) for row in ([i for i in r if i] for r in items.tolist()))
    stack = Stack(lambda: build(cls)().double(), [4], CPU)
    key = torch.tensor([[4, 0]])
    task = make_task(stack.model, items[None], torch.zeros(1, 12, dtype=torch.int64), key)
    _, losses = forward_and_loss(stack, task, key, groups=groups, history_in_softmax=False)
    found = losses["recommendation"]
    found.sum().backward()
    torch.manual_seed(4)
    model = build(cls)().double()
    expected = slow_loss(model, items, key[0])
    expected.backward()
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=0)
    for name, p in model.named_parameters():
        got = stack.parameters[f"model.{name}"].grad[0]
        torch.testing.assert_close(got, p.grad, rtol=0, atol=1e-6 * float(p.grad.abs().max()))


@pytest.mark.parametrize("seeds_at_once", [False, True])
def test_vmap_gives_what_seed_by_seed_does(seeds_at_once, monkeypatch):
    """The way of a GPU against that of a CPU, for a stack of two. Float32 sums of some hundred
    terms in another order: 1e-4 of a leaf's largest gradient."""
    windows, queries = sequences(items=ITEMS, length=LENGTH)
    loop, vmapped = (
        TrainingRun(build(), SETTINGS, windows, queries, [0, 3], CPU, False, lambda _: None, None)
        for _ in range(2)
    )
    vmapped.stack.vectorised = True
    for job in (loop, vmapped):
        monkeypatch.setattr(job.optimizer, "step", lambda: None)
        monkeypatch.setattr(job.optimizer, "zero_grad", lambda: None)
    loop.train_step()
    if seeds_at_once:
        monkeypatch.setattr(loss, "_seed_after_seed", loss._seeds_at_once)
    vmapped.train_step()
    for name, value in loop.fixed_step.sums.items():
        torch.testing.assert_close(vmapped.fixed_step.sums[name], value, rtol=1e-5, atol=1e-6)
    for name, leaf in loop.stack.parameters.items():
        tolerance = 1e-4 * float(leaf.grad.abs().max()) + 1e-9
        other = vmapped.stack.parameters[name].grad
        torch.testing.assert_close(other, leaf.grad, rtol=0, atol=tolerance)


def test_a_run_trains_by_what_its_settings_say():
    """The first step's loss is the slow loop's, in float32 (losses near 3.4: 1e-5), below that of
    the whole softmax, and a seed does not notice its neighbours, to the bit."""
    windows, queries = sequences(items=ITEMS, length=LENGTH)

    def first_loss(settings: Training) -> float:
        job = TrainingRun(build(), settings, windows, queries, [2], CPU, None, lambda _: None, None)
        job.train_step()
        return float(job.fixed_step.sums["recommendation"][0])

    torch.manual_seed(2)
    index = BatchOrder(len(windows.items), 2).batch(0, 16)
    expected = slow_loss(build()(), torch.from_numpy(windows.items[index]), torch.tensor([2, 0]))
    found = first_loss(SETTINGS)
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)
    assert found < first_loss(SETTINGS.model_copy(update={"history_in_softmax": True}))
    alone, stacked = (
        train(build(), SETTINGS, windows, queries, seeds, device=CPU, groups=False)
        for seeds in ([2], [0, 2])
    )
    for name, value in alone.parameters.items():
        assert torch.equal(value[0], stacked.parameters[name][1]), name
