"""The backend of mamba-ssm by a torch function of its signature, and the choice of backends.

`selective_scan_fn` here is written from the package's documented semantics, as its CUDA kernel
needs a GPU: time last, B and C by groups of channels, A and D in float32, nothing but the last
dimension required to be dense.
"""

import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from findrec.ops import recorded_scan_backend, scan, scan_backends, selective_scan, use_scan_backend
from findrec.ops.scan import reference
from findrec.ops.scan_mamba_ssm import grouped_scan, mamba_ssm_scan, selective_scan_fn
from tests.findrec.ops.test_scan import NAMES, inputs, output_and_gradients

MISSING = selective_scan_fn() is None


def scan_time_last(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None,
    z: Tensor | None = None, delta_bias: Tensor | None = None, delta_softplus: bool = False,
) -> Tensor:  # fmt: skip
    """u, delta, z: [B, D, L]; A: [D, N]; B, C: [B, G, N, L]; D, delta_bias: [D]."""
    assert A.dtype in (torch.float32, torch.float64)
    assert D is None or D.dtype == A.dtype
    assert all(x is None or x.stride(-1) == 1 or x.shape[-1] == 1 for x in (u, delta, B, C, z))
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = softplus(delta)
    repeat = u.shape[1] // B.shape[1]
    state = torch.zeros(*u.shape[:2], A.shape[1], dtype=A.dtype)
    outputs = []
    for t in range(u.shape[-1]):
        b, c = (x[..., t].repeat_interleave(repeat, 1) for x in (B, C))
        state = torch.exp(delta[..., t, None] * A) * state + (delta * u)[..., t, None] * b
        outputs.append((state * c).sum(-1))
    y = torch.stack(outputs, -1)
    y = y if D is None else y + D[:, None] * u
    return (y if z is None else y * silu(z)).to(u.dtype)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("groups", [(), (1,), (3,), (2, 2)])
def test_seeds_as_groups_of_channels(groups: tuple[int, ...], gated: bool) -> None:
    """The same operations on float64, so a few roundings: 1e-12."""
    values = inputs(2, 7, 5, 3, groups=groups, gated=gated)
    found = output_and_gradients(lambda *x: grouped_scan(scan_time_last, *x), values)
    expected = output_and_gradients(reference, values)
    for name, a, b in zip(["y", *NAMES], found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)


def test_low_precision_keeps_its_dtype() -> None:
    """bfloat16 has 8 bits, and every step rounds differently: 3 % of the largest element."""
    values = inputs(2, 5, 4, 3, dtype=torch.bfloat16)
    y = grouped_scan(scan_time_last, *values)
    expected = reference(*(x.double() for x in values))
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.skipif(MISSING or not torch.cuda.is_available(), reason="no mamba-ssm, or no GPU")
@pytest.mark.parametrize("groups", [(), (3,)])
def test_the_package_itself(groups: tuple[int, ...]) -> None:
    """float32 kernels on order 1; mamba-ssm's own tests allow 2e-3 relative."""
    values = [x.cuda() for x in inputs(2, 21, 64, 16, groups=groups, dtype=torch.float32)]
    for a, b in zip(
        output_and_gradients(mamba_ssm_scan, values), output_and_gradients(reference, values),
        strict=True,
    ):  # fmt: skip
        assert (a - b).abs().max() < 1e-3 * b.abs().max()


@pytest.mark.skipif(not MISSING, reason="mamba-ssm is installed")
def test_a_missing_package_is_no_backend() -> None:
    assert "mamba_ssm" not in scan_backends("cuda")
    with use_scan_backend("mamba_ssm"), pytest.raises(ValueError, match="'mamba_ssm' does not run"):
        scan.scan_backend("cuda")
    with pytest.raises(ValueError, match="does not import"):
        mamba_ssm_scan(*inputs())


def test_the_record_says_what_is_not_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINDREC_SCAN", raising=False)
    assert recorded_scan_backend("cpu") == "cpu"
    present = scan._BACKENDS["mamba_ssm"]._replace(installed=lambda: True)
    monkeypatch.setitem(scan._BACKENDS, "mamba_ssm", present)
    with use_scan_backend("mamba_ssm"):
        assert recorded_scan_backend("cuda") == "mamba_ssm (not deterministic)"


def test_the_default_on_a_gpu_is_triton_where_it_is_installed() -> None:
    found = importlib.util.find_spec("triton") is not None
    assert (scan_backends("cuda")[0] == "triton") == found
    assert "reference" in scan_backends("cuda")
    assert scan_backends("mps") == scan_backends("xpu") == ["reference"]


SLOW = """
import torch
from findrec.ops import scan_backends, selective_scan
x, b = torch.ones(1, 2, 3, device="meta"), torch.ones(1, 2, 4, device="meta")
for _ in range(3):
    selective_scan(x, x, torch.ones(3, 4, device="meta"), b, b, torch.ones(3, device="meta"))
"""


def test_a_device_without_a_kernel_is_said_once() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, text=True, check=True)
    assert done.stderr.count("no kernel for meta here") == 1


def test_a_chosen_reference_is_not_remarked_on(recwarn: pytest.WarningsRecorder) -> None:
    with use_scan_backend("reference"):
        selective_scan(*inputs())
    assert not recwarn.list
