"""The contract of `findrec/recommender.py`, checked on the model as configured before it trains.

A model that breaks a rule can train without complaint and rank wrongly: a table with a row for the
padding shifts every rank by one, a mean over the batch lets one user's history into another's
score.
The contract tests (docs/extending.md) say the same of a model's class; this says it of the model
that a command is about to train, on real sequences, in well under a second.
"""

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.sequences import Windows
from benchmark.errors import InputError
from findrec.recommender import Batch, Recommender

USERS = 6
LENGTH = 12
"""Positions that are looked at, of models without a fixed length."""

TOLERANCE = 1e-4
"""Largest difference of two states that count as equal, as a share of the largest state. A batch of
other users or another length changes the order of float32 sums, by some 1e-6 of their size; what
another user's or a later item adds is of the size of a state."""


class ContractBroken(InputError):
    """The model of a row breaks a rule of the contract. The message names row, place and rule."""


@torch.no_grad()
def check_contract(
    name: str, build: Callable[[], Recommender], windows: Windows, *, n_items: int
) -> None:
    """Raise ContractBroken for the first rule that the model breaks.

    name: the row, for the message. build: makes the model on the CPU. windows: real training
    sequences. n_items: N of the catalogue.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        _perturb(model)
        _Check(name, model, _sequences(model, windows), n_items).run()


def _perturb(model: Recommender) -> None:
    """Move every parameter a little: what starts behind a gate of zero would go unseen. A row for
    the padding that is zero stays zero."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            noise = 0.02 * torch.randn_like(parameter)
            if parameter.dim() > 1 and bool(parameter.any()) and not bool(parameter[0].any()):
                noise[0] = 0
            parameter.add_(noise)


def _sequences(model: Recommender, windows: Windows) -> Tensor:
    """[B, L] of the longest windows among the first: users who can be told apart."""
    length = windows.items.shape[1] - 1
    if not model.fixed_length:
        length = min(length, LENGTH)
    some = windows.items[: 64 * USERS, :length]
    longest = np.argsort(-(some > 0).sum(1), kind="stable")[:USERS]
    return torch.from_numpy(some[longest])


