"""Results made by hand, for the tests of the store and of what reads it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmark.runs.identity import identity
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import Environment, Hashes, RunRecord, RunResult
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store

HASHES = Hashes(config="config", code="code", data="data")
ENVIRONMENT = Environment(
    python="3.11", platform="Linux", device="cpu", scan_backend="cpu", threads=1, packages={}
)


TRAINING = {"lr": 1e-3, "batch_size": 8, "steps": 10, "eval_every": 5}


def make_spec(model: str = "SASRec", **fields: Any) -> RunSpec:
    base = {
        "dataset": "toy",
        "model": model,
        "profile": "quick",
        "implementation": "findrec.recommender:Recommender",
    }
    protocol = {"max_length": 50, "stride": 25} | fields.pop("protocol", {})
    if "training" in fields:
        fields["training"] = TRAINING | fields["training"]
    return RunSpec.model_validate(base | fields | {"protocol": protocol})


def make_ranks(above: np.ndarray, n_items: int = 500, top: int = 0) -> Ranks:
    """Ranks without ties, of users whose history of three items stands below the target."""
    above = np.asarray(above, np.int32)
    zero = np.zeros_like(above)
    lists = np.tile(np.arange(1, top + 1, dtype=np.int32), (len(above), 1)) if top else None
    return Ranks(above, zero, above, zero, np.full_like(above, n_items - 3), n_items, lists)


def draw_above(rng: np.random.Generator, users: int, quality: float = 1.0) -> np.ndarray:
    """Numbers of better items, of 500 but three; the larger `quality` (of the order of 1), the
    fewer."""
    return np.minimum(rng.geometric(0.02 * quality, users) - 1, 496)


def make_record(spec: RunSpec, seed: int, **fields: Any) -> RunRecord:
    base = {
        "spec": spec,
        "seed": seed,
        "hashes": HASHES,
        "identity": identity(HASHES, seed),
        "status": "ok",
        "environment": ENVIRONMENT,
        "started": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return RunRecord(**base | fields)


def make_result(
    spec: RunSpec, seed: int, above: np.ndarray, *, top: int = 0, **fields: Any
) -> RunResult:
    """A finished run whose test and validation ranks are the same."""
    ranks = make_ranks(above, top=top)
    length = (5 + np.arange(len(above)) % 40).astype(np.int32)
    return RunResult(make_record(spec, seed, **fields), ranks, ranks, length)


def delete_run(store: Store, spec: RunSpec, seed: int) -> None:
    """Remove a stored run's files."""
    path = store.path(spec.key, seed)
    path.unlink()
    path.with_suffix(".npz").unlink()


def failed_result(spec: RunSpec, seed: int, message: str = "loss is NaN at step 3") -> RunResult:
    return RunResult(make_record(spec, seed, status="failed", message=message))
