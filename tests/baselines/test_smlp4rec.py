"""SMLP4Rec: the contract, and what its three directions and the shared layer do."""

import dataclasses

import pytest
import torch

from baselines.smlp4rec import SMLP4Rec, SMLP4RecConfig
from findrec.recommender import Batch
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract

LENGTH = 7


class TestSMLP4Rec(RecommenderContract):
    model = SMLP4Rec

    def config(self) -> SMLP4RecConfig:
        return SMLP4RecConfig(dim=8, max_length=LENGTH, dropout=0.2, layers=2)
