"""Keyed randomness: same bits from both implementations, coordinates alone decide, statistics.

Statistical tests draw from fixed keys, so they either always pass or always fail; thresholds are at
about four standard errors of what ideal draws would give.
"""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from findrec.ops import dropout, normal, uniform
from findrec.ops.random import hash_bits, stream_code

SIZES = [(), (1,), (7,), (5, 64), (2, 50, 50), (3, 2, 4, 5)]


def key(seed: int = 3, step: int = 11) -> Tensor:
    return torch.tensor([seed, step])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40 + 5, -1])
def test_compiled_loop_equals_torch_ops_bit_for_bit(sizes: tuple[int, ...], seed: int) -> None:
    rows = torch.tensor([0, 5, 2**31 + 3, 17])
    expected = (hash_bits(key(seed), stream_code("a"), rows, list(sizes)).float() + 0.5) * 2.0**-23
    assert torch.equal(uniform(key(seed), "a", rows, *sizes), expected)


def test_golden_draws() -> None:
    """Frozen on first writing: another hash would change every stored result."""
    draws = uniform(key(), "golden", torch.tensor([0, 1]), 3)
    bits = (draws * 2**23 - 0.5).to(torch.int64).tolist()
    assert bits == GOLDEN


GOLDEN = [[3304340, 560675, 4301279], [5320092, 4206434, 5935141]]


def test_range_is_open_and_exact() -> None:
    draws = uniform(key(), "range", torch.arange(1000), 1000).double()
    bits = draws * 2**23 - 0.5
    assert torch.equal(bits, bits.round())
    assert draws.min() > 0
    assert draws.max() < 1


