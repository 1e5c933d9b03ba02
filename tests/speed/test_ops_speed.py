"""Speed of the ops on a CPU, beside what torch offers: run with --benchmark-only.

One thread unless said; sizes are a Beauty batch of 128 users (50 positions, width 64, about 1,400
valid positions after cutting to lengths, 6,400 before) and Mamba's scan at width 128, 16 states.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from findrec.ops import cross_entropy, dropout, gru, selective_scan
from findrec.ops.scan import reference

KEY = torch.tensor([1, 2])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(128, 50, 64), (128, 2, 50, 50)], ids=str)
@pytest.mark.parametrize("which", ["ours", "torch"])
def test_dropout(benchmark: Any, which: str, shape: tuple[int, ...]) -> None:
    x, rows = torch.randn(shape), torch.arange(shape[0])
    benchmark.group = f"dropout {shape}"
    if which == "ours":
        benchmark(lambda: dropout(x, 0.2, KEY, "speed", rows))
    else:
        benchmark(lambda: F.dropout(x, 0.2))


def test_dropout_overhead_under_vmap(benchmark: Any) -> None:
    """A small tensor, forward and backward: what a call costs beside its work."""
    x, rows = torch.randn(1, 2, 8, requires_grad=True), torch.arange(2)

    def twenty(x: Tensor, key: Tensor) -> Tensor:
        for _ in range(20):
            x = dropout(x, 0.2, key, "speed", rows)
        return x

    benchmark.group = "20 small dropouts under vmap, forward and backward"
    benchmark(lambda: torch.vmap(twenty)(x, KEY[None]).sum().backward())


@pytest.mark.parametrize("length", [50, 100])
@pytest.mark.parametrize("direction", ["forward", "forward and backward"])
@pytest.mark.parametrize("which", ["compiled", "compiled, 2 threads", "torch loop"])
def test_scan(benchmark: Any, which: str, direction: str, length: int) -> None:
    users, width, size = 128, 128, 16
    inputs = [
        torch.randn(users, length, width),
        F.softplus(torch.randn(users, length, width) - 3),
        -torch.arange(1.0, size + 1).repeat(width, 1),
        torch.randn(users, length, size),
        torch.randn(users, length, size),
        torch.ones(width),
        torch.randn(users, length, width),
    ]
    if which.endswith("2 threads"):
        torch.set_num_threads(2)
    scan: Callable[..., Tensor] = reference if which == "torch loop" else selective_scan
    benchmark.group = f"scan, length {length}, {direction}"
    if direction == "forward":
        benchmark(lambda: scan(*inputs))
    else:
        leaves = [x.requires_grad_() for x in inputs]
        weights = torch.ones(users, length, width)
        benchmark(lambda: scan(*leaves).backward(weights))


@pytest.mark.parametrize(("positions", "items"), [(1_400, 2_423), (6_400, 2_423), (512, 100_000)])
@pytest.mark.parametrize("which", ["ours", "torch"])
def test_cross_entropy(benchmark: Any, which: str, positions: int, items: int) -> None:
    states = torch.randn(positions, 64, requires_grad=True)
    table = (0.1 * torch.randn(items, 64)).requires_grad_()
    targets, weights = torch.randint(0, items, (positions,)), torch.rand(positions)

    def ours() -> None:
        cross_entropy(states, table, targets, weights).backward()

    def torchs() -> None:
        (weights * F.cross_entropy(states @ table.T, targets, reduction="none")).sum().backward()

    benchmark.group = f"cross-entropy, {positions} x {items}, forward and backward"
    benchmark(ours if which == "ours" else torchs)


@pytest.mark.parametrize("which", ["ours", "torch"])
def test_gru(benchmark: Any, which: str) -> None:
    layer = torch.nn.GRU(64, 64, batch_first=True)
    x = torch.randn(128, 50, 64)
    benchmark.group = "GRU, forward and backward"
    if which == "ours":
        stacked = [p.detach()[None].clone().requires_grad_() for p in layer.parameters()]
        benchmark(lambda: torch.vmap(gru)(x[None], *stacked).sum().backward())
    else:
        benchmark(lambda: layer(x)[0].sum().backward())
