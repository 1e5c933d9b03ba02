"""What a step asks of a model, against tasks worked by hand, and the engine on those tasks.

Draws are keyed, so the statistical tests are the same on every machine; their bounds of five
standard deviations say how likely a right implementation was to pass before it was written.
"""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from baselines.bert4rec import BERT4Rec
from baselines.gru4rec import GRU4Rec
from baselines.iisan import IISAN
from baselines.mmmlp import MMMLP
from baselines.nova import NOVA
from baselines.sasrec import SASRec
from baselines.smlp4rec import SMLP4Rec
from baselines.unisrec import UniSRec
from benchmark.runs.spec import Training
from benchmark.train.engine import TrainingRun, train
from benchmark.train.objectives import Task, make_task
from benchmark.train.order import BatchOrder
from findrec.model import FindRec
from findrec.ops import loss, recurrent, use_scan_backend
from findrec.recommender import Batch, Recommender
from tests.benchmark.train.synthetic import sequences
from tests.catalogues import catalogue

ITEMS, LENGTH = 32, 4
MASK = ITEMS + 1
KEYS = torch.stack([torch.arange(4000), torch.full((4000,), 7)], 1)
CPU = torch.device("cpu")


def build(cls: type[Recommender], seed: int = 0, **changes: object) -> Recommender:
    torch.manual_seed(seed)
    return cls(cls.Config(**{"dim": 8, "max_length": LENGTH} | changes), catalogue(ITEMS))


def task_of(
    cls: type[Recommender],
    windows: list[list[int]],
    first: list[int] | None = None,
    *,
    keys: Tensor = KEYS[:1],
    prefixes: bool = False,
    **changes: object,
) -> Task:
    """The task of the same windows for every key."""
    length = len(windows[0]) - 1
    items = torch.tensor(windows).expand(len(keys), -1, -1)
    starts = torch.tensor(first or [0] * len(windows)).expand(len(keys), -1)
    model = build(cls, max_length=length, **changes)
    return make_task(model, items, starts, keys, prefixes=prefixes)


def scored(task: Task, seed: int = 0) -> dict[tuple[int, int], tuple[int, float]]:
    """(user, position) -> (item to predict, weight) of what a seed scores."""
    fields = (task.user, task.position, task.targets + 1, task.weights)
    entries = zip(*(field[seed].tolist() for field in fields), strict=True)
    return {(u, t): (target, weight) for u, t, target, weight in entries if weight > 0}


def within_five_deviations(hits: Tensor, probability: float) -> bool:
    """hits: [M] bool, independent."""
    deviation = math.sqrt(probability * (1 - probability) / len(hits))
    return abs(float(hits.double().mean()) - probability) < 5 * deviation


# ---- causal -----------------------------------------------------------------------------------


