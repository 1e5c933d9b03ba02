"""One training step of a stack of seeds: forward, loss, backward, clip, update.

Shapes: S seeds, B windows, L positions, M scored positions. `forward` may be called on parts of a
batch (length groups), each padded to its own longest sequence.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmark.runs.spec import Precision, Training
from benchmark.train.groups import FixedGroups, length_groups
from benchmark.train.negatives import Negatives, sampled_cross_entropy
from benchmark.train.objectives import Task, history_before
from benchmark.train.stack import Stack
from findrec.ops import cross_entropy
from findrec.recommender import Batch, Recommender

LENGTH_GROUPS = 4

Part = tuple[Tensor, int]
"""Rows of a part of the batch, [b], and the length that they are padded to."""


@dataclass(frozen=True)
class FixedCut:
    """Each seed's batch cut into parts of fixed sizes."""

    sizes: FixedGroups
    order: Tensor
    """[S, B] int64: the rows of each seed's batch, the longest sequence first."""

    def scored(self, task: Task) -> tuple[Task, bool]:
        """A task that scores every position of the batch as one that scores those of the parts, in
        their order, since a position past the length that its user is padded to has weight 0; any
        other task as it is. And whether it is of the first kind."""
        users, length = task.items.shape[1:]
        if task.targets.shape[-1] != users * length:
            return task, False
        user = self.order[:, self.sizes.rank]
        position = self.sizes.position.expand_as(user)
        at = user * length + position
        targets, weights = (own.gather(-1, at) for own in (task.targets, task.weights))
        return Task(task.items, user, position, targets, weights), True


def training_step(
    stack: Stack,
    optimizer: torch.optim.Optimizer,
    task: Task,
    keys: Tensor,
    *,
    rate: Tensor,
    clip: float | None,
    groups: bool | FixedCut,
    history_in_softmax: bool = True,
    negatives: Negatives | None = None,
    precision: Precision = "fp32",
) -> dict[str, Tensor]:
    """Update every seed's parameters once; returns the losses before the update by name, each [S].

    keys: [S, 2] int64, seed and step; rate: learning rate, a scalar; clip: largest norm of a seed's
    gradient, None for no clipping; groups: whether the batch is cut into length groups (one seed,
    on a CPU), or the parts of fixed sizes that it is cut into; negatives: how competitors are
    drawn, None where all items compete; history_in_softmax, precision: as in `Training`.
    """
    loss, losses = forward_and_loss(
        stack,
        task,
        keys,
        groups=groups,
        history_in_softmax=history_in_softmax,
        negatives=negatives,
        precision=precision,
    )
    loss.sum().backward()  # seeds share no parameter: each gets the gradient of its own loss
    clip_gradients(stack.parameters.values(), clip)
    update(optimizer, rate)
    return {name: value.detach() for name, value in losses.items()}


