"""The comparison with mamba-ssm finds agreement and disagreement, on a scan written out plainly."""

import pytest
import torch

from benchmark.parity import parity
from findrec.ops.scan_mamba_ssm import selective_scan_fn

CPU = torch.device("cpu")


def plain_scan(u, delta, A, B, C, D, z):
    """mamba-ssm's convention: time last. One step after the other, nothing else."""
    state = torch.zeros(u.shape[0], u.shape[1], A.shape[1])
    steps = []
    for t in range(u.shape[-1]):
        decay = torch.exp(delta[..., t, None] * A)
        state = decay * state + (delta[..., t] * u[..., t]).unsqueeze(-1) * B[:, None, :, t]
        steps.append((state * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(steps, -1) * torch.nn.functional.silu(z)


def test_an_equal_scan_agrees():
    """float32 against float32: 1e-5 is a hundred roundings, far below the tolerance of kernels."""
    found = parity(plain_scan, CPU)
    assert found.ok
    assert max(found.forward, found.backward) < 1e-5


def test_a_scan_with_a_lost_skip_term_disagrees():
    found = parity(lambda u, d, a, b, c, D, z: plain_scan(u, d, a, b, c, 0 * D, z), CPU)
    assert not found.ok
    assert "DISAGREES" in str(found)


@pytest.mark.skipif(
    selective_scan_fn() is None or not torch.cuda.is_available(), reason="no mamba-ssm, or no GPU"
)
def test_mamba_ssm_agrees():
    found = parity(selective_scan_fn(), torch.device("cuda"))
    assert found.ok, str(found)
