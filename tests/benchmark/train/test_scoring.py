"""Scores of a stack against each of its models by itself, one user at a time, without padding."""

import pytest
import torch

from baselines.bert4rec import BERT4Rec
from baselines.sasrec import SASRec
from benchmark.train.scoring import scorer
from benchmark.train.stack import Stack
from findrec.recommender import Batch, Catalogue
from tests.benchmark.train.synthetic import sequences

ITEMS, LENGTH = 30, 12


@pytest.mark.parametrize("cls", [SASRec, BERT4Rec])
@pytest.mark.parametrize("seeds", [[4], [4, 7, 9]])
def test_each_item_is_scored_by_its_own_row(cls, seeds):
    """Tolerance 1e-5 on scores of order 1: sums of 16 float32 products in another order."""

    def build():
        return cls(cls.Config(dim=16, max_length=LENGTH), Catalogue(ITEMS))

    _, queries = sequences(users=10, items=ITEMS, length=LENGTH)
    histories = torch.from_numpy(queries.history)
    stack = Stack(build, seeds, torch.device("cpu"))
    with torch.no_grad():
        for parameter in stack.parameters.values():
            parameter.mul_(5)  # scores of order 1, which initial weights do not give
    found = scorer(stack, stack.parameters)(histories)
    assert found.shape == (len(seeds), 10, ITEMS)
    for at, seed in enumerate(seeds):
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5)
            table = model.item_table()
            for user, history in enumerate(histories):
                items = history[history > 0]
                if cls is BERT4Rec:
                    items = torch.cat([items[-(LENGTH - 1) :], torch.tensor([ITEMS + 1])])
                batch = Batch(items[None], torch.zeros(1, dtype=torch.int64), torch.zeros(2).long())
                state = model(batch).states[0, -1]
                expected = torch.stack([state @ row for row in table])
                assert torch.allclose(found[at, user], expected, rtol=1e-5, atol=1e-5)
                assert expected.std() > 0.1
