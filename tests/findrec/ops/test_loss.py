"""Fused cross-entropy against torch's in float64; memory bounded whatever the catalogue."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from findrec.ops import cross_entropy, loss


def problem(
    positions: int = 150, items: int = 211, width: int = 8, *,
    groups: tuple[int, ...] = (), dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    g = torch.Generator().manual_seed(0)
    states = torch.randn(*groups, positions, width, generator=g, dtype=torch.float64)
    table = torch.randn(*groups, items, width, generator=g, dtype=torch.float64)
    targets = torch.randint(0, items, (*groups, positions), generator=g)
    weights = torch.rand(*groups, positions, generator=g, dtype=torch.float64)
    weights[..., ::7] = 0
    return states.to(dtype), table.to(dtype), targets, weights.to(dtype)


def oracle(states: Tensor, table: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (weights * F.cross_entropy(states @ table.T, targets, reduction="none")).sum()


def run(function, states, table, targets, weights):
    states, table = states.clone().requires_grad_(), table.clone().requires_grad_()
    value = function(states, table, targets, weights)
    (3 * value).backward()
    return value.detach(), states.grad, table.grad


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 rows, so that small problems have several chunks and a rest."""
    monkeypatch.setattr(loss, "LEAST_ROWS", 16)
    monkeypatch.setitem(loss.CHUNK_BYTES, "cpu", 1)


