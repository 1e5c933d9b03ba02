"""The contract of `findrec/recommender.py`, checked on the model as configured before it trains.

A model that breaks a rule can train without complaint and rank wrongly: a table with a row for the
padding shifts every rank by one, a mean over the batch lets one user's history into another's
score.
The contract tests (docs/extending.md) say the same of a model's class; this says it of the model
that a command is about to train, on real sequences, in well under a second.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

import torch
from torch import Tensor

from benchmark.data.sequences import Windows
from benchmark.errors import InputError, nearest
from benchmark.preflight.probe import (
    KEY,
    Asked,
    ask,
    batch_of,
    constants,
    different,
    differing,
    equal,
    filled,
    global_generators,
    perturb,
    rows_read,
    sequences,
    written_to,
)
from findrec.recommender import Catalogue, Objective, Output, Recommender


class ContractBroken(InputError):
    """The model of a row breaks a rule of the contract. The message names row, place and rule."""


@torch.no_grad()
def check_contract(
    name: str, build: Callable[[], Recommender], windows: Windows, catalogue: Catalogue
) -> None:
    """Raise ContractBroken for the first rule that the model breaks.

    name: the row, for the message. build: makes the model on the CPU. windows: real training
    sequences. catalogue: what the model is built with.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        torch.manual_seed(1)
        other = build()
        check = _Check(name, model, sequences(model, windows), catalogue)
        check.declarations(other)
        perturb(model)
        check.run()


