"""Operations that models share; each works alone and under `torch.vmap` over stacked seeds."""

from findrec.ops.loss import cross_entropy
from findrec.ops.perceptron import mlp_row
from findrec.ops.random import dropout, normal, uniform
from findrec.ops.recurrent import gru
from findrec.ops.scan import (
    recorded_scan_backend,
    scan_backend,
    scan_backends,
    selective_scan,
    use_scan_backend,
)

__all__ = [
    "cross_entropy",
    "dropout",
    "gru",
    "mlp_row",
    "normal",
    "recorded_scan_backend",
    "scan_backend",
    "scan_backends",
    "selective_scan",
    "uniform",
    "use_scan_backend",
]