def forward_and_loss(
    stack: Stack,
    task: Task,
    keys: Tensor,
    *,
    groups: bool | FixedCut,
    history_in_softmax: bool = True,
    negatives: Negatives | None = None,
    precision: Precision = "fp32",
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss that is minimised, [S], and all losses by name, each [S]."""
    stack.model.train()
    users, length = task.items.shape[1:]
    device = task.items.device
    layout: Tensor | None = None
    shared: int | None
    if isinstance(groups, FixedCut):
        rows, layout = groups.sizes.rows(groups.order), groups.sizes.layout(groups.order, length)
        items = [
            task.items[..., :longest].take_along_dim(own.unsqueeze(-1), 1)
            for own, (_, longest) in zip(rows, groups.sizes.sizes, strict=True)
        ]
        shared = 0
        task, in_order = groups.scored(task)
    elif groups:
        task = task.compact()
        parts = length_groups((task.items[0] > 0).sum(-1), LENGTH_GROUPS)
        rows, layout = [own for own, _ in parts], layout_of(parts, users, length, device)
        items = [task.items[:, own, :longest] for own, longest in parts]
        shared, in_order = None, False
    else:
        rows, items, shared = [torch.arange(users, device=device)], [task.items], None
        in_order = task.targets.shape[-1] == users * length
    in_dims = (0, 0, shared, None if layout is None else shared, 0)
    loss_of = partial(
        seed_loss,
        in_order=in_order,
        history_in_softmax=history_in_softmax,
        negatives=negatives,
        half=precision == "bf16",
    )
    loss, losses = stack.call(loss_of, keys, items, rows, layout, vars(task), in_dims=in_dims)
    return loss, losses


def seed_loss(
    model: Recommender,
    key: Tensor,
    items: list[Tensor],
    rows: list[Tensor],
    layout: Tensor | None,
    task: dict[str, Tensor],
    *,
    in_order: bool = False,
    history_in_softmax: bool = True,
    negatives: Negatives | None = None,
    half: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One seed's loss, and its parts by name: `recommendation` and the model's auxiliary losses.

    items, rows: of each part of the batch, [b, l] and [b]; layout: [B, L], the index of a position
    among those of all parts, joined, or None where one part holds the batch as it is; task: one
    seed's fields of `Task`; in_order: whether it scores all positions of the parts, in their order,
    so that to look their states up would be a gather, and a sort in backward, for nothing;
    history_in_softmax: as in `Training`; negatives: how competitors are drawn, None where all items
    compete; half: whether the model's own products are of bfloat16 numbers. Losses are computed in
    the parameters' dtype.
    """
    # Without autocast's cache: a captured step would go on with weights cast while it was recorded.
    kind = key.device.type
    with torch.autocast(kind, torch.bfloat16, cache_enabled=False) if half else nullcontext():
        table = model.item_table()
        outputs = [
            model(Batch(part, row, key, training=True, table=table))
            for part, row in zip(items, rows, strict=True)
        ]

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([_single(t).flatten(0, 1) for t in tensors])

    users, length = task["items"].shape
    user, position = task["user"], task["position"]
    states = joined([output.states for output in outputs])
    if not in_order:
        states = states[user * length + position if layout is None else layout[user, position]]
    # [M, D'] states, of which those of weight 0 add nothing
    scored = states, _single(table), task["targets"], task["weights"]
    if negatives is not None:
        recommendation = sampled_cross_entropy(*scored, negatives.draw(key), negatives.log_expected)
    else:
        left_out = (
            None
            if history_in_softmax
            else history_before(task["items"], user, position, task["targets"])
        )
        recommendation = cross_entropy(*scored, left_out)
    aux = {}
    for name in outputs[0].aux:
        values = joined([output.aux[name] for output in outputs])
        aux[name] = values.unflatten(0, (users, length)) if layout is None else values[layout]
    auxiliary = model.aux_losses(aux, task["items"] > 0, key)
    weighted = [weight * auxiliary[name] for name, weight in model.aux_loss_weights().items()]
    return recommendation + sum(weighted), {"recommendation": recommendation, **auxiliary}


def _single(x: Tensor) -> Tensor:
    """bfloat16 -> float32; any other dtype as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def layout_of(parts: list[Part], users: int, length: int, device: torch.device) -> Tensor:
    """[B, L]: the index of position (user, t) among those of all parts, joined; 0 past the length
    of the user's part."""
    layout = torch.zeros(users, length, dtype=torch.int64, device=device)
    offset = 0
    for rows, longest in parts:
        count = len(rows) * longest
        block = torch.arange(offset, offset + count, device=device).view(len(rows), longest)
        layout[rows, :longest] = block
        offset += count
    return layout


def clip_gradients(parameters: Iterable[Tensor], clip: float | None) -> None:
    """Scale each seed's gradient, over all parameters [S, ...], to norm `clip` at most.

    Nothing is read on the host.
    """
    if clip is None:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    scale = (clip / (_norm_per_seed(grads) + 1e-6)).clamp(max=1)
    for grad in grads:
        grad.mul_(scale.view(-1, *[1] * (grad.dim() - 1)))


def _norm_per_seed(grads: list[Tensor]) -> Tensor:
    """[S] norms over all stacked gradients [S, ...].

    On a CPU a reduction of [1, n] sums in another order than one of [S, n], so each seed is reduced
    by itself there, to keep it independent of the stack to the bit.
    """
    norm = torch.linalg.vector_norm
    if grads[0].device.type == "cpu":
        seeds = range(len(grads[0]))
        return torch.stack([norm(torch.stack([norm(g[at]) for g in grads])) for at in seeds])
    return norm(torch.stack([norm(g.flatten(1), dim=1) for g in grads]), dim=0)


def make_optimizer(
    parameters: Iterable[Tensor], training: Training, device: torch.device
) -> torch.optim.AdamW:
    """AdamW over stacked parameters.

    Not the fused one on a CPU: it rounds the elements after a tensor's last whole vector
    differently, and which elements those are depends on the number of seeds before them.
    """
    cuda = device.type == "cuda"
    return torch.optim.AdamW(
        list(parameters),
        lr=torch.tensor(training.lr, device=device) if cuda else training.lr,
        weight_decay=training.weight_decay,
        capturable=cuda,
    )


def update(optimizer: torch.optim.Optimizer, rate: Tensor) -> None:
    """One step of the optimiser at the given learning rate; gradients are cleared."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = float(rate)
    optimizer.step()
    optimizer.zero_grad()
