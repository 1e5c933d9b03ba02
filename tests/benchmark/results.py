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


def with_ranks(several_a_user, seed=0, *, users=None):
    """A run with everything that ranks can have but top lists, drawn at random. A user's history
    grows from query to query but where the target was met before, which shortens it by one. Users'
    numbers have gaps. users: of how many the lengths are kept, all of them if None."""
    rng = np.random.default_rng(seed)
    count = 400
    user = np.sort(3 * rng.integers(0, 60, count)) if several_a_user else np.arange(count)
    first = np.diff(user, prepend=-1) != 0
    start = rng.integers(3, 200, count)
    history = np.zeros(count, int)
    for at in range(count):
        history[at] = start[at] if first[at] else history[at - 1] + rng.choice([-1, 1, 1, 1])
    above, equal = rng.integers(0, 500, count), rng.integers(0, 3, count)
    kept = rng.integers(0, 100_000, (3, count))
    ranks = Ranks(
        above=above.astype(np.int32),
        equal=equal.astype(np.int32),
        above_masked=(above - rng.integers(0, above + 1)).astype(np.int32),
        equal_masked=(equal - rng.integers(0, equal + 1)).astype(np.int32),
        n_candidates_masked=(1_500 - history).astype(np.int32),
        n_items=1_500,
        popularity=np.concatenate([kept, kept - rng.integers(0, kept + 1)]).astype(np.int32),
        lowered=rng.integers(0, 4, (count, 7)).astype(np.int32),
        user=user.astype(np.int32) if several_a_user else None,
    )
    length = rng.integers(5, 300, len(np.unique(user)) if users is None else users).astype(np.int32)
    return RunResult(make_record(make_spec(), seed), ranks, ranks, length)
