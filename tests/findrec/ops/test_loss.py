"""Fused cross-entropy against torch's in float64; memory bounded whatever the catalogue."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

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


def test_vmap_with_shared_table_and_weights() -> None:
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
def test_chunk_is_bounded(items: int, device: str) -> None:
    rows = loss.chunk_rows(items, torch.float32, torch.device(device))
    size = rows * items * 4
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


def test_no_positions() -> None:
    states = torch.randn(0, 3, requires_grad=True)
    table = torch.randn(5, 3, requires_grad=True)
    value = cross_entropy(states, table, torch.zeros(0, dtype=torch.int64), torch.ones(0))
    value.backward()
    assert value.item() == 0
    assert (table.grad == 0).all()


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
    with pytest.raises(ValueError, match="weights are constants"):
        cross_entropy(states, table, targets, weights.requires_grad_())
    for bad in (-1, len(table)):
        wrong = targets.clone()
        wrong[3] = bad
        with pytest.raises(ValueError, match=r"the table has rows 0 \.\. 210"):
            cross_entropy(states, table, wrong, weights.detach())
