"""A training step on buffers that stay where they are, and its capture as one CUDA graph.

A step of a small model is hundreds of short kernels; started one by one they keep a GPU waiting for
Python. A CUDA graph holds all of them and is started at once. It can, because `FixedStep.compute`
takes whatever differs between steps from the device: the step's number from a counter, which it
raises itself, and by that number the batch from a table of orders, the keys of the draws and the
learning rate. It reads nothing on the host, has shapes of its own choice, and adds the losses to
sums that stay. A seed that has failed is computed on: it disturbs nobody, and a graph without it
would have to be captured anew.

Gradients are made and dropped within the step, so that a graph has them in its own memory; the
parameters, the optimiser's moments and the sums are outside of it and are changed in place. The
first steps run op by op on the stream that later captures: libraries make their workspaces then,
Triton compiles, and the moments are made. They are steps of the run like all others, and recording
a graph executes nothing, so that nothing has to be undone where it is refused.

What was known without a GPU of the ops that PyTorch's notes on CUDA graphs leave open:
 * `embedding_dense_backward` sorts where there are more than 3,072 indices (4,096 on an H100). It
   read the number of distinct ones on the host with Thrust (pytorch issue 82886); since its sort is
   CUB's, which every CUDA from 11.6 on has, that number stays on the device.
 * `index_put` with accumulation and `sort` use CUB's sorts and read nothing on the host.
 * `cholesky_ex` is cuSOLVER's for one matrix and for a batch of them since CUDA 11.3; MAGMA's,
   which copies between host and device, is taken where torch was built or told so.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.sequences import Windows
from benchmark.runs.spec import Training
from benchmark.train.groups import FixedGroups
from benchmark.train.negatives import Negatives
from benchmark.train.objectives import make_task
from benchmark.train.order import BatchOrder
from benchmark.train.schedule import learning_rates
from benchmark.train.stack import Stack
from benchmark.train.step import FixedCut, training_step

BLOCK = 64
"""Steps whose batches are put into the table at once; their copy waits for the steps before it."""

WARM_UP = 3
"""Steps that run op by op before a graph is captured, as many as in `make_graphed_callables`."""


def graphs_wanted() -> bool:
    """Whether steps are captured where that is possible: unless FINDREC_GRAPH says `off`.

    Raises ValueError on any other value than `on`, `off` and an empty one.
    """
    value = os.environ.get("FINDREC_GRAPH") or "on"
    if value not in ("on", "off"):
        raise ValueError(f"FINDREC_GRAPH is {value!r}: set it to on or off, or unset it")
    return value == "on"


class Capture(Protocol):
    """How a function without arguments is made to be replayed."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function as its replay will be run."""

    def record(self, function: Callable[[], None]) -> Callable[[], object]:
        """What does all that the function does on the device, without executing it now."""