@pytest.mark.parametrize(
    ("rows", "sizes"), [((8,), (50, 64)), ((4, 10), (16,)), ((6,), (2, 9, 9)), ((5,), ())]
)
def test_draw_depends_on_coordinates_alone(rows: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """A shuffled, cut and shortened call gives the matching part of the whole one."""
    whole_rows = torch.arange(torch.Size(rows).numel()).reshape(rows)
    whole = uniform(key(), "a", whole_rows, *sizes)
    order = torch.randperm(rows[0], generator=torch.Generator().manual_seed(0))[: rows[0] // 2]
    short = tuple(max(1, size - 3) for size in sizes)
    part = uniform(key(), "a", whole_rows[order], *short)
    window: tuple[Any, ...] = (order, *(slice(None) for _ in rows[1:]))
    assert torch.equal(part, whole[*window, *(slice(size) for size in short)])


def test_every_coordinate_matters() -> None:
    rows = torch.arange(64)
    draws = [
        uniform(key(3, 11), "a", rows, 64),
        uniform(key(4, 11), "a", rows, 64),
        uniform(key(3, 12), "a", rows, 64),
        uniform(key(11, 3), "a", rows, 64),
        uniform(key(3 + 2**32, 11), "a", rows, 64),
        uniform(key(3, 11), "b", rows, 64),
        uniform(key(3, 11), "a", rows + 64, 64),
        uniform(key(3, 11), "a", rows, 64).T,
    ]
    n = 64 * 64
    for i, one in enumerate(draws):
        for other in draws[:i]:
            r = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
            assert abs(r) < 4 / n**0.5


def test_uniform_statistics() -> None:
    rows, width = 2000, 500
    n = rows * width
    x = uniform(key(), "statistics", torch.arange(rows), width).double()
    assert abs(x.mean() - 1 / 2) < 4 * (1 / 12 / n) ** 0.5
    assert abs(x.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    assert stats.kstest(x.flatten().numpy(), "uniform").pvalue > 1e-3
    centred = (x - 0.5) * 12**0.5
    for lag in (1, 2, 64):
        assert abs((centred[lag:] * centred[:-lag]).mean()) < 4 / n**0.5, "neighbouring rows"
        assert abs((centred[:, lag:] * centred[:, :-lag]).mean()) < 4 / n**0.5, "columns"
    cells = torch.histc(x.float(), 1000, 0, 1)
    assert stats.chisquare(cells.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("which", ["seed", "step"])
def test_neighbouring_keys_are_uncorrelated(which: str) -> None:
    """Also bit by bit: each of the 23 bits differs between neighbouring keys half of the time."""
    rows = torch.arange(500)
    n = 500 * 100
    code = stream_code("a")
    for i in range(10):
        one = hash_bits(key(i, 0) if which == "seed" else key(0, i), code, rows, [100])
        two = hash_bits(key(i + 1, 0) if which == "seed" else key(0, i + 1), code, rows, [100])
        for bit in range(23):
            flips = (((one ^ two) >> bit) & 1).double().mean()
            assert abs(flips - 0.5) < 4.5 * 0.5 / n**0.5  # 460 comparisons: 4.5 standard errors


def test_normal_statistics() -> None:
    x = normal(key(), "normal", torch.arange(2000), 500).double()
    n = x.numel()
    assert abs(x.mean()) < 4 / n**0.5
    assert abs(x.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((x**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert stats.kstest(x.flatten().numpy(), "norm").pvalue > 1e-3
    assert x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999])
def test_dropout_keeps_where_the_uniform_is_large(dtype: torch.dtype, p: float) -> None:
    rows = torch.tensor([3, 1, 2])
    x = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = uniform(key(), "a", rows, 5, 40).double() >= p
    assert torch.equal(dropout(x, p, key(), "a", rows), torch.where(kept, x * (1 / (1 - p)), 0))


def test_dropout_mean_and_rate() -> None:
    n = 128 * 50 * 64
    y = dropout(torch.ones(128, 50, 64), 0.2, key(), "a", torch.arange(128))
    dropped = (y == 0).double().mean()
    assert abs(dropped - 0.2) < 4 * (0.2 * 0.8 / n) ** 0.5


def test_dropout_backward_uses_the_same_mask() -> None:
    x = torch.randn(4, 6, 8, dtype=torch.float64, requires_grad=True)
    rows = torch.arange(4)
    assert torch.autograd.gradcheck(lambda x: dropout(x, 0.3, key(), "a", rows), x)
    # The gradient of a sum arrives with stride 0.
    dropout(x, 0.3, key(), "a", rows).sum().backward()
    assert torch.equal(x.grad, dropout(torch.ones_like(x), 0.3, key(), "a", rows))


def test_dropout_of_non_contiguous_and_empty() -> None:
    rows = torch.arange(4)
    x = torch.randn(8, 6, 4).transpose(0, 2)
    assert torch.equal(
        dropout(x, 0.3, key(), "a", rows), dropout(x.contiguous(), 0.3, key(), "a", rows)
    )
    assert dropout(x[:0], 0.3, key(), "a", rows[:0]).shape == (0, 6, 8)


def test_dropped_nan_is_zero_and_kept_nan_stays() -> None:
    x = torch.full((4, 100), float("nan"))
    y = dropout(x, 0.5, key(), "a", torch.arange(4))
    kept = uniform(key(), "a", torch.arange(4), 100) >= 0.5
    assert torch.equal(y.isnan(), kept)
    assert (y[~kept] == 0).all()


@pytest.mark.parametrize("shared_rows", [True, False])
@pytest.mark.parametrize("dim", [0, 1])
def test_stack_equals_seeds_alone_bit_for_bit(shared_rows: bool, dim: int) -> None:
    seeds = 5
    keys = torch.stack([key(s, 7) for s in range(seeds)])
    rows = (
        torch.arange(6) if shared_rows else torch.stack([torch.randperm(6) for _ in range(seeds)])
    )
    x = torch.randn(6, seeds, 9, 16) if dim else torch.randn(seeds, 6, 9, 16)
    x.requires_grad_()
    row_dim = None if shared_rows else 0

    y = torch.vmap(lambda x, k, r: dropout(x, 0.4, k, "a", r), in_dims=(dim, 0, row_dim))(
        x, keys, rows
    )
    y.square().sum().backward()
    for s in range(seeds):
        alone = x.detach().select(dim, s).clone().requires_grad_()
        r = rows if shared_rows else rows[s]
        expected = dropout(alone, 0.4, keys[s], "a", r)
        assert torch.equal(y[s], expected)
        expected.square().sum().backward()
        assert torch.equal(x.grad.select(dim, s), alone.grad)
    for op in (uniform, normal):
        stacked = torch.vmap(lambda k, r: op(k, "a", r, 3, 7), in_dims=(0, row_dim))(keys, rows)  # noqa: B023
        for s in range(seeds):
            assert torch.equal(stacked[s], op(keys[s], "a", rows if shared_rows else rows[s], 3, 7))


def test_shared_input_under_vmap() -> None:
    """One x for all seeds, and one key for all seeds: masks differ only where keys do."""
    keys = torch.stack([key(1), key(2)])
    x = torch.ones(3, 50, requires_grad=True)
    rows = torch.arange(3)
    y = torch.vmap(lambda k: dropout(x, 0.5, k, "a", rows))(keys)
    assert torch.equal(y[1], dropout(x, 0.5, key(2), "a", rows))
    y.sum().backward()
    assert torch.equal(x.grad, y.sum(0))
    xs = torch.ones(2, 3, 50)
    same = torch.vmap(lambda x: dropout(x, 0.5, key(1), "a", rows))(xs)
    assert torch.equal(same[0], same[1])


def test_site_code_is_fixed() -> None:
    """A literal, because Python's own hash of a string differs from process to process."""
    assert stream_code("encoder.0.attention") == 3424077786


def test_errors() -> None:
    x, rows = torch.ones(3, 4), torch.arange(3)
    with pytest.raises(ValueError, match=r"choose a rate in \[0, 1\)"):
        dropout(x, 1.0, key(), "a", rows)
    with pytest.raises(ValueError, match="does not begin with the shape of rows"):
        dropout(x, 0.5, key(), "a", torch.arange(4))
    with pytest.raises(ValueError, match=r"a key is \[2\] int64"):
        uniform(torch.tensor([1.0, 2.0]), "a", rows)
    with pytest.raises(ValueError, match=r"a key is \[2\] int64"):
        uniform(torch.tensor([1, 2, 3]), "a", rows)
    with pytest.raises(ValueError, match="rows are int64"):
        normal(key(), "a", rows.int())
