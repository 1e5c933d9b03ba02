"""A training step reads nothing on the host, so that a GPU can run it as one captured graph.

The step runs on the meta device, which has shapes and no values. It is not the CPU, so every op
takes the path of a GPU (torch ops instead of compiled loops, all seeds under vmap), and a read of a
value fails by itself; `Capturable` names the op that reads, and finds what the meta device lets
pass. The scan is the reference, as on a GPU without Triton. What the meta device cannot show is how
a CUDA kernel works inside: whether cuSOLVER's factorisation behind `linalg_cholesky_ex`, the sorts
behind `embedding_dense_backward`, `sort` and `index_put`, and the Triton scan can be captured is
known on a GPU alone; benchmark/train/graph.py has what is known of them elsewhere.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.core import builder
from benchmark.data.sequences import Histories, Windows
from benchmark.feature_controls import apply_feature_control
from benchmark.plan import spec_of
from benchmark.runs.spec import Training
from benchmark.settings.registry import get_profile, methods
from benchmark.train.graph import FixedStep
from benchmark.train.stack import Stack
from benchmark.train.step import make_optimizer
from tests.catalogues import catalogue

META = torch.device("meta")
SEEDS, WINDOWS, LENGTH, LAYERS = 2, 40, 4, 2
FEW_USERS, MANY_USERS = 6, 8
"""Users of a batch with fewer positions than the catalogue has items, and with more: what depends
on an item alone is computed for the positions or for the catalogue."""

SYNCHRONISE = {
    "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "_unique2", "bincount", "equal", "histc",
    "linalg_eig", "linalg_lstsq", "masked_select", "nonzero", "unique_consecutive", "unique_dim",
}  # fmt: skip
"""Ops that wait for the device on CUDA, beside those that torch tags as dependent on data."""

COPY_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy}
"""What makes a tensor of numbers on the host by a copy; on the meta device no op shows it."""

TAKE_SCALARS = {"add", "div", "mul", "sub"}
"""Ops whose CUDA kernels take a number on the host as an argument. Under vmap a Python number
reaches them as a CPU tensor without dimensions; a captured graph keeps its value."""


pytestmark = pytest.mark.filterwarnings("ignore:the selective scan has no kernel for meta")


class HostRead(AssertionError):
    """An op of the step that a captured graph could not contain."""


class Capturable(TorchDispatchMode):
    """Raises HostRead at the first op that reads a value on the host, has a shape that depends on
    values, copies between host and device, or computes on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.ops.add(func.overloadpacket.__name__)
        fault = fault_of(func, args, kwargs)
        if fault is not None:
            raise HostRead(f"{func} {fault}")
        return func(*args, **kwargs)


def fault_of(func: Any, args: Any, kwargs: dict[str, Any]) -> str | None:
    """Why a captured graph cannot contain the op, or None where it can."""
    name = func.overloadpacket.__name__
    inputs = list(_tensors([*args, *kwargs.values()]))
    on_host = [t for t in inputs if t.device.type == "cpu"]
    numbers = all(t.dim() == 0 for t in on_host)
    target = kwargs.get("device") and torch.device(kwargs["device"]).type  # None: as the inputs'
    if name == "index":  # by numbers the shape is that of the index; by a mask it is not
        reads = any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1]))
    else:
        by_data = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
        reads = name in SYNCHRONISE or not by_data.isdisjoint(func.tags)
    if reads:
        return "needs values on the host"
    if not on_host:
        return "copies to the host" if target == "cpu" and inputs else None
    if len(on_host) < len(inputs):
        takes = not (numbers and name in TAKE_SCALARS)
        return "takes a tensor from the host" if takes else None
    if target not in (None, "cpu"):
        return "takes a tensor from the host"
    # A Python number under vmap is cast before it meets the tensors.
    return None if numbers and name == "_to_copy" else "computes on the host"


class NoNumbersCopied(TorchFunctionMode):
    """Raises HostRead where a tensor is made of numbers on the host."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in COPY_NUMBERS:
            raise HostRead(f"torch.{func.__name__} copies numbers from the host")
        return func(*args, **(kwargs or {}))


@contextmanager
def capturable() -> Iterator[Capturable]:
    with NoNumbersCopied(), Capturable() as mode:
        yield mode


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@pytest.fixture(autouse=True)
def _meta_as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch's optimiser knows by name the kinds of device whose graphs can contain its update."""
    adam = sys.modules[torch.optim.Adam.__module__]
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda *_, **__: ["meta"])
    functorch: Any = torch._C._functorch  # its stubs lack these two
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    yield
    functorch._set_vmap_fallback_enabled(before)


def step_of(
    row: str,
    variant: str = "base",
    *,
    users: int = MANY_USERS,
    groups: bool = False,
    cut: bool = False,
    **settings: Any,
) -> Callable[[], None]:
    """A training step of two seeds as a graph holds it: from the counter to the sums of the losses.

    cut: with its batch in parts of fixed sizes. Layers are at most two and the window four, since
    what a layer calls does not depend on either.
    """
    spec = spec_of(row, "beauty", get_profile("smoke"), variant)
    assert spec.training is not None
    training = spec.training.model_copy(update={"batch_size": users, **settings})
    config = spec.config | {"max_length": LENGTH}
    if "layers" in config:
        config["layers"] = min(config["layers"], LAYERS)
    spec = spec.model_copy(update={"config": config})
    whole = catalogue(missing=0.25)
    everyone = Histories(np.arange(1, whole.items + 1), np.array([0, whole.items]))
    fed = apply_feature_control(whole, spec, everyone, 0)
    stack = Stack(builder(spec, fed), range(SEEDS), META)
    assert stack.vectorised
    items = np.zeros((WINDOWS, LENGTH + 1), dtype=np.int64)
    windows = Windows(
        items, np.zeros(WINDOWS, np.int64), np.arange(WINDOWS), prefixes=spec.protocol.prefixes
    )
    optimizer = _optimizer(stack, training)
    sizes = [(users - 3, LENGTH), (3, 2)] if cut else None
    step = FixedStep(stack, optimizer, training, windows, META, groups=groups, sizes=sizes)
    return lambda: step.compute(cut)


