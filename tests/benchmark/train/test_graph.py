"""The step on fixed buffers: replayed, cut into parts of fixed sizes, refused, restored.

What a CUDA graph itself does is seen on a GPU alone (`gpu-check`). Here a replay calls the step's
device part, `FixedStep.compute`, again, so that all around it runs: warm-up, recording without
execution, the tables that are filled in blocks, sums that stay, a refusal.
"""

import itertools
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.bert4rec import BERT4Rec
from baselines.gru4rec import GRU4Rec
from baselines.mmmlp import MMMLP
from baselines.sasrec import SASRec
from benchmark.runs.spec import Training
from benchmark.train import graph
from benchmark.train.engine import TrainingRun
from benchmark.train.graph import WARM_UP, FixedStep, graphs_wanted, input_lengths
from benchmark.train.groups import FIXED_OVERHEAD, FixedGroups, fixed_sizes
from benchmark.train.order import BatchOrder
from findrec.model import FindRec
from findrec.ops import use_scan_backend
from tests.benchmark.train.synthetic import sequences
from tests.catalogues import catalogue

CPU = torch.device("cpu")
ITEMS, WINDOW = 30, 12
SETTINGS = Training(lr=5e-3, batch_size=16, steps=11, eval_every=4, warmup_steps=2)
EVERY_KIND = [SASRec, FindRec, BERT4Rec, GRU4Rec, MMMLP]


class Again:
    """A capture that executes nothing when it records, as CUDA's, and replays by a call."""

    def __init__(self) -> None:
        self.warmed = self.replayed = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        self.warmed += 1
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], object]:
        def replay() -> None:
            self.replayed += 1
            function()

        return replay


class Refuses(Again):
    def __init__(self, error: RuntimeError) -> None:
        super().__init__()
        self.error = error

    def record(self, function: Callable[[], None]) -> Callable[[], object]:
        raise self.error


def job(cls, seeds, settings=SETTINGS, *, vectorised=False, **data) -> TrainingRun:
    windows, queries = sequences(items=ITEMS, length=WINDOW, **data)
    heads = {"heads": 2, "align_dim": 16} if cls is FindRec else {}
    dim = WINDOW if cls is MMMLP else 16
    config = cls.Config(dim=dim, max_length=WINDOW, dropout=0.2, **heads)
    fields = seeds, CPU, False, lambda _: None, None
    run = TrainingRun(lambda: cls(config, catalogue(ITEMS)), settings, windows, queries, *fields)
    run.stack.vectorised = vectorised
    return run


def cut_step(run: TrainingRun, sizes: list[tuple[int, int]]) -> FixedStep:
    """The run's step with parts of fixed sizes, as on a GPU."""
    step = FixedStep(run.stack, run.optimizer, run.training, run.windows, CPU, sizes=sizes)
    run.fixed_step = step
    return step


def same(left: TrainingRun, right: TrainingRun) -> None:
    for name, value in left.stack.parameters.items():
        assert torch.equal(value, right.stack.parameters[name]), name
    assert left.curves == right.curves


# ---- replayed --------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [[1], [1, 4]], ids=["one seed", "two seeds at once"])
@pytest.mark.parametrize("cls", EVERY_KIND)
def test_replayed_steps_are_the_steps_bit_for_bit(cls, seeds):
    """Over a whole run with evaluations in between, in more than one block of the table."""
    several = len(seeds) > 1
    with use_scan_backend("reference") if several else nullcontext():
        eager, replayed = (job(cls, seeds, vectorised=several) for _ in range(2))
        replayed.fixed_step.capture = capture = Again()
        eager.run(), replayed.run()
    same(eager, replayed)
    assert capture.warmed == WARM_UP
    assert capture.replayed == SETTINGS.steps - WARM_UP
    assert replayed.execution == "CUDA graph"
    assert eager.execution == "op by op"


def test_the_tables_hold_each_steps_batch_key_and_rate(monkeypatch):
    """Blocks of five steps, begun anywhere: after a restored checkpoint the table starts with the
    step that is next."""
    monkeypatch.setattr(graph, "BLOCK", 5)
    run = job(SASRec, [3, 8])
    step, orders = run.fixed_step, [BatchOrder(len(run.windows.items), s) for s in (3, 8)]
    monkeypatch.setattr(step, "_run", lambda cut: step.counter.add_(1))
    for at in [4, 5, 6, 7, 8, 9, 10, 2, 3]:
        step(at)
        slot = at % 5
        expected = np.stack([order.batch(at, 16) for order in orders])
        index, order = step.table[slot].numpy()
        np.testing.assert_array_equal(index, expected)
        lengths = np.take_along_axis(step.lengths[index], order, 1)
        assert (np.diff(lengths) <= 0).all()
        assert int(step.counter) == at + 1


