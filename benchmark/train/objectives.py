"""The task of a step: the inputs of a model, the positions that are scored, and their targets.

Shapes: S seeds, B windows, L positions, M scored positions. All draws are keyed (findrec.ops), so
a seed's task does not depend on the seeds beside it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from findrec.ops import uniform
from findrec.recommender import Objective, Recommender


@dataclass(frozen=True)
class Task:
    """One step's inputs and targets for S seeds."""

    items: Tensor
    """[S, B, L] int64, padded at the right."""
    user: Tensor
    """[S, M] int64: row in the batch of each scored position."""
    position: Tensor
    """[S, M] int64: where in the sequence it stands."""
    targets: Tensor
    """[S, M] int64: the item to predict, 0 .. N - 1."""
    weights: Tensor
    """[S, M] float: weight in the mean cross-entropy; sums to 1 per seed, 0 fills up."""

    def compact(self) -> "Task":
        """The same task without positions that no seed scores. Reads the weights on the host."""
        scored = (self.weights > 0).any(0)
        return replace(
            self,
            user=self.user[:, scored],
            position=self.position[:, scored],
            targets=self.targets[:, scored],
            weights=self.weights[:, scored],
        )


def make_task(
    model: Recommender,
    windows: Tensor,
    first_target: Tensor,
    keys: Tensor,
    *,
    prefixes: bool = False,
) -> Task:
    """The task of a batch of windows under the model's objective.

    windows: [S, B, L + 1] int64, inputs and, one step later, targets, padded at the right;
    first: [S, B] int64, index of the first input whose target counts; keys: [S, 2] int64.
    With `prefixes`, windows are prefixes of which only the last target counts.
    """
    if model.objective == "cloze":
        return _cloze(model, windows, keys)
    if model.objective == "last" or prefixes:
        return _last(windows, first_target, keys)
    return _causal(windows, first_target)


def _causal(windows: Tensor, first_target: Tensor) -> Task:
    """Every position whose target counts."""
    inputs, targets = windows[..., :-1], windows[..., 1:]
    position = torch.arange(inputs.shape[-1], device=windows.device)
    counts = (targets > 0) & (position >= first_target.unsqueeze(-1))
    return _every_position(inputs, targets, counts)


def _cloze(model: Recommender, windows: Tensor, keys: Tensor) -> Task:
    """Masked positions of the window's last L items (Sun et al. 2019, section 3.6).

    In a share of the sequences only the last item is masked, as in BERT4Rec's training data,
    because evaluation masks the last position. A sequence in which no item is drawn has its last
    item masked, since it would not contribute otherwise.
    """
    config = model.config
    full = windows[..., -1:] > 0
    sequence = torch.where(full, windows[..., 1:], windows[..., :-1])
    valid = sequence > 0
    rows = torch.arange(sequence.shape[1], device=windows.device)
    length = sequence.shape[2]
    draws = torch.vmap(lambda key: uniform(key, "cloze.mask", rows, length))(keys)
    choice = torch.vmap(lambda key: uniform(key, "cloze.last_only", rows))(keys)
    last = torch.arange(length, device=windows.device) == valid.sum(-1, keepdim=True) - 1
    masked = (draws < config.mask_probability) & valid
    only_last = choice.unsqueeze(-1) < config.last_only_probability
    masked = torch.where(only_last | ~masked.any(-1, keepdim=True), last & valid, masked)
    inputs = torch.where(masked, model.n_items + 1, sequence)
    return _every_position(inputs, sequence, masked)


def _last(windows: Tensor, first_target: Tensor, keys: Tensor) -> Task:
    """One prefix of each window, its end drawn uniformly among the targets that count."""
    inputs, targets = windows[..., :-1], windows[..., 1:]
    rows = torch.arange(windows.shape[1], device=windows.device)
    draw = torch.vmap(lambda key: uniform(key, "last.prefix", rows))(keys)
    choices = (targets > 0).sum(-1) - first_target
    # float32 draws can round up to the number of choices itself
    end = first_target + (draw * choices).long().clamp(max=choices - 1)
    position = torch.arange(inputs.shape[-1], device=windows.device)
    items = torch.where(position <= end.unsqueeze(-1), inputs, 0)
    target = targets.gather(-1, end.unsqueeze(-1)).squeeze(-1)
    weights = torch.full(end.shape, 1 / end.shape[1], device=windows.device)
    return Task(items, rows.expand_as(end), end, target - 1, weights)


def _every_position(inputs: Tensor, targets: Tensor, counts: Tensor) -> Task:
    """A task over all B x L positions, of which those that count have equal weight."""
    seeds, users, length = inputs.shape
    flat = torch.arange(users * length, device=inputs.device).expand(seeds, -1)
    weights = counts.flatten(1).float()
    return Task(
        items=inputs,
        user=flat // length,
        position=flat % length,
        targets=(targets.flatten(1) - 1).clamp(min=0),
        weights=weights / weights.sum(1, keepdim=True).clamp(min=1),
    )


def history_before(items: Tensor, user: Tensor, position: Tensor, targets: Tensor) -> Tensor:
    """One seed's items up to each scored position within its window, [M, L] int64, numbered as the
    targets are; the target fills up the places after the position.

    items: [B, L]; user, position, targets: [M], as in `Task`. Of a causal task alone: other tasks
    have other inputs (masks) at their positions.
    """
    before = items[user]
    there = torch.arange(items.shape[-1], device=items.device) <= position.unsqueeze(-1)
    return torch.where(there & (before > 0), before - 1, targets.unsqueeze(-1))


def query(objective: Objective, history: Tensor, mask_token: int) -> tuple[Tensor, Tensor]:
    """Inputs and the position to read for "what comes next", [B, L] and [B].

    A cloze model is asked to fill a mask that stands after the last L - 1 items.
    """
    length = (history > 0).sum(-1)
    if objective != "cloze":
        return history, (length - 1).clamp(min=0)
    full = length == history.shape[1]
    shifted = torch.where(full.unsqueeze(-1), history.roll(-1, dims=1), history)
    end = torch.where(full, length - 1, length)
    return shifted.scatter(1, end.unsqueeze(-1), mask_token), end