def _optimizer(stack: Stack, training: Training) -> torch.optim.AdamW:
    """What `make_optimizer` makes for a GPU: it asks for the kind of device by name."""
    optimizer = make_optimizer(stack.parameters.values(), training, META)
    for group in optimizer.param_groups:
        group.update(capturable=True, foreach=True, lr=torch.zeros((), device=META))
    return optimizer


TRAINED = [name for name, method in methods().items() if hasattr(method.cls, "forward")]

VARIANTS = [
    (name, variant)
    for name in TRAINED
    for variant in ("base", *methods()[name].variants)
    if "=" not in variant  # a swept number calls no other op
]


def check(row: str, variant: str, users: int, **options: Any) -> None:
    step = step_of(row, variant, users=users, **options)
    with capturable() as mode:
        step()
    # The whole step ran: the batch's place in the table, the loss, its gradients, the update and
    # the sums of the losses.
    assert {"remainder", "bmm", "baddbmm_", "_foreach_addcdiv_", "add_"} <= mode.ops


@pytest.mark.parametrize("row", TRAINED)
def test_a_step_reads_nothing_on_the_host(row: str) -> None:
    check(row, "base", MANY_USERS)


CUT = [name for name in TRAINED if not methods()[name].cls.fixed_length]


@pytest.mark.parametrize("row", CUT)
def test_a_step_in_parts_reads_nothing_on_the_host(row: str) -> None:
    check(row, "base", MANY_USERS, cut=True)


@pytest.mark.slow
@pytest.mark.parametrize(("row", "variant"), VARIANTS)
def test_a_step_of_a_variant_reads_nothing_on_the_host(row: str, variant: str) -> None:
    check(row, variant, FEW_USERS)


def test_length_groups_are_found_out() -> None:
    """A CPU's step cuts the batch by its lengths, which it reads."""
    step = step_of("SASRec", groups=True)
    with pytest.raises(HostRead, match=READS), capturable():
        step()


# ---- the check itself ---------------------------------------------------------------------------

VALUES, SQUARE = torch.zeros(3, device=META), torch.zeros(2, 2, device=META)
ON_HOST, RATE, INDEX = torch.zeros(3), torch.tensor(0.1), torch.tensor([0, 2])
READS, TAKES, RETURNS, COMPUTES, COPIES = (
    "needs values on the host",
    "takes a tensor from the host",
    "copies to the host",
    "computes on the host",
    "copies numbers from the host",
)
HOST_READS: dict[str, tuple[str, Callable[[], object]]] = {
    "item": (READS, lambda: VALUES.sum().item()),
    "bool": (READS, lambda: bool((VALUES > 0).any())),
    "mask": (READS, lambda: VALUES[VALUES > 0]),
    "nonzero": (READS, lambda: VALUES.nonzero()),
    "unique": (READS, lambda: VALUES.unique()),
    "masked_select": (READS, lambda: VALUES.masked_select(VALUES > 0)),
    "repeats": (READS, lambda: VALUES.repeat_interleave(VALUES.long())),
    "equal": (READS, lambda: torch.equal(VALUES, VALUES)),
    "checked factorisation": (READS, lambda: torch.linalg.cholesky(SQUARE)),
    "inverse": (READS, lambda: torch.linalg.inv(SQUARE)),
    "result on the host": (RETURNS, lambda: VALUES.cpu()),
    "input on the host": (TAKES, lambda: VALUES.clone().copy_(ON_HOST)),
    "input, moved": (TAKES, lambda: ON_HOST.to(META)),
    "number, moved": (TAKES, lambda: RATE.to(META)),
    "index on the host": (TAKES, lambda: VALUES[INDEX]),
    "rate on the host": (TAKES, lambda: VALUES.clone().fill_(RATE)),
    "choice on the host": (TAKES, lambda: torch.where(VALUES > 0, VALUES, RATE)),
    "sum on the host": (COMPUTES, lambda: ON_HOST.sum()),
    "constant": (COPIES, lambda: torch.tensor([1.0, 2.0], device=META)),
}


@pytest.mark.parametrize("what", HOST_READS)
def test_the_check_finds(what: str) -> None:
    reason, read = HOST_READS[what]
    with pytest.raises(HostRead, match=reason), capturable():
        read()


def test_the_check_lets_numbers_and_indices_pass() -> None:
    index = torch.zeros(2, dtype=torch.int64, device=META)
    with capturable():
        torch.vmap(lambda x: torch.where(x > 0, 2 * x + 1, 0.0) / 3)(VALUES)
        VALUES[index].sum() + VALUES.gather(0, index).masked_fill(index > 0, 1.0).sum()
