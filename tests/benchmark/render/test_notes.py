"""What is said below a table of the runs behind it."""

import pytest

from benchmark.render.notes import mixed
from tests.benchmark.results import ENVIRONMENT, make_record, make_spec


@pytest.mark.parametrize(
    ("environments", "said"),
    [
        ([("cpu", "2.13.0")] * 2, []),
        ([("cpu", "2.13.0"), ("H100", "2.13.0")], ["devices (H100, cpu);"]),
        ([("cpu", "2.13.0"), ("cpu", "2.11.0")], ["versions of torch (2.11.0, 2.13.0);"]),
        (
            [("cpu", "2.13.0"), ("H100", "2.11.0")],
            ["devices (H100, cpu) and versions of torch (2.11.0, 2.13.0);"],
        ),
    ],
)
def test_runs_of_different_devices_or_versions_are_marked(environments, said):
    records = [
        make_record(
            make_spec(),
            seed,
            environment=ENVIRONMENT.model_copy(
                update={"device": device, "packages": {"torch": torch}}
            ),
        )
        for seed, (device, torch) in enumerate(environments)
    ]
    lines = mixed(records)
    assert len(lines) == len(said)
    assert all(f"made with different {end}" in line for line, end in zip(lines, said, strict=True))
