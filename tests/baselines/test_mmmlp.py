"""MMMLP: the contract, and what the released code changes."""

import dataclasses

import pytest
import torch

from baselines.mmmlp import MMMLP, MMMLPConfig
from findrec.recommender import Batch
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract

LENGTH = 7


class TestMMMLP(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return MMMLPConfig(dim=8, max_length=LENGTH, dropout=0.2, layers=2)


class TestMMMLPReleased(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return MMMLPConfig(dim=8, max_length=LENGTH, dropout=0.2, layers=2, released=True)