# ---- parts of fixed sizes ----------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [[1], [1, 4]], ids=["one seed", "two seeds at once"])
@pytest.mark.parametrize("cls", [c for c in EVERY_KIND if not c.fixed_length])
def test_fixed_parts_change_nothing_but_float_order(cls, seeds):
    """Dropout and sampled positions included. Two steps in float32: 2e-5 on parameters of order 0.1
    leaves room for Adam, which divides by the root of tiny second moments, and none for a position
    that is lost or counted twice. The losses before them differ by rounding alone: 1e-5."""
    several = len(seeds) > 1
    settings = SETTINGS.model_copy(update={"steps": 2, "eval_every": 2})
    with use_scan_backend("reference") if several else nullcontext():
        whole, cut = (job(cls, seeds, settings, vectorised=several) for _ in range(2))
        step = cut_step(cut, [(10, WINDOW), (6, 8)])
        for run in (whole, cut):
            run.train_step(), run.train_step()
    assert all(step.fitting[at] for at in range(2)), "the test needs batches that fit"
    for name, value in whole.fixed_step.sums.items():
        torch.testing.assert_close(step.sums[name], value, rtol=1e-5, atol=1e-5)
    for name, value in whole.stack.parameters.items():
        torch.testing.assert_close(value, cut.stack.parameters[name], rtol=0, atol=2e-5)


def test_a_batch_that_does_not_fit_runs_whole():
    """Each kind of step has a recording of its own."""
    run = job(SASRec, [1], SETTINGS.model_copy(update={"steps": 40, "eval_every": 40}))
    step = cut_step(run, [(7, WINDOW), (9, 6)])
    step.capture = capture = Again()
    fits = []
    for at in range(40):
        run.train_step()
        fits.append(step.fitting[at])
    assert min(sum(fits), 40 - sum(fits)) > WARM_UP, "the test needs batches of both kinds"
    assert capture.warmed == 2 * WARM_UP
    assert set(step.replays) == {True, False}


@pytest.mark.parametrize("users", [1, 7, 24])
def test_the_layout_places_every_position_once(users):
    rng = np.random.default_rng(users)
    lengths = -np.sort(-rng.integers(1, WINDOW + 1, users))
    order = rng.permutation(users)  # the row that each rank has
    long = (users + 1) // 2
    sizes = [(long, WINDOW), (users - long, int(lengths[long]) if long < users else 1)]
    groups = FixedGroups.of([size for size in sizes if size[0]], CPU)
    assert groups.fits(lengths[None])
    layout = groups.layout(torch.from_numpy(order)[None], WINDOW)[0].numpy()
    rows = [row.numpy() for row in groups.rows(torch.from_numpy(order)[None])]
    places = [
        (int(user), t)
        for part, (_, longest) in zip(rows, groups.sizes, strict=True)
        for user in part[0]
        for t in range(longest)
    ]
    for at, (user, t) in enumerate(places):
        assert layout[user, t] == at
        assert order[groups.rank[at]] == user
        assert groups.position[at] == t
    held = np.zeros((users, WINDOW), dtype=bool)
    held[tuple(np.transpose(places))] = True
    assert (layout[~held] == 0).all()
    assert all(held[order[r], : lengths[r]].all() for r in range(users))


def test_parts_that_are_too_short_do_not_fit():
    groups = FixedGroups.of([(2, 9), (3, 4)], CPU)
    assert groups.fits(np.array([[9, 7, 4, 4, 1], [2, 1, 1, 1, 1]]))
    assert not groups.fits(np.array([[9, 7, 4, 4, 1], [9, 9, 5, 1, 1]]))


@pytest.mark.parametrize("seeds", [1, 10])
def test_fixed_sizes_are_the_cheapest_of_all_cuts(seeds):
    """Against a plain search over every pair of lengths, and by the batches that are drawn."""
    rng = np.random.default_rng(0)
    window, users = 50, 256
    lengths = np.minimum(rng.geometric(0.09, 4_400), window)
    sizes, overhead = fixed_sizes(lengths, users, window, seeds), FIXED_OVERHEAD / seeds
    assert sum(count for count, _ in sizes) == users
    assert sizes[0][1] == window

    def cost(cuts):
        total, low = 0, 0
        for longest, cut in itertools.pairwise((window, *cuts, 0)):
            share = (lengths > cut).mean()
            room = users * share + 4 * np.sqrt(users * share * (1 - share))
            high = users if cut == 0 else min(int(np.ceil(room)), users)
            total, low = total + (high - low) * longest + overhead * (high > low), high
        return total

    best = min(cost(cuts) for n in range(3) for cuts in itertools.combinations(range(49, 0, -1), n))
    assert sum(c * n + overhead for c, n in sizes) == best
    assert sum(c * n for c, n in sizes) < 0.6 * users * window
    groups, order = FixedGroups.of(sizes, CPU), BatchOrder(len(lengths), 0)
    drawn = [-np.sort(-lengths[order.batch(s, users)])[None] for s in range(1_000)]
    assert sum(groups.fits(own) for own in drawn) >= 998  # some 0.1 are expected not to fit


def test_equal_lengths_are_not_cut():
    assert fixed_sizes(np.full(100, 20), 64, 20, 10) == [(64, 20)]