class CudaCapture:
    """Graphs of one device. They share memory: a step's tensors are dead when the next begins."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self.stream = torch.cuda.Stream(device)
            self.pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            function()
        current.wait_stream(self.stream)

    def record(self, function: Callable[[], None]) -> Callable[[], object]:
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, pool=self.pool, stream=self.stream),
        ):
            function()
        return graph.replay


class FixedStep:
    """The training step of a stack of seeds; calling it with a step's number takes that step."""

    sums: dict[str, Tensor]
    """Sum of each loss over the steps since `clear_sums`, [S], by name."""
    refused: str | None = None
    """Why the steps are not captured, if that was tried."""

    def __init__(
        self,
        stack: Stack,
        optimizer: torch.optim.Optimizer,
        training: Training,
        windows: Windows,
        device: torch.device,
        *,
        groups: bool = False,
        sizes: list[tuple[int, int]] | None = None,
        capture: Capture | None = None,
    ) -> None:
        """groups: length groups of each batch's own (one seed, on a CPU); sizes: parts of fixed
        sizes, (users, length), that batches are cut into where they fit; capture: by what steps
        are captured, None for steps that run op by op."""
        self.stack, self.optimizer, self.training = stack, optimizer, training
        self.prefixes, self.groups, self.capture = windows.prefixes, groups, capture
        self.items = torch.from_numpy(windows.items).to(device)
        self.first_target = torch.from_numpy(windows.first_target).to(device)
        self.negatives = None
        if training.negatives is not None:
            n_items = stack.model.n_items
            self.negatives = Negatives.of(training.negatives, windows, n_items, device)
        self.lengths = input_lengths(windows, cloze=stack.model.objective == "cloze")
        self.batch_size = min(training.batch_size, len(windows.items))
        self.sizes = None
        if sizes is not None and len(sizes) > 1:
            self.sizes = FixedGroups.of(sizes, device)
        self.rates = learning_rates(training).to(device)
        self.orders = [BatchOrder(len(windows.items), seed) for seed in stack.seeds]
        self.seeds = torch.tensor(stack.seeds, device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        shape = BLOCK, 2, len(stack.seeds), self.batch_size
        self.table = torch.zeros(shape, dtype=torch.int64, device=device)
        """Of each step's batches, at its number modulo BLOCK: the windows, and the rows in the
        order of their lengths, the longest first."""
        self.fitting: dict[int, bool] = {}
        """Of the steps in the table: whether the batch can be cut into parts of fixed sizes."""
        self.sums = {}
        self.next = 0
        self.runs = {True: 0, False: 0}
        self.replays: dict[bool, Callable[[], object]] = {}

    @property
    def captured(self) -> bool:
        """Whether steps were replayed from a graph."""
        return bool(self.replays)

    def __call__(self, step: int) -> None:
        if step not in self.fitting:
            self._load(step)
        if step != self.next:
            self.counter.fill_(step)
        self.next = step + 1
        self._run(self.fitting[step])

    def clear_sums(self) -> None:
        for value in self.sums.values():
            value.zero_()

    def restore_sums(self, sums: dict[str, Tensor]) -> None:
        """Go on from these sums. They are copied, and into those that are there, if any are."""
        self.clear_sums()
        for name, value in sums.items():
            self._sum(name, value).copy_(value)

    def compute(self, cut: bool) -> None:
        """The step that `counter` names; all of it is on the device."""
        slot = torch.remainder(self.counter, BLOCK)
        index, order = self.table.index_select(0, slot).squeeze(0).unbind()
        keys = torch.stack([self.seeds, self.counter.expand_as(self.seeds)], 1)
        groups: bool | FixedCut = self.groups
        if cut and self.sizes is not None:
            groups = FixedCut(self.sizes, order)
        task = make_task(
            self.stack.model,
            self.items[index],
            self.first_target[index],
            keys,
            prefixes=self.prefixes,
        )
        with _matrix_products(self.training.precision):
            losses = training_step(
                self.stack,
                self.optimizer,
                task,
                keys,
                rate=self.rates.index_select(0, self.counter).squeeze(0),
                clip=self.training.clip,
                groups=groups,
                history_in_softmax=self.training.history_in_softmax,
                negatives=self.negatives,
                precision=self.training.precision,
            )
        for name, value in losses.items():
            self._sum(name, value).add_(value)
        self.counter.add_(1)

    def _sum(self, name: str, like: Tensor) -> Tensor:
        if name not in self.sums:
            self.sums[name] = torch.zeros_like(like)
        return self.sums[name]

    def _load(self, step: int) -> None:
        """Put the batches of this and the next steps into the table."""
        steps = np.arange(step, min(step + BLOCK, self.training.steps))
        size = self.batch_size
        index = np.stack([[order.batch(int(at), size) for order in self.orders] for at in steps])
        lengths = self.lengths[index]
        order = np.argsort(-lengths, axis=-1, kind="stable")
        rows = np.zeros(self.table.shape, dtype=np.int64)
        rows[steps % BLOCK] = np.stack([index, order], 1)
        self.table.copy_(torch.from_numpy(rows))
        longest_first = np.take_along_axis(lengths, order, -1)
        self.fitting = {
            int(at): self.sizes is not None and self.sizes.fits(own)
            for at, own in zip(steps, longest_first, strict=True)
        }

    def _run(self, cut: bool) -> None:
        """Replay the step if it is captured, else take it op by op; a graph each for batches that
        are cut and for those that do not fit."""
        function = partial(self.compute, cut)
        if self.capture is None:
            function()
        elif cut in self.replays:
            self.replays[cut]()
        elif self.runs[cut] < WARM_UP:
            self.runs[cut] += 1
            self.capture.warm_up(function)
        else:
            try:
                self.replays[cut] = self.capture.record(function)
            except torch.OutOfMemoryError:
                raise  # fewer seeds at once may fit
            except RuntimeError as error:
                self._give_up(error)
                function()
            else:
                self.replays[cut]()

    def _give_up(self, error: RuntimeError) -> None:
        """Steps run op by op from here on; what was captured before is not used any more."""
        self.refused = (str(error).splitlines() or [type(error).__name__])[0]
        self.capture, self.replays = None, {}
        self.optimizer.zero_grad()  # of the half-recorded step
        warnings.warn(
            f"a training step of {type(self.stack.model).__name__} could not be captured as a CUDA "
            f"graph ({self.refused}): it runs op by op, which gives the same results more slowly; "
            "FINDREC_GRAPH=off leaves the attempt out",
            stacklevel=2,
        )


def input_lengths(windows: Windows, *, cloze: bool) -> NDArray[np.int64]:
    """Positions that each window's inputs take, at least 1: all items but the last, which is a
    target alone; of a cloze model, all of the last L."""
    items = (windows.items > 0).sum(1)
    window = windows.items.shape[1] - 1
    length: NDArray[np.int64] = np.minimum(items, window) if cloze else items - 1
    return np.maximum(length, 1)


@contextmanager
def _matrix_products(precision: Literal["fp32", "tf32", "bf16"]) -> Iterator[None]:
    """Allow TF32 in matrix products, where it is asked for."""
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
