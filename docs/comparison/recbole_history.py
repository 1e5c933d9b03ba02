"""RecBole's validation with the history left out.

RecBole takes the items that a user has met before out of the ranking for its general models; for
sequential ones its loader gives no history, and they stay in. This loader gives it, so that
`Trainer.evaluate` sets their scores to -inf by its own code.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole_setup import Run


class HistoryLeftOut(FullSortEvalDataLoader):
    """The validation samples of a run, each with its user's whole history; never its target.

    What stands before a validation target is the training part. RecBole keeps it as prefixes of at
    most 50 items with the item that follows: all of those that follow, and the one item of the
    user's shortest prefix, are the whole of it.
    """

    def __init__(self, run: Run) -> None:
        trained = run.train.dataset.inter_feat
        users, items = run.train.dataset.uid_field, run.train.dataset.iid_field
        lists = trained[run.train.dataset.item_id_list_field]
        shortest = trained[run.train.dataset.item_list_length_field] == 1
        size = (run.dataset.user_num, run.dataset.item_num)
        self.met = torch.zeros(size, dtype=torch.bool)
        self.met[trained[users], trained[items]] = True
        self.met[trained[users][shortest], lists[shortest, 0]] = True
        self.users = users
        super().__init__(run.config, run.valid.dataset, run.valid._sampler)

    def collate_fn(self, index: list[int]) -> tuple[Any, ...]:
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        met = self.met[interaction[self.users]]
        met[positive_u, positive_i] = False
        return interaction, met.nonzero(as_tuple=True), positive_u, positive_i
