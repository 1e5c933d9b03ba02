"""What the commands of one test leave behind in the process."""

from collections.abc import Iterator

import pytest

from benchmark.cli.options import console


@pytest.fixture(autouse=True)
def _no_log_stays_open() -> Iterator[None]:
    """`main` ends a command's log; a test that calls the app alone left it to the next command."""
    yield
    console.close_log()
