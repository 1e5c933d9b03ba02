"""Selective scan: reference against definition, compiled loops against reference."""

import importlib.util
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from findrec.ops import scan_backend, selective_scan, use_scan_backend
from findrec.ops.scan import compiled_loops, reference

NAMES = ["u", "delta", "A", "B", "C", "D", "z"]
Scan = Callable[..., Tensor]


def inputs(
    users: int = 3, length: int = 21, width: int = 5, size: int = 4, *,
    gated: bool = True, dtype: torch.dtype = torch.float64, groups: tuple[int, ...] = (),
) -> list[Tensor | None]:  # fmt: skip
    """u, delta, A, B, C, D, z as Mamba has them: A = -1 .. -N about, delta after softplus."""
    g = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*groups, *shape, generator=g, dtype=torch.float64).to(dtype)

    return [
        draw(users, length, width),
        torch.nn.functional.softplus(draw(users, length, width) - 1),
        -(torch.arange(1, size + 1, dtype=dtype) + 0.1 * draw(width, size).abs()),
        draw(users, length, size),
        draw(users, length, size),
        draw(width),
        draw(users, length, width) if gated else None,
    ]


def output_and_gradients(scan: Scan, values: list[Tensor | None]) -> list[Tensor | None]:
    leaves = [None if x is None else x.clone().requires_grad_() for x in values]
    y = scan(*leaves)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape).to(y.dtype)
    y.backward(weights)
    return [y.detach(), *(None if x is None else x.grad for x in leaves)]


def test_reference_is_the_recurrence_written_out() -> None:
    u, delta, A, B, C, D, z = (x for x in inputs(2, 4, 3, 2) if x is not None)
    for user in range(2):
        for d in range(3):
            h = torch.zeros(2, dtype=torch.float64)
            for t in range(4):
                step = delta[user, t, d]
                h = torch.exp(step * A[d]) * h + step * B[user, t] * u[user, t, d]
                y = (C[user, t] @ h + D[d] * u[user, t, d]) * torch.nn.functional.silu(
                    z[user, t, d]
                )
                found = reference(u, delta, A, B, C, D, z)[user, t, d]
                torch.testing.assert_close(found, y, rtol=1e-12, atol=1e-12)


def test_constant_input_has_the_closed_form_of_a_geometric_series() -> None:
    """u = B = C = 1, D = 0, one component: y_t = delta (1 - q^t) / (1 - q), q = exp(delta A)."""
    length, step = 40, 0.3
    one = torch.ones(1, length, 1, dtype=torch.float64)
    A = torch.tensor([[-0.7]], dtype=torch.float64)
    y = selective_scan(one, step * one, A, one, one, torch.zeros(1, dtype=torch.float64))
    q = torch.exp(step * A)
    t = torch.arange(1, length + 1)
    torch.testing.assert_close(y.flatten(), step * ((1 - q**t) / (1 - q)).flatten())


# Lengths about the chunks of 16 after which backward starts from a kept state, N odd and even, and
# widths that fill vectors of 4, 8 and 16 or leave a rest.
SHAPES = [
    (3, 21, 5, 4),
    (1, 1, 1, 1),
    (2, 16, 16, 3),
    (2, 15, 33, 1),
    (2, 17, 64, 16),
    (1, 48, 3, 2),
]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_equals_reference_in_float64(shape: tuple[int, ...], gated: bool) -> None:
    """Same operations in another order: 1e-12 is some thousand roundings of float64."""
    values = inputs(*shape, gated=gated)
    expected = output_and_gradients(reference, values)
    found = output_and_gradients(compiled_loops, values)
    for name, a, b in zip(["y", *NAMES], found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES, (8, 100, 128, 16)])
def test_compiled_float32_against_float64(shape: tuple[int, ...], gated: bool) -> None:
    """Relative to the largest element, 2e-6: sums over L, N and D of terms with an error of 6e-8
    each. The torch loop in float32 is held to the same bound."""
    values = inputs(*shape, gated=gated)
    single = [None if x is None else x.float() for x in values]
    expected = output_and_gradients(reference, values)
    for scan in (compiled_loops, reference):
        for name, a, b in zip(
            ["y", *NAMES], output_and_gradients(scan, single), expected, strict=True
        ):
            if a is not None and b is not None:
                assert (a - b).abs().max() <= 2e-6 * b.abs().max(), (scan.__name__, name)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck(backend: str) -> None:
    leaves = [x.requires_grad_() for x in inputs(2, 18, 2, 3) if x is not None]
    with use_scan_backend(backend):
        assert torch.autograd.gradcheck(selective_scan, leaves, fast_mode=True)


def test_large_and_small_decay() -> None:
    """delta A far below the range of float32's exponential: the state is forgotten, not garbled.
    Above it (A > 0 is nobody's model) the result stays finite or infinite, never arbitrary."""
    values = inputs(dtype=torch.float32)
    assert values[1] is not None
    values[1] = values[1] * 1e4
    torch.testing.assert_close(compiled_loops(*values), reference(*values), rtol=1e-5, atol=1e-3)


def test_nan_stays_with_its_user_and_channel() -> None:
    values = inputs(dtype=torch.float32)
    assert values[0] is not None
    clean = compiled_loops(*values)
    values[0][1, 4, 2] = float("nan")
    y = compiled_loops(*values)
    hit = torch.zeros_like(y, dtype=torch.bool)
    hit[1, 4:, 2] = True
    assert torch.equal(y.isnan(), hit)
    assert torch.equal(y[~hit], clean[~hit])
    nan_decay = inputs(dtype=torch.float32)
    assert nan_decay[1] is not None
    nan_decay[1][0, 0, 0] = float("nan")
    assert compiled_loops(*nan_decay)[0, :, 0].isnan().all()