@dataclass
class _Check:
    name: str
    model: Recommender
    items: Tensor
    catalogue: Catalogue

    @property
    def n_items(self) -> int:
        return self.catalogue.items

    @property
    def _declares_noise(self) -> bool:
        """Whether its settings turn noise on in evaluation, as a reading of the paper may."""
        return bool(getattr(self.model.config, "noise_at_evaluation", False))

    def declarations(self, other: Recommender) -> None:
        """What the class says of itself; other: the model of another seed."""
        known, objective = get_args(Objective), self.model.objective
        if objective not in known:
            self._broken(
                "",
                f"has the objective {objective!r}{nearest(str(objective), known)}",
                f"an objective is one of {', '.join(known)}",
            )
        frozen = [n for n, p in self.model.named_parameters() if not p.requires_grad]
        if frozen:
            self._broken(
                "__init__",
                f"makes a parameter {frozen[0]!r} that is not to be trained",
                "every parameter is trained; a constant is a buffer (register_buffer)",
            )
        if drawn := different(constants(self.model), constants(other)):
            self._broken(
                "__init__",
                f"draws {drawn!r}, which is no parameter",
                "buffers are constants that all seeds share; what is drawn is a parameter",
            )

    def run(self) -> None:
        self.model.eval()
        held = constants(self.model)
        versions = {name: value._version for name, value in held.items()}
        table = self._table_and_states()
        first = self._ask(self.items).states
        self._evaluation_is_still()
        self._draws_from_the_key()
        for training in (False, True):
            self._users_apart(training)
            self._causal(training)
            self._alone(training)
        self._table_is_still(table)
        self._aux_losses()
        self._nothing_is_kept(first, held, versions)
        self._noise_is_keyed()
        self._place_and_table(table)
        self._rows_of_items(table)

    def _table_and_states(self) -> Tensor:
        """Shapes, types and finite values; the item table [N, D], which other rules compare with
        because it is the dearest part of a model that reads features."""
        table = self._table()
        if not isinstance(table, Tensor):
            self._broken("item_table", f"gives a {type(table).__name__}", "it is a tensor [N, D]")
        if table.dim() != 2 or len(table) != self.n_items:
            self._broken(
                "item_table",
                f"gives {_shape(table)} for {self.n_items} items",
                "it is [N, D], row i - 1 for item i, without a row for the padding",
            )
        output = self.model(batch_of(self.items))
        if not isinstance(output, Output) or not isinstance(output.states, Tensor):
            self._broken("forward", f"gives a {type(output).__name__}", "it is Output(states, aux)")
        for name, value in output.aux.items():
            if value.shape[:2] != self.items.shape:
                self._broken(
                    "forward",
                    f"gives {_shape(value)} as aux {name!r} for items {_shape(self.items)}",
                    "auxiliary outputs are [B, L, ...]",
                )
        states = self._ask(self.items).states
        expected = (*self.items.shape, table.shape[1])
        if tuple(states.shape) != expected:
            self._broken(
                "forward",
                f"gives states {_shape(states)} for items {_shape(self.items)} and an item table "
                f"{_shape(table)}",
                "states are [B, L, D'] with the width of the table",
            )
        for method, found, what in (("item_table", table, "item"), ("forward", states, "user")):
            if found.dtype != torch.float32:
                self._broken(method, f"gives {found.dtype}", "models compute in float32")
            odd = (~found.isfinite()).flatten(1)
            if odd.all():
                self._broken(method, "gives no finite value", "a fresh model scores items")
            if method == "forward":  # a NaN is found, by user, where scores are ranked
                odd = found.isinf().flatten(1)
            if odd.any():
                first = int(odd.any(1).nonzero()[0]) + 1
                self._broken(
                    method,
                    f"gives a value that is not finite for {what} {first}",
                    "a fresh model scores every item for every user",
                )
        return table

    def _evaluation_is_still(self) -> None:
        """Two evaluations of one model are equal, whatever the key: no noise is on."""
        first = self._ask(self.items).states
        second = self._ask(self.items, key=KEY if self._declares_noise else (7, 9)).states
        if not equal(first, second):
            self._broken(
                "forward",
                "gives other states in a second evaluation",
                "dropout, noise and sampling are on only where batch.training says so",
            )

    def _alone(self, training: bool) -> None:
        """The last user's first items: padded among others, and alone without padding."""
        last, length = len(self.items) - 1, self.items.shape[1]
        first = max(2 * length // 3, 1)
        padded = self.items.clone()
        padded[:, first:] = 0
        if not self.model.fixed_length:
            length = first
        row = torch.tensor([last])
        alone = self._ask(padded[last:, :length], training=training, rows=row).parts()
        among = self._ask(padded, training=training).parts()
        if other := differing(alone, {n: v[last:, :length] for n, v in among.items()}):
            self._broken(
                "forward",
                f"gives a user other {other} alone in a batch"
                + ("" if self.model.fixed_length else ", without padding")
                + _when(training),
                "forward sees each user alone, whatever the batch's size and padding",
            )

    def _causal(self, training: bool) -> None:
        """States before the middle, with other items after it and with none."""
        half = self.items.shape[1] // 2
        if self.model.objective != "causal" or half == 0:
            return
        other, none = self.items.clone(), self.items.clone()
        later = other[:, half:]
        later[later > 0] = later[later > 0] % self.n_items + 1
        none[:, half:] = 0
        before = self._ask(self.items, training=training).states[:, :half]
        for items, what in ((other, "change"), (none, "are left out")):
            if not equal(before, self._ask(items, training=training).states[:, :half]):
                self._broken(
                    "forward",
                    f"gives other states before position {half} when later items {what}"
                    + _when(training),
                    "a causal model sees no item after a position, or it trains on its own targets",
                )

    def _users_apart(self, training: bool) -> None:
        """The first user's states with other users beside them, and with the same noise."""
        self.model.train(training)
        if len(self.items) < 2:
            return
        others = self.items.clone()
        others[1:][others[1:] > 0] = others[1:][others[1:] > 0] % self.n_items + 1
        here, there = (
            {name: part[:1] for name, part in self._ask(items, training=training).parts().items()}
            for items in (self.items, others)
        )
        if other := differing(here, there):
            self._broken(
                "forward",
                f"gives a user other {other} when the other users of the batch change"
                + _when(training),
                "forward sees each user alone; what needs the batch stands in aux_losses",
            )

    def _place_and_table(self, table: Tensor) -> None:
        """It does not matter where in the batch a user stands, or who has computed the table."""
        self.model.eval()
        first = self._ask(self.items).states
        moved = torch.arange(len(self.items)).roll(1)
        if not self._declares_noise and not equal(first, self._ask(self.items, rows=moved).states):
            self._broken(
                "forward",
                "gives a user other states in another row of the batch",
                "batch.rows is a place in a batch, for keyed randomness, and names no user",
            )
        if not equal(first, self._ask(self.items, table=table).states):
            self._broken(
                "forward",
                "gives other states when batch.table has the item table",
                "batch.table saves computing it again and changes no result",
            )

    def _draws_from_the_key(self) -> None:
        self.model.train()
        before = global_generators()
        first = self._ask(self.items, training=True).states
        touched = before != global_generators()
        if touched or not equal(first, self._ask(self.items, training=True).states):
            self._broken(
                "forward",
                "draws from a global generator, or gives other states for the same key",
                "randomness comes from findrec.ops, keyed by batch.key",
            )

    def _noise_is_keyed(self) -> None:
        """What differs in training is noise, other at every step and for every seed."""
        self.model.eval()
        still = self._ask(self.items).states
        self.model.train()
        first = self._ask(self.items, training=True).states
        if equal(first, still):
            return
        for key, what in (((3, 6), "step"), ((4, 5), "seed")):
            if equal(first, self._ask(self.items, training=True, key=key).states):
                self._broken(
                    "forward",
                    f"gives in training other states than in evaluation, the same at any {what}",
                    "training differs by randomness alone, which is keyed by seed and step",
                )

    def _table_is_still(self, table: Tensor) -> None:
        """It is given no key, so that nothing in it can be drawn: a call in training equals the
        first, which was in evaluation; another in evaluation is made in `_rows_of_items`."""
        self.model.train()
        if not equal(table, self._table()):
            self._another_table()

    def _aux_losses(self) -> None:
        """Each is one number, made of the valid positions and the key alone."""
        self.model.train()
        items = self.items.clone()
        items[:, max(2 * items.shape[1] // 3, 1) :] = 0
        batch = batch_of(items, training=True)
        aux, valid = self.model(batch).aux, batch.valid
        padded = {name: filled(value, valid, 1.0) for name, value in aux.items()}
        before = global_generators()
        losses = self.model.aux_losses(aux, valid, batch.key)
        if before != global_generators():
            self._broken(
                "aux_losses",
                "draws from a global generator",
                "randomness comes from findrec.ops, keyed by the key that it is given",
            )
        for name, loss in losses.items():
            if loss.dim() or not loss.isfinite():
                found = _shape(loss) if loss.dim() else float(loss)
                self._broken(
                    "aux_losses", f"gives {found} as {name!r}", "a loss is a finite number"
                )
        if other := differing(losses, self.model.aux_losses(padded, valid, batch.key)):
            self._broken(
                "aux_losses",
                f"gives another {other!r} when the padding holds other values",
                "what is not `valid` counts for nothing",
            )
        for name in self.model.aux_loss_weights():
            if name not in losses:
                self._broken(
                    "aux_loss_weights",
                    f"weighs {name!r}, which aux_losses does not give{nearest(name, losses)}",
                    "a weight has the name of a loss",
                )

    def _rows_of_items(self, table: Tensor) -> None:
        """An item's input and its row of `item_table` read the same row of a table by item, and
        features by item are read in the order of the items' numbers."""
        self.model.eval()
        item = self.n_items // 2 + 1
        read = rows_read(self.model, self.catalogue, item, self.items.shape[1])
        if read is None:
            self._broken(
                "forward", "gives states without a gradient", "what is detached is never trained"
            )
        rows_of_tables, again = read
        if not equal(table, again):
            self._another_table()
        for own in rows_of_tables:
            right = item - own.first_item
            for method, rows in (("forward", own.of_input), ("item_table", own.of_table)):
                if own.is_given and rows and right not in rows:
                    self._broken(
                        method,
                        f"reads {_rows(rows)} of {own.name!r} for item {item}",
                        f"features stand in the order of the items' numbers, here in row {right}",
                    )
            if own.of_input and own.of_table and not own.of_input & own.of_table:
                self._broken(
                    "item_table",
                    f"reads {_rows(own.of_table)} of {own.name!r} for item {item}, and forward "
                    f"reads {_rows(own.of_input)}",
                    "row i - 1 of the item table belongs to item i",
                )

    def _nothing_is_kept(
        self, first: Tensor, held: dict[str, Tensor], versions: dict[str, int]
    ) -> None:
        """All these calls, in training too, have left the model as it was."""
        self.model.eval()
        name = written_to(held, versions) or different(held, constants(self.model))
        if name:
            self._broken(
                "forward",
                f"changes {name!r}",
                "buffers are constants; what a model learns is a parameter",
            )
        if not equal(first, self._ask(self.items).states):
            self._broken(
                "forward",
                "gives other states once it has been called in training",
                "a model keeps nothing between calls but its parameters",
            )

    def _table(self) -> Tensor:
        """The item table, of which nothing is drawn from a global generator."""
        before = global_generators()
        table = self.model.item_table()
        if before != global_generators():
            self._another_table()
        return table

    def _another_table(self) -> NoReturn:
        self._broken(
            "item_table",
            "gives another table in a second call or in training, or draws from a global generator",
            "the table is a function of the parameters and the catalogue",
        )

    def _ask(self, items: Tensor, **options: Any) -> Asked:
        """The model's answer, see `batch_of` for the options."""
        asked = ask(self.model, batch_of(items, **options))
        if asked.written:
            self._broken(
                "forward", f"changes batch.{asked.written}", "a batch is read and never written"
            )
        return asked

    def _broken(self, method: str, what: str, rule: str) -> NoReturn:
        raise ContractBroken(f"{self.name}: {_place(self.model, method)} {what}; the rule: {rule}")


def _when(training: bool) -> str:
    return " (in training)" if training else ""


def _rows(rows: frozenset[int]) -> str:
    return f"row {min(rows)}" if len(rows) == 1 else f"{len(rows)} rows"


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _place(model: Recommender, method: str) -> str:
    """ "SASRec.forward (baselines/sasrec.py, line 60)", as far as it can be told; the class itself
    where `method` is empty."""
    cls = type(model)
    function: Any = getattr(cls, method) if method else cls
    name = f"{cls.__name__}.{method}" if method else cls.__name__
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return name
    return f"{name} ({file}, line {line})"
