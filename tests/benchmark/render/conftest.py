"""A store of synthetic runs, filled once, and what the renderer makes of it."""

import pytest

from benchmark.plan import Planned
from benchmark.runs.store import Store
from benchmark.settings.registry import Profile, get_profile
from tests.benchmark.render.synthetic import fill

MODELS = ("SASRec", "MMMLP", "FindRec", "Popularity")


@pytest.fixture(scope="session")
def profile() -> Profile:
    """`quick` on one dataset, so that the whole store takes seconds."""
    return get_profile("quick").model_copy(update={"run_on": ("beauty",), "seeds": 3})


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory, profile) -> tuple[Store, list[Planned]]:
    store = Store(tmp_path_factory.mktemp("runs"))
    return store, fill(
        store, ["table2", "table6", "fig3", "controls"], profile, users=120, models=MODELS
    )
