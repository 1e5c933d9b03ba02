"""FindRec: the contract, missing modalities, ablations and every switch."""

from findrec.config import FindRecConfig
from findrec.model import FindRec
from tests.contract import RecommenderContract


def config(**changes: object) -> FindRecConfig:
    sizes: dict[str, object] = {
        "dim": 24, "align_dim": 24, "max_length": 7, "dropout": 0.2, "layers": 1, "d_state": 3,
        "heads": 2, "experts": 3, "iicm_samples": 16,
    }  # fmt: skip
    # A weight at which an error in a term shows in the gradients of the whole loss.
    return FindRecConfig(**({"iicm_weight": 0.5} | sizes | changes))  # type: ignore[arg-type]


class TestFindRec(RecommenderContract):
    model = FindRec

    def config(self) -> FindRecConfig:
        return config()
