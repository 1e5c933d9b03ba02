"""A model asked for its states, and how two answers are compared."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.sequences import Windows
from findrec.recommender import Batch, Catalogue, Recommender

USERS = 6
LENGTH = 12
"""Positions that are looked at, of models without a fixed length."""

TOLERANCE = 1e-4
"""Largest difference of two states that count as equal, as a share of the largest state. A batch of
other users or another length changes the order of float32 sums, by some 1e-6 of their size; what
another user's or a later item adds is of the size of a state."""

LARGEST_TABLE = 1 << 24
"""Numbers in a table by item; of a larger one it is not asked which row an item uses."""

KEY = (3, 5)
"""Seed and step of a batch unless another is given."""


def perturb(model: Recommender) -> None:
    """Move every parameter a little: what starts behind a gate of zero would go unseen. A row for
    the padding that is zero stays zero."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            noise = 0.02 * torch.randn_like(parameter)
            if parameter.dim() > 1 and bool(parameter.any()) and not bool(parameter[0].any()):
                noise[0] = 0
            parameter.add_(noise)


def sequences(model: Recommender, windows: Windows) -> Tensor:
    """[B, L] of the longest windows among the first: users who can be told apart."""
    length = windows.items.shape[1] - 1
    if not model.fixed_length:
        length = min(length, LENGTH)
    some = windows.items[: 64 * USERS, :length]
    longest = np.argsort(-(some > 0).sum(1), kind="stable")[:USERS]
    return torch.from_numpy(some[longest])


@dataclass(frozen=True)
class Asked:
    """What a model answered: its output at valid positions, and what it did to the batch."""

    states: Tensor
    """[B, L, D']; zero where nothing is valid, and in a `last` model but at the last position."""
    aux: Mapping[str, Tensor]
    """Auxiliary outputs, likewise."""
    written: str = ""
    """The field of the batch that it changed."""

    def parts(self) -> dict[str, Tensor]:
        """States and auxiliary outputs by what a message calls them."""
        return {"states": self.states} | {f"aux {k!r}": v for k, v in self.aux.items()}


def batch_of(
    items: Tensor,
    *,
    training: bool = False,
    key: tuple[int, int] = KEY,
    rows: Tensor | None = None,
    table: Tensor | None = None,
) -> Batch:
    """Users' sequences [B, L]; rows: their rows in the batch, 0 ... B - 1 if None."""
    rows = torch.arange(len(items)) if rows is None else rows
    return Batch(items.clone(), rows, torch.tensor(key), training, table)


def ask(model: Recommender, batch: Batch) -> Asked:
    """The model's answer to a batch."""
    given = {name: getattr(batch, name).clone() for name in ("items", "rows", "key")}
    output = model(batch)
    written = [
        name for name, value in given.items() if not torch.equal(value, getattr(batch, name))
    ]
    valid = given["items"] > 0
    if model.objective == "last":
        place = torch.arange(valid.shape[1])
        valid &= place == valid.sum(1, keepdim=True) - 1
    aux = {name: filled(value, valid, 0.0) for name, value in output.aux.items()}
    return Asked(filled(output.states, valid, 0.0), aux, "".join(written[:1]))


def filled(value: Tensor, valid: Tensor, other: float) -> Tensor:
    """[B, L, ...] with another number wherever valid [B, L] is not; of another shape as it is."""
    if value.shape[:2] != valid.shape:
        return value
    here = valid.view(*valid.shape, *[1] * (value.dim() - 2))
    return torch.where(here, value, torch.full_like(value, other))


def differing(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> str:
    """The name of the first tensor that is not equal in both; "" where all are."""
    return next((name for name in left if not equal(left[name], right[name])), "")


def equal(left: Tensor, right: Tensor) -> bool:
    """Whether two answers are the same but for rounding; a NaN equals a NaN alone, and an infinity
    itself."""
    if left.shape != right.shape:
        return False
    finite = left.isfinite()
    if not torch.equal(finite, right.isfinite()):
        return False
    if not torch.equal(left[~finite].nan_to_num(), right[~finite].nan_to_num()):
        return False
    left, right = torch.where(finite, left, 0), torch.where(finite, right, 0)
    scale = float(left.abs().max()) if left.numel() else 0.0
    return bool(((left - right).abs() <= TOLERANCE * scale).all())


def constants(model: Recommender) -> dict[str, Tensor]:
    """Buffers, and tensors that are plain attributes of a module, by name."""
    found = dict(model.named_buffers())
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


def different(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> str:
    """The name of the first constant that is not the same in both, to the bit; "" where all are."""
    for name, value in left.items():
        other = right.get(name)
        if value is other:
            continue
        if other is None or value.shape != other.shape or value.dtype != other.dtype:
            return name
        if not torch.equal(value.nan_to_num(), other.nan_to_num()):
            return name
    return ""


def written_to(constants: Mapping[str, Tensor], versions: Mapping[str, int]) -> str:
    """The name of the first constant that was written to since its version was noted."""
    return next((name for name, value in constants.items() if value._version != versions[name]), "")


def global_generators() -> tuple[bytes, bytes, object]:
    """States of torch's, NumPy's and Python's own generators."""
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002  (the state that others may draw from)
    own = legacy["state"]
    return (
        torch.get_rng_state().numpy().tobytes(),
        own["key"].tobytes() + bytes(str(own["pos"]), "ascii"),
        random.getstate(),
    )


@dataclass(frozen=True)
class RowsRead:
    """Rows of one table by item that an item's input and its row of `item_table` depend on."""

    name: str
    is_given: bool
    """Whether it holds the features of a modality as they are in the catalogue."""
    first_item: int
    """The item of row 0 of such features: 1, or 0 where that row is the padding's."""
    of_input: frozenset[int]
    of_table: frozenset[int]


@torch.enable_grad()
def rows_read(
    model: Recommender, catalogue: Catalogue, item: int, length: int
) -> tuple[list[RowsRead], Tensor] | None:
    """Of every table by item, parameter or constant, told by where the gradient of the item's state
    and of its row of `item_table` is not zero; and that item table [N, D], without its gradient.
    None where a state has no gradient at all.

    length: of the sequence, whose first position holds the item.
    """
    buffers = dict(model.named_buffers())
    tables = {
        name: value
        for name, value in {**dict(model.named_parameters()), **buffers}.items()
        if value.is_floating_point()
        and value.dim() > 1
        and 0 <= len(value) - model.n_items <= 2  # a row for the padding, one for the cloze mask
        and value.numel() <= LARGEST_TABLE
    }
    asked = [value for value in buffers.values() if any(value is t for t in tables.values())]
    for value in asked:
        value.requires_grad_()
    try:
        items = torch.zeros(1, length, dtype=torch.int64)
        items[0, 0] = item
        state = model(batch_of(items)).states[0, 0]
        if not state.requires_grad:
            return None
        of_input = _rows(state, tables)
        item_table = model.item_table()
        of_table = _rows(item_table[item - 1], tables)
    finally:
        for value in asked:
            value.requires_grad_(False)
    given = [
        array
        for features in (catalogue.text, catalogue.image)
        if features is not None
        for array in (features.values, features.layers)
        if array is not None
    ]
    read = [
        RowsRead(
            name,
            any(_is_of(value, array) for array in given),
            1 if len(value) == model.n_items else 0,
            of_input[name],
            of_table[name],
        )
        for name, value in tables.items()
    ]
    return read, item_table.detach()


def _is_of(table: Tensor, features: Tensor) -> bool:
    """Whether a table holds features [N + 1, ...], with or without the row of the padding."""
    features = features[len(features) - len(table) :] if len(table) <= len(features) else features
    return table is features or (table.shape == features.shape and torch.equal(table, features))


def _rows(vector: Tensor, tables: Mapping[str, Tensor]) -> dict[str, frozenset[int]]:
    """The rows of each table that a vector depends on."""
    if not vector.requires_grad or not tables:
        return dict.fromkeys(tables, frozenset())
    # weights of different sizes: the plain sum of a normalised vector is constant
    weights = torch.linspace(1, 2, len(vector), dtype=vector.dtype) ** 2
    gradients = torch.autograd.grad(
        (vector * weights).sum(), list(tables.values()), allow_unused=True
    )
    return {
        name: frozenset()
        if gradient is None
        else frozenset(gradient.flatten(1).any(1).nonzero().flatten().tolist())
        for name, gradient in zip(tables, gradients, strict=True)
    }
