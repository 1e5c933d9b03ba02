"""What autocast's bfloat16 becomes before an op that computes in float32."""

import pytest
import torch

from findrec.ops import gru, selective_scan
from findrec.ops.precision import single_precision


@single_precision
def total(x: torch.Tensor, times: float, nothing: None = None) -> torch.Tensor:
    """Autocast would make this product bfloat16."""
    return (x @ x.T).sum() * times


def test_inputs_become_float32_and_so_does_the_gradient():
    x = torch.randn(3, 4, dtype=torch.bfloat16, requires_grad=True)
    exact = x.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = total(x, 2.0, None)
        assert torch.is_autocast_enabled("cpu")
    assert found.dtype == torch.float32
    assert torch.equal(found, 2 * (exact @ exact.T).sum())
    found.backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


def test_outside_of_autocast_nothing_changes():
    x = torch.randn(3, 4, dtype=torch.float64)
    assert total(x, 1.0).dtype == torch.float64
    assert total(x.bfloat16(), 1.0).dtype == torch.bfloat16


@pytest.mark.parametrize("stacked", [False, True])
def test_ops_take_mixed_inputs_under_autocast(stacked):
    """Linear layers give bfloat16, parameters are float32: equal to the op on the values in
    float32, to the bit, alone and under vmap."""
    torch.manual_seed(0)
    lead = (2,) if stacked else ()
    u, z = (torch.randn(*lead, 3, 5, 8).bfloat16() for _ in range(2))
    delta, a = torch.rand(*lead, 3, 5, 8), -torch.rand(*lead, 8, 4)
    b, c, d = (
        torch.randn(*lead, 3, 5, 4).bfloat16(),
        torch.randn(*lead, 3, 5, 4),
        torch.ones(*lead, 8),
    )
    inputs = u, delta, a, b, c, d, z
    weights = [torch.randn(*lead, *size) for size in ((12, 8), (12, 4), (12,), (12,))]
    for op, given in ((selective_scan, inputs), (gru, (u, *weights))):
        called = torch.vmap(op) if stacked else op
        expected = called(*(x.float() for x in given))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(called(*given), expected)
