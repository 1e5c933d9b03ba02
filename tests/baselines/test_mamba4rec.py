"""Mamba4Rec keeps the contract, and starts as its config says."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus

from baselines.mamba4rec import Mamba4Rec, Mamba4RecConfig
from findrec.mamba import STEP_RANGE, Mamba
from tests.catalogues import catalogue
from tests.contract import RecommenderContract

TINY = Mamba4RecConfig(dim=24, max_length=7, dropout=0.2, d_state=8)


class TestMamba4Rec(RecommenderContract):
    model = Mamba4Rec

    def config(self) -> Mamba4RecConfig:
        return TINY


class TestMamba4RecOfOneLayer(RecommenderContract):
    """One layer has no residual around its Mamba block."""

    model = Mamba4Rec

    def config(self) -> Mamba4RecConfig:
        return dataclasses.replace(TINY, layers=1, start="released")


def first_steps(start: Any) -> torch.Tensor:
    config = dataclasses.replace(TINY, start=start)
    model = Mamba4Rec(config, catalogue(modalities=()))
    blocks = [m for m in model.modules() if isinstance(m, Mamba)]
    assert len(blocks) == TINY.layers
    return torch.cat([softplus(block.dt_proj.bias) for block in blocks])


def test_step_sizes_start_as_configured() -> None:
    """The step size at a zero input: Mamba's range, or softplus(0) as the released code has it."""
    own = first_steps("mamba")
    # The inverse of softplus and back, in float32.
    assert (own > STEP_RANGE[0] * 0.99).all()
    assert (own < STEP_RANGE[1] * 1.01).all()
    assert torch.equal(first_steps("released"), softplus(torch.zeros_like(own)))


def test_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="choose 'mamba' or 'released'"):
        first_steps("zero")