def test_causal_counts_every_target_from_first_on():
    """Exact: a quarter is a float32."""
    task = task_of(SASRec, [[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], [0, 2])
    assert task.items[0].tolist() == [[1, 2, 3, 0], [4, 5, 6, 7]]
    assert scored(task) == {
        (0, 0): (2, 0.25),
        (0, 1): (3, 0.25),
        (1, 2): (7, 0.25),
        (1, 3): (8, 0.25),
    }


def test_windows_of_a_long_user_count_every_target_once():
    """The windows of 1 ... 10 at stride 2; each later one counts what the one before did not."""
    windows = [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [5, 6, 7, 8, 9], [6, 7, 8, 9, 10]]
    found = scored(task_of(SASRec, windows, [0, 2, 2, 3]))
    by_window = [[item for (u, _), (item, _) in found.items() if u == w] for w in range(4)]
    assert by_window == [[2, 3, 4, 5], [6, 7], [8, 9], [10]]


def test_causal_weights_sum_to_one_for_each_seed():
    """Seeds that see other numbers of targets: 2 and 4. Exact, both shares being powers of two."""
    windows = torch.tensor([[[1, 2, 3, 0, 0]], [[4, 5, 6, 7, 8]]])
    task = make_task(build(SASRec), windows, torch.zeros(2, 1, dtype=torch.int64), KEYS[:2])
    assert [sorted(w for _, w in scored(task, s).values()) for s in (0, 1)] == [
        [0.5] * 2,
        [0.25] * 4,
    ]


def test_compact_drops_what_no_seed_scores_and_nothing_else():
    windows = torch.tensor([[[1, 2, 0, 0, 0], [3, 4, 5, 0, 0]], [[6, 7, 8, 0, 0], [9, 1, 0, 0, 0]]])
    task = make_task(build(SASRec), windows, torch.zeros(2, 2, dtype=torch.int64), KEYS[:2])
    compact = task.compact()
    assert task.weights.shape == (2, 8)
    # seed 0 scores (0, 0), (1, 0), (1, 1) and seed 1 (0, 0), (0, 1), (1, 0): four in all
    assert compact.weights.shape == (2, 4)
    assert torch.equal(compact.items, task.items)
    for seed in (0, 1):
        assert scored(compact, seed) == scored(task, seed)
        assert len(scored(task, seed)) == 3


# ---- last -------------------------------------------------------------------------------------


def test_last_asks_for_the_item_after_a_prefix():
    """One target a window, a weight of 1 / 2 each (exact), and nothing behind the prefix's end."""
    windows = [[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]
    task = task_of(MMMLP, windows, [0, 2], keys=KEYS)
    whole = torch.tensor(windows)
    assert task.user.tolist() == [[0, 1]] * len(KEYS)
    assert (task.weights == 0.5).all()
    for user, ends in enumerate([{0, 1}, {2, 3}]):
        assert set(task.position[:, user].tolist()) == ends
        for end in ends:
            here = task.position[:, user] == end
            prefix = whole[user, : end + 1].tolist() + [0] * (LENGTH - end - 1)
            assert task.items[here, user].unique(dim=0).tolist() == [prefix]
            assert task.targets[here, user].unique().tolist() == [whole[user, end + 1] - 1]


def test_last_draws_every_counted_target_equally_often():
    """Of the five targets from `first` on; the others never, in any of 4,000 draws a window."""
    task = task_of(MMMLP, [[1, 2, 3, 4, 5, 6, 7, 0], [8, 9, 1, 0, 0, 0, 0, 0]], [1, 0], keys=KEYS)
    long, short = task.position.T
    assert set(long.tolist()) == {1, 2, 3, 4, 5}
    assert set(short.tolist()) == {0, 1}
    assert all(within_five_deviations(long == end, 1 / 5) for end in range(1, 6))
    assert all(within_five_deviations(short == end, 1 / 2) for end in (0, 1))
    # windows draw each for themselves: both choices of one occur with all of the other's
    assert within_five_deviations((long == 1) & (short == 0), 1 / 10)


def test_last_takes_the_only_target_there_is():
    task = task_of(MMMLP, [[1, 2, 0, 0, 0], [3, 4, 5, 6, 7]], [0, 3], keys=KEYS)
    assert (task.position == torch.tensor([0, 3])).all()
    assert (task.targets + 1 == torch.tensor([2, 7])).all()


def test_prefixes_score_the_last_target_of_each_window_alone():
    """What `hold_out(prefixes=True)` makes of 1 ... 6 with L = 4, under a causal model. A
    fifth in float32: 1e-7."""
    windows = [[1, 2, 0, 0, 0], [1, 2, 3, 0, 0], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]
    task = task_of(SASRec, windows, [0, 1, 2, 3, 3], keys=KEYS[:50], prefixes=True)
    for seed in range(50):
        found = scored(task, seed)
        assert list(found) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)]
        assert [item for item, _ in found.values()] == [2, 3, 4, 5, 6]
        assert [weight for _, weight in found.values()] == pytest.approx([0.2] * 5, abs=1e-7)
    inputs = [[1, 0, 0, 0], [1, 2, 0, 0], [1, 2, 3, 0], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert (task.items == torch.tensor(inputs)).all()


# ---- cloze ------------------------------------------------------------------------------------

WINDOWS = [[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 10, 0, 0, 0]]
SEEN = torch.tensor([[1, 2, 3, 0], [5, 6, 7, 8], [9, 10, 0, 0]])
"""The last four items: a full window of five leaves out its first, never its last."""


def cloze(**changes: float) -> tuple[Task, Tensor]:
    """The task of 4,000 keys, and which positions it masks, [4000, 3, 4]."""
    task = task_of(BERT4Rec, WINDOWS, keys=KEYS, **changes)
    return task, task.items == MASK


def test_cloze_masks_and_scores_the_same_positions():
    task, masked = cloze(mask_probability=0.3)
    assert torch.equal(task.weights.view(masked.shape) > 0, masked)
    assert not masked[:, SEEN == 0].any()
    assert masked.any(-1).all()
    assert torch.equal(task.items[~masked], SEEN.expand_as(masked)[~masked])
    original = (task.targets + 1).view(masked.shape)
    assert torch.equal(original[masked], SEEN.expand_as(masked)[masked])
    place = torch.arange(12).view(3, 4)
    assert torch.equal(task.user, (place // 4).flatten().expand(len(KEYS), -1))
    assert torch.equal(task.position, (place % 4).flatten().expand(len(KEYS), -1))


def test_cloze_weights_are_equal_and_sum_to_one():
    """At most nine float32 numbers: 1e-6 is eight of their roundings."""
    task, masked = cloze(mask_probability=0.3)
    torch.testing.assert_close(task.weights.sum(1), torch.ones(len(KEYS)), rtol=0, atol=1e-6)
    shares = (1 / masked.flatten(1).sum(1)).unsqueeze(1)
    expected = masked.flatten(1) * shares
    torch.testing.assert_close(task.weights, expected, rtol=0, atol=1e-7)


def test_cloze_masks_each_item_with_its_probability():
    """Without last-only samples; the last item takes over where chance masks none of n."""
    p = 0.3
    _, masked = cloze(mask_probability=p, last_only_probability=0.0)
    for user, n in enumerate([3, 4, 2]):
        for position in range(n - 1):
            assert within_five_deviations(masked[:, user, position], p)
        assert within_five_deviations(masked[:, user, n - 1], p + (1 - p) ** n)
    # positions, and users, draw each for themselves
    assert within_five_deviations(masked[:, 0, 0] & masked[:, 0, 1], p * p)
    assert within_five_deviations(masked[:, 0, 0] & masked[:, 1, 0], p * p)


def test_cloze_masks_the_last_item_alone_in_its_share_of_samples():
    """That share of q, and by chance among the rest: the last of n masked, or none."""
    p, q = 0.3, 0.5
    _, masked = cloze(mask_probability=p, last_only_probability=q)
    for user, n in enumerate([3, 4, 2]):
        last = torch.arange(4) == n - 1
        alone = (masked[:, user] == last).all(-1)
        chance = p * (1 - p) ** (n - 1) + (1 - p) ** n
        assert within_five_deviations(alone, q + (1 - q) * chance)
    _, always = cloze(mask_probability=p, last_only_probability=1.0)
    ends = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]).bool()
    assert (always == ends).all()


def test_cloze_of_a_full_window_sees_its_last_item():
    """L + 1 items, of which the first goes; in a window that is not full nothing goes."""
    task, masked = cloze(mask_probability=0.3)
    asked = (task.targets + 1).view(masked.shape)
    for user, items in enumerate([{1, 2, 3}, {5, 6, 7, 8}, {9, 10}]):
        assert set(task.items[:, user][~masked[:, user]].tolist()) - {0} == items
        assert set(asked[:, user][masked[:, user]].tolist()) == items


@pytest.mark.parametrize("cls", [MMMLP, BERT4Rec])
def test_a_seed_draws_what_it_would_draw_alone(cls):
    together = task_of(cls, WINDOWS, keys=KEYS[:5])
    alone = task_of(cls, WINDOWS, keys=KEYS[3:4])
    assert torch.equal(together.items[3], alone.items[0])
    assert torch.equal(together.targets[3], alone.targets[0])
    assert len(together.items.unique(dim=0)) > 1


# ---- the engine on these tasks ------------------------------------------------------------------

SETTINGS = Training(lr=5e-3, batch_size=16, steps=4, eval_every=2)
WINDOW = 16
WIDTHS = {BERT4Rec: 32, MMMLP: 24}


def maker(cls: type[Recommender]):
    config = cls.Config(dim=WIDTHS.get(cls, 16), max_length=WINDOW, layers=2)
    return lambda: cls(config, catalogue(ITEMS))


@pytest.mark.parametrize(("cls", "groups"), [(BERT4Rec, False), (BERT4Rec, True), (MMMLP, False)])
def test_first_loss_is_that_of_the_task_in_the_plainest_way(cls, groups):
    """One step of one seed against dense logits over all items. Float32 losses near 3.4 that sum in
    another order: 1e-5."""
    windows, queries = sequences(items=ITEMS, length=WINDOW)
    make = maker(cls)
    job = TrainingRun(make, SETTINGS, windows, queries, [2], CPU, groups, lambda _: None, None)
    torch.manual_seed(2)
    model = make()
    index = BatchOrder(len(windows.items), 2).batch(0, 16)
    key = torch.tensor([2, 0])
    items, first = (
        torch.from_numpy(windows.items[index]),
        torch.from_numpy(windows.first_target[index]),
    )
    task = make_task(model, items[None], first[None], key[None])
    states = model(Batch(task.items[0], torch.arange(16), key, training=True)).states
    logits = states[task.user[0], task.position[0]] @ model.item_table().T
    losses = torch.nn.functional.cross_entropy(logits, task.targets[0], reduction="none")
    job.train_step()
    expected = (losses * task.weights[0]).sum().detach()
    torch.testing.assert_close(
        job.fixed_step.sums["recommendation"][0], expected, rtol=1e-5, atol=0
    )


EVERY_KIND = [BERT4Rec, MMMLP, SMLP4Rec, SASRec, NOVA, UniSRec, IISAN, FindRec]


@pytest.mark.parametrize("seeds_at_once", [False, True])
@pytest.mark.parametrize("cls", [*EVERY_KIND, GRU4Rec])
def test_vmap_gives_what_seed_by_seed_does(cls, seeds_at_once, monkeypatch):
    """The way of a GPU against that of a CPU: loss and gradients of a first step of three seeds.
    Float32 sums of some hundred terms in another order: 1e-4 of a leaf's largest gradient.

    seeds_at_once: loss, GRU and scan in the torch ops of a GPU too.
    """
    windows, queries = sequences(items=ITEMS, length=WINDOW)
    loop, vmapped = (
        TrainingRun(
            maker(cls), SETTINGS, windows, queries, [0, 3, 5], CPU, False, lambda _: None, None
        )
        for _ in range(2)
    )
    vmapped.stack.vectorised = True
    for job in (loop, vmapped):
        monkeypatch.setattr(job.optimizer, "step", lambda: None)
        monkeypatch.setattr(job.optimizer, "zero_grad", lambda: None)
    loop.train_step()
    if seeds_at_once:
        monkeypatch.setattr(loss, "_seed_after_seed", loss._seeds_at_once)
        monkeypatch.setattr(recurrent, "seed_after_seed", recurrent.seeds_at_once)
    with use_scan_backend("reference") if seeds_at_once else nullcontext():
        vmapped.train_step()
    for name, value in loop.fixed_step.sums.items():
        torch.testing.assert_close(vmapped.fixed_step.sums[name], value, rtol=1e-5, atol=1e-6)
    for name, leaf in loop.stack.parameters.items():
        tolerance = 1e-4 * float(leaf.grad.abs().max()) + 1e-9
        other = vmapped.stack.parameters[name].grad
        torch.testing.assert_close(other, leaf.grad, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cls", EVERY_KIND)
def test_a_seed_does_not_notice_its_neighbours(cls):
    """Seed 3 alone equals seed 3 in a stack of three, bit for bit, over a short run.

    There are more positions than items, so that what features give is computed for the catalogue
    and looked up.
    """
    windows, queries = sequences(items=ITEMS, length=WINDOW)
    # an objective with fewer targets a step gets more steps
    steps = SETTINGS.steps if cls.objective == "causal" else 4 * SETTINGS.steps
    settings = SETTINGS.model_copy(update={"steps": steps})
    alone, stacked = (
        train(maker(cls), settings, windows, queries, seeds, device=CPU, groups=False)
        for seeds in ([3], [0, 3, 5])
    )
    assert alone.curves[0] == stacked.curves[1]
    assert alone.curves[0].steps[-1] == steps  # a budget is in the steps that run
    for name, value in alone.parameters.items():
        assert torch.equal(value[0], stacked.parameters[name][1]), name
        assert value.isfinite().all(), name