def test_input_lengths_are_those_of_the_objective():
    """Causal inputs lack the last item; a cloze model sees it, and at most L items."""
    windows, _ = sequences(items=ITEMS, length=4)
    items = np.array([[1, 2, 0, 0, 0], [1, 2, 3, 4, 5], [1, 2, 3, 4, 0]])
    windows = replace(windows, items=items)
    assert input_lengths(windows, cloze=False).tolist() == [1, 4, 3]
    assert input_lengths(windows, cloze=True).tolist() == [2, 4, 4]


# ---- refused, restored ---------------------------------------------------------------------------


def test_a_refused_capture_says_so_once_and_changes_no_result():
    eager, refused = job(SASRec, [1, 4]), job(SASRec, [1, 4])
    refused.fixed_step.capture = Refuses(RuntimeError("operation not permitted\nmore lines"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refused.run()
    eager.run()
    same(eager, refused)
    (warning,) = said
    assert "SASRec could not be captured" in str(warning.message)
    assert "FINDREC_GRAPH=off" in str(warning.message)
    assert refused.execution == "op by op (capture failed: operation not permitted)"


def test_memory_that_runs_out_while_recording_is_not_a_refusal():
    """The caller then trains fewer seeds at once."""
    run = job(SASRec, [1])
    run.fixed_step.capture = Refuses(torch.OutOfMemoryError("no memory"))
    with pytest.raises(torch.OutOfMemoryError):
        run.run()


def test_a_state_is_copied_into_the_tensors_that_are_there():
    """A recorded step has their addresses; the run goes on bit for bit."""
    whole, source, target = (job(SASRec, [1, 4]) for _ in range(3))
    whole.run()
    for _ in range(6):
        source.train_step()
    target.fixed_step.capture = Again()
    for _ in range(WARM_UP + 2):  # recorded, and elsewhere
        target.train_step()

    def addresses() -> list[int]:
        moments = [t for own in target.optimizer.state.values() for t in own.values()]
        tensors = [*target.stack.parameters.values(), *moments, *target.fixed_step.sums.values()]
        return [t.data_ptr() for t in tensors]

    before = addresses()
    target.restore(source.state())
    assert addresses() == before
    target.run()
    for name, value in whole.stack.parameters.items():
        assert torch.equal(value, target.stack.parameters[name]), name
    # `source` took no evaluation at step 4, whose sums it therefore still had.
    assert target.curves[0].validation == whole.curves[0].validation[1:]


def test_the_variable_that_turns_graphs_off(monkeypatch):
    for value, wanted in (("off", False), ("on", True), ("", True)):
        monkeypatch.setenv("FINDREC_GRAPH", value)
        assert graphs_wanted() is wanted
    monkeypatch.setenv("FINDREC_GRAPH", "no")
    with pytest.raises(ValueError, match="set it to on or off"):
        graphs_wanted()


# ---- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vectorised", [False, True], ids=["seed by seed", "at once"])
@pytest.mark.parametrize("cls", EVERY_KIND)
def test_bfloat16_products_stay_close(cls, vectorised):
    """Against float32 over three steps. A factor has eight bits: 4e-3 of itself, which averages out
    in a loss (1e-6 to 2e-4 were found, 2e-3 is allowed) and turns the parameters' move, that Adam
    makes of signs rather than sizes, by a cosine of 0.98 to 1 (0.9). That it is not 1 to the bit
    shows that bfloat16 was used, but by GRU4Rec, whose products are those of an op in float32."""
    with use_scan_backend("reference") if vectorised else nullcontext():
        runs = {}
        for precision in ("fp32", "bf16"):
            settings = SETTINGS.model_copy(update={"precision": precision})
            run = runs[precision] = job(cls, [1, 4], settings, vectorised=vectorised)
            start = [p.detach().clone() for p in run.stack.parameters.values()]
            for _ in range(3):
                run.train_step()
            assert {p.dtype for p in run.stack.parameters.values()} == {torch.float32}
            assert all(s.dtype == torch.float32 for s in run.fixed_step.sums.values())
            ends = run.stack.parameters.values()
            moves = [(p - s).flatten() for p, s in zip(ends, start, strict=True)]
            runs[precision] = run, torch.cat(moves)
    (single, move), (half, half_move) = runs.values()
    left, right = (run.fixed_step.sums["recommendation"] for run in (single, half))
    torch.testing.assert_close(left, right, rtol=2e-3, atol=0)
    assert torch.nn.functional.cosine_similarity(move, half_move, 0) > 0.9
    if cls is not GRU4Rec:
        assert not torch.equal(move, half_move)


def test_tf32_is_allowed_in_a_step_alone(monkeypatch):
    """TF32 itself is a GPU's; here, that torch is told and told back."""
    seen: list[str] = []
    step = graph.training_step
    monkeypatch.setattr(
        graph,
        "training_step",
        lambda *a, **k: seen.append(torch.get_float32_matmul_precision()) or step(*a, **k),
    )
    for precision in ("tf32", "fp32", "bf16"):
        job(SASRec, [1], SETTINGS.model_copy(update={"precision": precision})).train_step()
    assert seen == ["high", "highest", "highest"]
    assert torch.get_float32_matmul_precision() == "highest"
