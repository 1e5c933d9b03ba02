"""GRU4Rec keeps the contract, with one layer and with two."""

import dataclasses

from baselines.gru4rec import GRU4Rec, GRU4RecConfig
from tests.contract import RecommenderContract

TINY = GRU4RecConfig(dim=8, max_length=7, dropout=0.2, hidden=12)


class TestGRU4Rec(RecommenderContract):
    model = GRU4Rec

    def config(self) -> GRU4RecConfig:
        return TINY


class TestGRU4RecOfTwoLayers(RecommenderContract):
    model = GRU4Rec

    def config(self) -> GRU4RecConfig:
        return dataclasses.replace(TINY, layers=2)
