"""Cross-attention and expert routing, number by number."""

import math

import pytest
import torch
from torch import Tensor

from findrec.recommender import Batch
from findrec.routing import CrossAttention, ExpertRouting, gate_statistics

HEADS, WIDTH, LENGTH = 2, 3, 4


@pytest.fixture
def batch() -> Batch:
    items = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    return Batch(items, torch.arange(2), torch.tensor([0, 0]))


@pytest.fixture
def streams() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 2, LENGTH, HEADS * WIDTH)
    image, text = torch.randn(shape, generator=generator, dtype=torch.float64).unbind()
    return image, text


def test_attention_over_positions(batch: Batch, streams: tuple[Tensor, Tensor]) -> None:
    """Head by head and position by position; the softmax sees the positions up to its own."""
    image, text = streams
    out = CrossAttention(HEADS, "positions")(image, text, batch)
    for user in range(2):
        for t in range(LENGTH):
            for head in range(HEADS):
                part = slice(head * WIDTH, (head + 1) * WIDTH)
                query, keys = image[user, t, part], text[user, : t + 1, part]
                weights = (keys @ query / math.sqrt(WIDTH)).softmax(0)
                torch.testing.assert_close(out[user, t, part], query + weights @ keys)


def test_attention_over_channels(batch: Batch, streams: tuple[Tensor, Tensor]) -> None:
    """z_img z_txt^T of two column vectors is d_h x d_h."""
    image, text = streams
    out = CrossAttention(HEADS, "channels")(image, text, batch)
    for user, t, head in torch.cartesian_prod(*(torch.arange(n) for n in (2, LENGTH, HEADS))):
        part = slice(int(head) * WIDTH, (int(head) + 1) * WIDTH)
        column, other = image[user, t, part], text[user, t, part]
        weights = (torch.outer(column, other) / math.sqrt(WIDTH)).softmax(-1)
        torch.testing.assert_close(out[user, t, part], column + weights @ other)


def test_experts_are_weighed_by_gates_and_shared_by_heads(
    batch: Batch, streams: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    routing = ExpertRouting(HEADS * WIDTH, HEADS, 3, 0.2, "test", temperature=0.5).double()
    out, gates = routing(streams[0], batch)
    assert gates is not None
    assert routing.router is not None
    torch.testing.assert_close(gates.sum(-1), torch.ones_like(gates[..., 0]))
    for head in range(HEADS):
        part = slice(head * WIDTH, (head + 1) * WIDTH)
        o = streams[0][..., part]
        expected = torch.zeros_like(o)
        weights = (routing.router(o) / 0.5).softmax(-1)
        for k in range(3):
            rows = slice(k * WIDTH, (k + 1) * WIDTH)
            answer = torch.relu(o @ routing.experts.weight[rows].T + routing.experts.bias[rows])
            expected = expected + weights[..., k : k + 1] * answer
        torch.testing.assert_close(out[..., part], expected)
        torch.testing.assert_close(gates[:, :, head], weights)


def test_gate_statistics() -> None:
    """Two valid positions: one undecided between two experts, one decided; padding is left out."""
    gates = torch.tensor([[[[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 1.0]]]])
    valid = torch.tensor([[True, True, False]])
    statistics = {name: value.item() for name, value in gate_statistics(gates, valid).items()}
    assert statistics == pytest.approx({"expert_1": 0.75, "expert_2": 0.25, "gate_entropy": 0.5})
