"""Operations that models share; each works alone and under `torch.vmap` over stacked seeds."""

from findrec.ops.loss import cross_entropy
from findrec.ops.random import dropout, normal, uniform
from findrec.ops.recurrent import gru
from findrec.ops.scan import selective_scan

__all__ = ["cross_entropy", "dropout", "gru", "normal", "selective_scan", "uniform"]