@pytest.mark.parametrize("positions", [1, 15, 16, 150])
def test_equals_torch_in_float64(small_chunks: None, positions: int) -> None:
    """1e-12: the same sums in another order."""
    for a, b in zip(
        run(cross_entropy, *problem(positions)), run(oracle, *problem(positions)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("softmax", ["_softmax_compiled", "_softmax_torch"])
def test_float32_against_float64(
    small_chunks: None, softmax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the largest element, 3e-6: logits near 10 with a rounding of 6e-8 enter an
    exponential. The torch ops that other devices run are held to the same bound."""
    monkeypatch.setattr(loss, "_softmax_compiled", getattr(loss, softmax))
    single = problem(dtype=torch.float32)
    for a, b in zip(run(cross_entropy, *single), run(oracle, *problem()), strict=True):
        assert (a - b).abs().max() < 3e-6 * b.abs().max()


def test_gradcheck(small_chunks: None) -> None:
    states, table, targets, weights = problem(20, 13, 3)
    assert torch.autograd.gradcheck(
        lambda s, t: cross_entropy(s, t, targets, weights),
        (states.requires_grad_(), table.requires_grad_()),
    )


def test_hand_computed() -> None:
    """Equal logits, so log 2 each, weights 1 and 3; a logit's gradient is w (1/2 - [target])."""
    table = torch.tensor([[1.0], [1.0]], requires_grad=True)
    states = torch.tensor([[2.0], [-1.0]], requires_grad=True)
    value = cross_entropy(states, table, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    value.backward()
    assert value.item() == pytest.approx(4 * torch.log(torch.tensor(2.0)).item(), rel=1e-6)
    torch.testing.assert_close(states.grad, torch.zeros(2, 1))
    torch.testing.assert_close(table.grad, torch.tensor([[-1 - 1.5], [1 + 1.5]]))


def test_large_logits_neither_overflow_nor_vanish() -> None:
    states = torch.tensor([[1e4], [-1e4]])
    table = torch.tensor([[1.0], [-1.0], [0.0]])
    targets = torch.tensor([0, 0])
    assert cross_entropy(states, table, targets, torch.tensor([1.0, 0.0])).item() == 0
    assert cross_entropy(states, table, targets, torch.tensor([0.0, 1.0])).item() == 2e4


@pytest.mark.parametrize("softmax", ["_softmax_compiled", "_softmax_torch"])
def test_weight_zero_silences_a_nan_and_weight_one_does_not(
    softmax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_softmax_compiled", getattr(loss, softmax))
    states, table, targets, weights = problem()
    states[0] = float("nan")
    value, grad_states, _ = run(cross_entropy, states, table, targets, weights)
    assert value == run(cross_entropy, *problem())[0]
    assert (grad_states[0] == 0).all()
    weights[0] = 1
    assert cross_entropy(states, table, targets, weights).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stack_equals_seeds_alone_bit_for_bit(small_chunks: None, dtype: torch.dtype) -> None:
    stacked = problem(groups=(5,), dtype=dtype)
    value, grad_states, grad_table = run(lambda *a: torch.vmap(cross_entropy)(*a).sum(), *stacked)
    losses = torch.vmap(cross_entropy)(*stacked)
    for s in range(5):
        alone = run(cross_entropy, *(x[s] for x in stacked))
        assert torch.equal(losses[s], alone[0])
        assert torch.equal(grad_states[s], alone[1])
        assert torch.equal(grad_table[s], alone[2])
    torch.testing.assert_close(value, losses.sum())


@pytest.mark.parametrize("path", ["_seed_after_seed", "_seeds_at_once"])
def test_vmap_with_shared_table_and_weights(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_seed_after_seed", getattr(loss, path))
    states, table, targets, weights = problem(groups=(3,))
    shared = table[0].clone().requires_grad_()
    torch.vmap(cross_entropy, in_dims=(0, None, 0, None))(
        states, shared, targets, weights[0]
    ).sum().backward()
    found = shared.grad.clone()
    shared.grad = None
    for s in range(3):
        oracle(states[s], shared, targets[s], weights[0]).backward()
    torch.testing.assert_close(found, shared.grad, rtol=1e-12, atol=1e-12)


def test_threads_change_nothing_in_the_softmax(threads: None) -> None:
    logits = torch.randn(50, 300)
    targets, weights = torch.randint(0, 300, (50,)), torch.rand(50)
    results = []
    for count in (1, 2, 7):
        torch.set_num_threads(count)
        copy = logits.clone()
        results.append((loss._softmax_compiled(copy, targets, weights, True), copy))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_second_backward_gives_the_same() -> None:
    states, table, targets, weights = problem()
    states.requires_grad_()
    value = cross_entropy(states, table, targets, weights)
    (first,) = torch.autograd.grad(value, states, retain_graph=True)
    (second,) = torch.autograd.grad(value, states)
    assert torch.equal(first, second)


def test_no_gradients_without_need() -> None:
    """Validation must not pay for gradients: there is no graph."""
    states, table, targets, weights = problem()
    assert cross_entropy(states, table, targets, weights).grad_fn is None
    with torch.no_grad():
        assert cross_entropy(states.requires_grad_(), table, targets, weights).grad_fn is None


@pytest.mark.parametrize("items", [100, 2_423, 100_000, 3_000_000])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("seeds", [1, 10])
def test_chunk_is_bounded(items: int, device: str, seeds: int) -> None:
    rows = loss.chunk_rows(items, torch.float32, torch.device(device), seeds)
    size = seeds * rows * items * 4
    assert size <= loss.CHUNK_BYTES[device] or rows == loss.LEAST_ROWS
    assert rows >= loss.LEAST_ROWS


PEAK = """
import resource, torch
from findrec.ops import cross_entropy
S, M, N, D = {shape}
torch.set_num_threads(1)
states = torch.randn(S, M, D, requires_grad=True)
table = (0.1 * torch.randn(S, N, D)).requires_grad_()
targets = torch.randint(0, N, (S, M))
weights = torch.ones(S, M)
def step(s, t, y, w):
    torch.vmap(cross_entropy)(s, t, y, w).sum().backward()
step(states[:, :4, :4], table[:, :50, :4], targets[:, :4] % 50, weights[:, :4])
states.grad = table.grad = None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(states, table, targets, weights)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_peak_memory_of_a_large_catalogue() -> None:
    """100k items and ten seeds. The logits would be 10 x 512 x 100k x 4 B = 2.0 GB; allowed are the
    gradients twice (as computed and as scaled), one chunk, and 64 MB for the allocator."""
    shape = seeds, positions, items, width = 10, 512, 100_000, 8
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(shape=shape)], capture_output=True, text=True, check=True
    )
    gradients = 4 * seeds * width * (positions + items)
    chunk = 4 * items * loss.chunk_rows(items, torch.float32, torch.device("cpu"))
    assert int(done.stdout) < 2 * gradients + chunk + 2**26


# ---- the path of every other device, run on a CPU -----------------------------------------------


@pytest.fixture
def seeds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched products over the seeds, as on a GPU."""
    monkeypatch.setattr(loss, "_seed_after_seed", loss._seeds_at_once)


@pytest.mark.parametrize("positions", [1, 15, 16, 17, 32, 150])
@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_seeds_at_once_equal_log_softmax(
    small_chunks: None,
    seeds_at_once: None,
    positions: int,
    seeds: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    """Losses and gradients of every seed, relative to the largest element: against log_softmax in
    float64, each seed with positions of weight 0 of its own. Tolerances as for the other path."""
    states, table, targets, weights = problem(positions, groups=(seeds,))
    for s in range(seeds):
        weights[s, s :: s + 2] = 0
    rounded = states.to(dtype).requires_grad_(), table.to(dtype).requires_grad_()
    losses = torch.vmap(cross_entropy)(*rounded, targets, weights.to(dtype))
    upstream = torch.arange(1.0, seeds + 1, dtype=dtype)  # a factor of its own for every seed
    (losses * upstream).sum().backward()
    exact = states.requires_grad_(), table.requires_grad_()
    chosen = (states @ table.mT).log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    expected = -(weights * chosen).sum(-1)
    (expected * upstream).sum().backward()
    pairs = [(losses, expected), *((r.grad, e.grad) for r, e in zip(rounded, exact, strict=True))]
    for found, reference in pairs:
        bound = tolerance * max(reference.detach().abs().max().item(), 1e-3)
        assert (found.double() - reference).abs().max() <= bound


def test_seeds_at_once_do_not_mix_seeds(small_chunks: None, seeds_at_once: None) -> None:
    """A seed whose states and table are not finite leaves the others' values as they are."""
    states, table, targets, weights = problem(groups=(3,))
    before = torch.vmap(cross_entropy)(states, table, targets, weights)
    states[1], table[1] = float("nan"), float("inf")
    after = torch.vmap(cross_entropy)(states, table, targets, weights)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert after[1].isnan()


def test_seeds_at_once_gradcheck(small_chunks: None, seeds_at_once: None) -> None:
    states, table, targets, weights = problem(20, 13, 3, groups=(2,))
    assert torch.autograd.gradcheck(
        lambda s, t: torch.vmap(cross_entropy)(s, t, targets, weights),
        (states.requires_grad_(), table.requires_grad_()),
    )


def test_seeds_at_once_silence_a_nan_of_weight_zero(seeds_at_once: None) -> None:
    states, table, targets, weights = problem(groups=(2,))
    clean = torch.vmap(cross_entropy)(states, table, targets, weights)
    states[:, 0] = float("nan")
    states.requires_grad_()
    losses = torch.vmap(cross_entropy)(states, table, targets, weights)
    losses.sum().backward()
    assert torch.equal(losses, clean)
    assert (states.grad[:, 0] == 0).all()


class Storages(TorchDispatchMode):
    """Keeps every tensor that ops return, so that the sizes of their storages can be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.kept.setdefault(leaf.untyped_storage()._cdata, leaf)
        return result

    def elements(self) -> list[int]:
        """Of every storage, the largest first."""
        sizes = [t.untyped_storage().nbytes() // t.itemsize for t in self.kept.values()]
        return sorted(sizes, reverse=True)


def storages_of_a_step(seeds: int, positions: int, items: int, width: int) -> list[int]:
    """Elements of all storages of a step as a GPU would run it, the largest first.

    The meta device knows shapes alone, so that a large catalogue costs nothing.
    """
    meta = torch.device("meta")
    states = torch.empty(seeds, positions, width, device=meta, requires_grad=True)
    table = torch.empty(seeds, items, width, device=meta, requires_grad=True)
    targets = torch.empty(seeds, positions, dtype=torch.int64, device=meta)
    weights = torch.empty(seeds, positions, device=meta)
    with Storages() as storages:
        torch.vmap(cross_entropy)(states, table, targets, weights).sum().backward()
    assert table.grad.shape == table.shape
    return storages.elements()


@pytest.mark.parametrize("seeds", [1, 3, 10])
@pytest.mark.parametrize("items", [2_423, 100_000])
def test_seeds_at_once_hold_one_chunk_of_logits(seeds: int, items: int) -> None:
    """6,400 positions: all logits of ten seeds and 100k items would be 6.4 billion. A chunk has
    2^28 bytes, or 64 positions of each seed; the step holds one, and beside it nothing larger than
    its inputs."""
    rows = loss.chunk_rows(items, torch.float32, torch.device("cuda"), seeds)
    chunk = seeds * rows * items
    assert chunk <= max(2**28 // 4, seeds * 64 * items)
    inputs = seeds * max(items, 6_400) * 64
    largest, *others = storages_of_a_step(seeds, 6_400, items, 64)
    assert largest == max(min(chunk, seeds * 6_400 * items), inputs)
    assert others[0] <= inputs


def test_all_logits_fit_one_chunk_where_they_are_few() -> None:
    """A small problem takes no more than its own logits."""
    assert storages_of_a_step(2, 30, 500, 8)[0] == 2 * 30 * 500


def test_no_positions() -> None:
    states = torch.randn(0, 3, requires_grad=True)
    table = torch.randn(5, 3, requires_grad=True)
    value = cross_entropy(states, table, torch.zeros(0, dtype=torch.int64), torch.ones(0))
    value.backward()
    assert value.item() == 0
    assert (table.grad == 0).all()


# ---- rows of the table that are left out --------------------------------------------------------


def left_out_of(targets: Tensor, items: int, most: int = 6) -> Tensor:
    """[..., M, 6]: items of every position, some twice and some of them the target itself."""
    drawn = torch.randint(
        0, items, (*targets.shape, most), generator=torch.Generator().manual_seed(1)
    )
    drawn[..., 1] = drawn[..., 0]
    drawn[..., ::2, 2] = targets[..., ::2]
    return drawn


def slow_loss(
    states: Tensor, table: Tensor, targets: Tensor, weights: Tensor, left_out: Tensor
) -> Tensor:
    """Position by position, the logsumexp over a list of the items that compete."""
    total = states.new_zeros(())
    for m, target in enumerate(targets.tolist()):
        out = set(left_out[m].tolist()) - {target}
        competing = [n for n in range(len(table)) if n not in out]
        logits = torch.stack([states[m] @ table[n] for n in competing])
        total = total + weights[m] * (logits.logsumexp(0) - states[m] @ table[target])
    return total


def run_left_out(function, states, table, targets, weights):
    left_out = left_out_of(targets, table.shape[-2])
    return run(lambda *tensors: function(*tensors, left_out), states, table, targets, weights)


@pytest.mark.parametrize("softmax", ["_softmax_compiled", "_softmax_torch"])
@pytest.mark.parametrize("positions", [1, 16, 37])
def test_left_out_equals_a_slow_loop(
    small_chunks: None, positions: int, softmax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and both gradients in float64. 1e-12: the same sums in another order."""
    monkeypatch.setattr(loss, "_softmax_compiled", getattr(loss, softmax))
    own = problem(positions, 23)
    for a, b in zip(run_left_out(cross_entropy, *own), run_left_out(slow_loss, *own), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("softmax", ["_softmax_compiled", "_softmax_torch"])
def test_left_out_in_float32(
    small_chunks: None, softmax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of the whole softmax (above): nothing that is left out adds to a sum or a gradient,
    though the compiled exponential ends at 2^-126 and not at 0."""
    monkeypatch.setattr(loss, "_softmax_compiled", getattr(loss, softmax))
    single = run_left_out(cross_entropy, *problem(37, 23, dtype=torch.float32))
    for a, b in zip(single, run_left_out(slow_loss, *problem(37, 23)), strict=True):
        assert (a - b).abs().max() < 3e-6 * b.abs().max()


def test_left_out_gradcheck(small_chunks: None) -> None:
    states, table, targets, weights = problem(20, 13, 3)
    left_out = left_out_of(targets, 13)
    assert torch.autograd.gradcheck(
        lambda s, t: cross_entropy(s, t, targets, weights, left_out),
        (states.requires_grad_(), table.requires_grad_()),
    )


def test_the_target_is_never_left_out() -> None:
    """Listing the target alone changes nothing, to the bit; leaving out all else leaves no loss."""
    states, table, targets, weights = problem(items=5)
    alone = targets.unsqueeze(1).expand(-1, 3)
    for a, b in zip(
        run(lambda s, t, y, w: cross_entropy(s, t, y, w, alone), states, table, targets, weights),
        run(cross_entropy, states, table, targets, weights),
        strict=True,
    ):
        assert torch.equal(a, b)
    everything = torch.arange(5).expand(len(targets), -1)
    assert cross_entropy(states, table, targets, weights, everything).item() == 0


@pytest.mark.parametrize("path", ["_seed_after_seed", "_seeds_at_once"])
def test_left_out_under_vmap(
    small_chunks: None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds at once, as a GPU and as a CPU computes them, against each alone; float64."""
    monkeypatch.setattr(loss, "_seed_after_seed", getattr(loss, path))
    states, table, targets, weights = problem(37, 23, groups=(2,))
    left_out = left_out_of(targets, 23)
    stacked = run(
        lambda s, t, y, w: torch.vmap(cross_entropy)(s, t, y, w, left_out).sum(),
        states, table, targets, weights,
    )  # fmt: skip
    losses = torch.vmap(cross_entropy)(states, table, targets, weights, left_out)
    for s in range(2):
        alone = run(
            lambda *x, out=left_out[s]: slow_loss(x[0], x[1], x[2], x[3], out),
            states[s], table[s], targets[s], weights[s],
        )  # fmt: skip
        for a, b in zip((losses[s], stacked[1][s], stacked[2][s]), alone, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_errors() -> None:
    states, table, targets, weights = problem()
    with pytest.raises(ValueError, match=r"takes states \[M, D\] and table \[N, D\]"):
        cross_entropy(states[:, :3], table, targets, weights)
    with pytest.raises(ValueError, match="both in float32 or both in float64"):
        cross_entropy(states.float(), table, targets, weights)
    with pytest.raises(ValueError, match="targets have shape"):
        cross_entropy(states, table, targets[:-1], weights)
    with pytest.raises(ValueError, match="weights have shape"):
        cross_entropy(states, table, targets, weights[:-1])
    with pytest.raises(ValueError, match="must be int64"):
        cross_entropy(states, table, targets.int(), weights)
    for rows in (targets, targets[:-1].unsqueeze(1), targets.unsqueeze(1).int()):
        with pytest.raises(ValueError, match=r"left_out is .* one row for each of 150 states"):
            cross_entropy(states, table, targets, weights, rows)
    with pytest.raises(ValueError, match="weights are constants"):
        cross_entropy(states, table, targets, weights.requires_grad_())
    for bad in (-1, len(table)):
        wrong = targets.clone()
        wrong[3] = bad
        with pytest.raises(ValueError, match=r"the table has rows 0 \.\. 210"):
            cross_entropy(states, table, wrong, weights.detach())
