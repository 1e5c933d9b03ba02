"""What is said below a table of the runs behind it."""

from dataclasses import replace

import pytest

from benchmark.plan import Planned, plan, specs
from benchmark.render.notes import dataset_note, facts, mixed
from benchmark.render.tables.build import OWN_LAYOUTS, build_table
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import fill
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


@pytest.mark.parametrize("name", ["table2", *OWN_LAYOUTS])
def test_every_table_says_so(tmp_path, profile, name):
    """One run of one row is made with another version of torch."""
    store, models = Store(tmp_path), ("SASRec", "FindRec", "Popularity")
    profile = profile.model_copy(update={"run_on": ("ml-100k",)})  # it has both modalities

    def marked():
        wanted = specs([name], profile, models=models)
        rows = plan(wanted, range(2), RunSet(store), as_stored=True)
        table = build_table(name, rows, profile, root=store.root)
        return [note for note in table.document.notes if note.startswith("Mixed runs")]

    rows = fill(store, [name], profile, seeds=2, users=60, models=models)
    assert marked() == []
    run = store.read(rows[0].key, min(rows[0].runs))
    packages = {"torch": "2.11.0"}
    environment = run.record.environment.model_copy(update={"packages": packages})
    store.write(replace(run, record=run.record.model_copy(update={"environment": environment})))
    (note,) = marked()
    assert "different versions of torch (2.11.0, unknown);" in note


def test_a_dataset_of_unknown_settings_has_no_protocol():
    """Without its bundle and without runs, as in a fresh clone, nothing is known of its split."""
    profile, names = get_profile("rolling"), ("ml-1m", "beauty")
    wanted = specs(["machinery"], profile, datasets=list(names), models=("FindRec",))
    rows = [Planned(one.key, one if one.dataset == "ml-1m" else None, {}) for one in wanted]
    notes = {name: dataset_note(name, profile, None) for name in names}
    said = facts(rows, {}, profile, notes)[0]
    assert "are tested, 10 (MovieLens-1M), each given" in said
    assert "Beauty" not in said
