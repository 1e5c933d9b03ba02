"""One training step of a stack of seeds: forward, loss, backward, clip, update.

Shapes: S seeds, B windows, L positions, M scored positions. `forward` may be called on parts of a
batch (length groups), each padded to its own longest sequence.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from benchmark.runs.spec import Training
from benchmark.train.groups import length_groups
from benchmark.train.objectives import Task, history_before
from benchmark.train.stack import Stack
from findrec.ops import cross_entropy
from findrec.recommender import Batch, Recommender

LENGTH_GROUPS = 4

Part = tuple[Tensor, int]
"""Rows of a part of the batch, [b], and the length that they are padded to."""


def training_step(
    stack: Stack,
    optimizer: torch.optim.Optimizer,
    task: Task,
    keys: Tensor,
    *,
    rate: Tensor,
    clip: float | None,
    groups: bool,
    history_in_softmax: bool = True,
) -> dict[str, Tensor]:
    """Update every seed's parameters once; returns the losses before the update by name, each [S].

    keys: [S, 2] int64, seed and step; rate: learning rate, a scalar; clip: largest norm of a seed's
    gradient, None for no clipping; groups: whether the batch is cut into length groups (one seed,
    on a CPU); history_in_softmax: as in `Training`.
    """
    loss, losses = forward_and_loss(
        stack, task, keys, groups=groups, history_in_softmax=history_in_softmax
    )
    loss.sum().backward()  # seeds share no parameter: each gets the gradient of its own loss
    clip_gradients(stack.parameters.values(), clip)
    update(optimizer, rate)
    return {name: value.detach() for name, value in losses.items()}


def forward_and_loss(
    stack: Stack, task: Task, keys: Tensor, *, groups: bool, history_in_softmax: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss that is minimised, [S], and all losses by name, each [S]."""
    stack.model.train()
    users, length = task.items.shape[1:]
    if groups:
        task = task.compact()
        parts = length_groups((task.items[0] > 0).sum(-1), LENGTH_GROUPS)
    else:
        parts = [(torch.arange(users, device=task.items.device), length)]
    loss, losses = stack.call(
        partial(seed_loss, history_in_softmax=history_in_softmax),
        keys,
        [task.items[:, rows, :longest] for rows, longest in parts],
        [rows for rows, _ in parts],
        layout_of(parts, users, length, task.items.device),
        vars(task),
        in_dims=(0, 0, None, None, 0),
    )
    return loss, losses


def seed_loss(
    model: Recommender,
    key: Tensor,
    items: list[Tensor],
    rows: list[Tensor],
    layout: Tensor,
    task: dict[str, Tensor],
    *,
    history_in_softmax: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One seed's loss, and its parts by name: `recommendation` and the model's auxiliary losses.

    items, rows: of each part of the batch, [b, l] and [b]; layout: [B, L], the index of a position
    among those of all parts, joined; task: one seed's fields of `Task`; history_in_softmax: as in
    `Training`.
    """
    table = model.item_table()
    outputs = [
        model(Batch(part, row, key, training=True, table=table))
        for part, row in zip(items, rows, strict=True)
    ]

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([t.flatten(0, 1) for t in tensors])

    scored = layout[task["user"], task["position"]]
    states = joined([output.states for output in outputs])[scored]  # [M, D']
    left_out = (
        None
        if history_in_softmax
        else history_before(task["items"], task["user"], task["position"], task["targets"])
    )
    recommendation = cross_entropy(states, table, task["targets"], task["weights"], left_out)
    aux = {
        name: joined([output.aux[name] for output in outputs])[layout] for name in outputs[0].aux
    }
    auxiliary = model.aux_losses(aux, task["items"] > 0, key)
    weighted = [weight * auxiliary[name] for name, weight in model.aux_loss_weights().items()]
    return recommendation + sum(weighted), {"recommendation": recommendation, **auxiliary}


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
