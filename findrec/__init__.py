"""FindRec (Wang et al., KDD '25) and the contract that it shares with every baseline.

    from findrec import Catalogue, Features, FindRec, FindRecConfig

    model = FindRec(FindRecConfig(), Catalogue(items=1000, text=Features(values, present)))

`examples/use_findrec.py` builds it from plain tensors, trains a step and scores all items. Needs
torch, numpy and numba alone.
"""

from findrec.config import FindRecConfig, StreamsConfig
from findrec.late_fusion import LateFusion, LateFusionConfig
from findrec.model import FindRec
from findrec.recommender import (
    Attribute,
    Batch,
    Catalogue,
    Features,
    ModelConfig,
    Output,
    Recommender,
)
from findrec.released import ReleasedFindRec, ReleasedFindRecConfig

__all__ = [
    "Attribute",
    "Batch",
    "Catalogue",
    "Features",
    "FindRec",
    "FindRecConfig",
    "LateFusion",
    "LateFusionConfig",
    "ModelConfig",
    "Output",
    "Recommender",
    "ReleasedFindRec",
    "ReleasedFindRecConfig",
    "StreamsConfig",
]