def test_inputs_are_left_alone_and_may_be_strided() -> None:
    values = [x for x in inputs() if x is not None]
    strided = [x.transpose(0, -1).contiguous().transpose(0, -1) for x in values]
    copies = [x.clone() for x in strided]
    assert torch.equal(compiled_loops(*strided), compiled_loops(*values))
    assert all(torch.equal(x, y) for x, y in zip(strided, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stack_equals_seeds_alone_bit_for_bit(dtype: torch.dtype) -> None:
    values = inputs(groups=(4,), width=16, dtype=dtype)
    stacked = output_and_gradients(torch.vmap(selective_scan), values)
    for s in range(4):
        alone = output_and_gradients(selective_scan, [None if x is None else x[s] for x in values])
        # backward weights differ by position in the stack, so compare outputs here ...
        assert torch.equal(stacked[0][s], alone[0])
    # ... and gradients under equal weights.
    leaves = [x.clone().requires_grad_() for x in values if x is not None]
    torch.vmap(selective_scan)(*leaves).square().sum().backward()
    for s in range(4):
        single = [x.detach()[s].clone().requires_grad_() for x in leaves]
        selective_scan(*single).square().sum().backward()
        assert all(torch.equal(x.grad[s], y.grad) for x, y in zip(leaves, single, strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_vmap_with_shared_arguments(backend: str) -> None:
    """What the seeds share gets the sum of their gradients; batch dimensions may stand anywhere."""
    values = inputs(groups=(3,))
    u, delta, A, B, C, D, z = (x.requires_grad_() for x in values if x is not None)
    shared = [delta.detach()[0].clone().requires_grad_(), B.detach()[0].clone().requires_grad_()]
    with use_scan_backend(backend):
        y = torch.vmap(selective_scan, in_dims=(2, None, 0, None, 0, 0, 0))(
            u.movedim(0, 2), shared[0], A, shared[1], C, D, z
        )
        y.square().sum().backward()
        found = [x.grad.clone() for x in (u, A, C, D, z, *shared)]
        for x in (u, A, C, D, z, *shared):
            x.grad = None
        for s in range(3):
            selective_scan(
                u[s], shared[0], A[s], shared[1], C[s], D[s], z[s]
            ).square().sum().backward()
    for a, x in zip(found, (u, A, C, D, z, *shared), strict=True):
        torch.testing.assert_close(a, x.grad, rtol=1e-12, atol=1e-12)
    assert (
        torch.vmap(lambda u: selective_scan(u, shared[0], A[0], shared[1], C[0], D[0]))(u).shape
        == u.shape
    )


def test_threads_change_nothing(threads: None) -> None:
    values = inputs(users=7, width=32, size=16, dtype=torch.float32)
    torch.set_num_threads(1)
    one = output_and_gradients(compiled_loops, values)
    for count in (2, 3, 16):
        torch.set_num_threads(count)
        many = output_and_gradients(compiled_loops, values)
        assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_no_users() -> None:
    y, *gradients = output_and_gradients(compiled_loops, inputs(users=0))
    assert y is not None
    assert y.shape == (0, 21, 5)
    assert gradients[2] is not None
    assert (gradients[2] == 0).all()


def test_nothing_is_kept_without_gradients() -> None:
    values = inputs()
    leaves = [None if x is None else x.requires_grad_() for x in values]
    with torch.no_grad():
        assert compiled_loops(*leaves).grad_fn is None


def test_backend_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINDREC_SCAN", raising=False)
    assert scan_backend("cpu") == "cpu"
    on_cuda = "reference" if importlib.util.find_spec("triton") is None else "triton"
    assert scan_backend(torch.device("cuda", 0)) == on_cuda
    monkeypatch.setenv("FINDREC_SCAN", "reference")
    assert scan_backend("cpu") == "reference"
    with use_scan_backend("cpu"):
        assert scan_backend("cpu") == "cpu"
        with pytest.raises(
            ValueError, match=rf"'cpu' does not run on cuda: choose one of {on_cuda}"
        ):
            scan_backend("cuda")
    assert scan_backend("cpu") == "reference"
    monkeypatch.setenv("FINDREC_SCAN", "cup")
    with pytest.raises(ValueError, match="'cup' does not run on cpu: choose one of cpu, reference"):
        selective_scan(*inputs())


def test_the_chosen_backend_computes() -> None:
    """bfloat16 tells the backends apart: the compiled loops refuse it."""
    values = inputs(dtype=torch.bfloat16)
    with use_scan_backend("reference"):
        assert selective_scan(*values).dtype == torch.bfloat16
    with use_scan_backend("cpu"), pytest.raises(ValueError, match="choose the reference backend"):
        selective_scan(*values)


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_argument(name: str) -> None:
    values = inputs()
    at = NAMES.index(name)
    tensor = values[at]
    assert tensor is not None
    if name not in ("u", "A"):
        values[at] = tensor[:-1]
        with pytest.raises(ValueError, match=f"selective_scan's {name} is"):
            selective_scan(*values)
        values[at] = tensor.float()
        with pytest.raises(ValueError, match=f"{name} is .* torch.float32, but u and A ask for"):
            selective_scan(*values)
    else:
        values[at] = tensor[0]
        with pytest.raises(ValueError, match=r"takes u \[B, L, D\] and A \[D, N\]"):
            selective_scan(*values)