@dataclass
class _Check:
    name: str
    model: Recommender
    items: Tensor
    n_items: int

    def run(self) -> None:
        self.model.eval()
        self._table_and_states()
        self._evaluation_is_still()
        self._causal()
        self._draws_from_the_key()
        for training in (False, True):
            self._users_apart(training)
        self.model.eval()
        self._alone()

    def _table_and_states(self) -> None:
        table = self.model.item_table()
        if table.dim() != 2 or len(table) != self.n_items:
            self._broken(
                "item_table",
                f"gives {_shape(table)} for {self.n_items} items",
                "it is [N, D], row i - 1 for item i, without a row for the padding",
            )
        given = self.items.clone()
        states = self._states(given)
        if not torch.equal(given, self.items):
            self._broken("forward", "changes batch.items", "a batch is read and never written")
        expected = (*self.items.shape, table.shape[1])
        if tuple(states.shape) != expected:
            self._broken(
                "forward",
                f"gives states {_shape(states)} for items {_shape(self.items)} and an item table "
                f"{_shape(table)}",
                "states are [B, L, D'] with the width of the table",
            )
        for method, found in (("item_table", table), ("forward", states)):
            if found.dtype != torch.float32:
                self._broken(method, f"gives {found.dtype}", "models compute in float32")
            if not found.isfinite().any():
                self._broken(method, "gives no finite value", "a fresh model scores items")

    def _evaluation_is_still(self) -> None:
        """Two evaluations of one model are equal, whatever the key: no noise is on."""
        first, second = self._states(self.items), self._states(self.items, key=(7, 9))
        if not _equal(first, second):
            self._broken(
                "forward",
                "gives other states in a second evaluation",
                "dropout, noise and sampling are on only where batch.training says so",
            )

    def _alone(self) -> None:
        """The last user's first items: padded among others, and alone without padding."""
        last, length = len(self.items) - 1, self.items.shape[1]
        first = max(2 * length // 3, 1)
        padded = self.items.clone()
        padded[:, first:] = 0
        if not self.model.fixed_length:
            length = first
        states = self._states(padded[last:, :length], first_row=last)
        if not _equal(states[0], self._states(padded)[last, :length]):
            self._broken(
                "forward",
                "gives a user other states alone in a batch"
                + ("" if self.model.fixed_length else ", without padding"),
                "forward sees each user alone, whatever the batch's size and padding",
            )

    def _causal(self) -> None:
        """States before the middle, with other items after it and with none."""
        if self.model.objective != "causal":
            return
        half = self.items.shape[1] // 2
        if half == 0:
            return
        other, none = self.items.clone(), self.items.clone()
        later = other[:, half:]
        later[later > 0] = later[later > 0] % self.n_items + 1
        none[:, half:] = 0
        before = self._states(self.items)[:, :half]
        for changed, what in ((other, "change"), (none, "are left out")):
            if not _equal(before, self._states(changed)[:, :half]):
                self._broken(
                    "forward",
                    f"gives other states before position {half} when later items {what}",
                    "a causal model sees no item after a position, or it trains on its own targets",
                )

    def _users_apart(self, training: bool) -> None:
        """The first user's states with other users beside them, and with the same noise."""
        if len(self.items) < 2:
            return
        self.model.train(training)
        others = self.items.clone()
        others[1:][others[1:] > 0] = others[1:][others[1:] > 0] % self.n_items + 1
        alone = self._states(self.items, training=training)[0]
        if not _equal(alone, self._states(others, training=training)[0]):
            self._broken(
                "forward",
                "gives a user other states when the other users of the batch change"
                + (" (in training)" if training else ""),
                "forward sees each user alone; what needs the batch stands in aux_losses",
            )

    def _draws_from_the_key(self) -> None:
        self.model.train()
        before = _global_generators()
        first = self._states(self.items, training=True)
        touched = before != _global_generators()
        if touched or not _equal(first, self._states(self.items, training=True)):
            self._broken(
                "forward",
                "draws from a global generator, or gives other states for the same key",
                "randomness comes from findrec.ops, keyed by batch.key",
            )

    def _states(
        self,
        items: Tensor,
        *,
        training: bool = False,
        key: tuple[int, int] = (3, 5),
        first_row: int = 0,
    ) -> Tensor:
        """States at valid positions; of a `last` model, at the last of them, which is all it has
        to say."""
        rows = torch.arange(first_row, first_row + len(items))
        batch = Batch(items, rows, torch.tensor(key), training)
        states = self.model(batch).states
        if states.shape[:2] != items.shape:
            return states
        valid = items > 0
        if self.model.objective == "last":
            valid &= torch.arange(items.shape[1]) == valid.sum(1, keepdim=True) - 1
        return torch.where(valid.unsqueeze(-1), states, 0)

    def _broken(self, method: str, what: str, rule: str) -> None:
        raise ContractBroken(f"{self.name}: {_place(self.model, method)} {what}; the rule: {rule}")


def _global_generators() -> tuple[bytes, bytes, object]:
    """States of torch's, NumPy's and Python's own generators."""
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002  (the state that others may draw from)
    own = legacy["state"]
    return (
        torch.get_rng_state().numpy().tobytes(),
        own["key"].tobytes() + bytes(str(own["pos"]), "ascii"),
        random.getstate(),
    )


def _equal(left: Tensor, right: Tensor) -> bool:
    """A NaN equals a NaN: a user who has one is found where scores are ranked."""
    left, right = torch.nan_to_num(left), torch.nan_to_num(right)
    scale = float(left.abs().max())
    return left.shape == right.shape and bool(((left - right).abs() <= TOLERANCE * scale).all())


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _place(model: Recommender, method: str) -> str:
    """ "SASRec.forward (baselines/sasrec.py, line 60)", as far as it can be told."""
    function: Any = getattr(type(model), method)
    name = f"{type(model).__name__}.{method}"
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return name
    return f"{name} ({file}, line {line})"
