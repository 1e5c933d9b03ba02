"""The last lines of a command: the answer for each dataset, and where to look."""

import numpy as np
import pytest

from benchmark.cli import closing
from benchmark.cli.closing import verdict_lines, where_to_look
from benchmark.plan import Planned
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from tests.benchmark.results import draw_above, make_result, make_spec

ROWS = ("SASRec", "FindRec", "NOVA", "EASE", "FindRec (released)", "Late fusion")
NOT_COMPARED = ROWS[3:]


@pytest.fixture
def planned(tmp_path):
    """Six seeds of six rows on two datasets, all alike but EASE, a control, the reading and the
    arm, which are far better."""

    def make(missing=()):
        store = Store(tmp_path)
        specs = [make_spec(m, dataset=d, training={}) for d in ("ml-100k", "beauty") for m in ROWS]
        for spec in specs:
            for seed in range(6):
                rng = np.random.default_rng([seed, *spec.model.encode()])
                quality = 9 if spec.model in NOT_COMPARED else 1
                if (spec.dataset, spec.model, seed) not in missing:
                    store.write(make_result(spec, seed, draw_above(rng, 200, quality)))
        runs = RunSet(store)
        return [
            Planned(s.key, s, {seed: runs.status(s.key, seed) for seed in range(6)}) for s in specs
        ]

    return make


def test_a_line_a_dataset_against_trained_rows_alone(planned):
    lines = verdict_lines(planned(), reuse_stale=False)
    assert [line.split(":")[0] for line in lines] == ["ml-100k", "beauty"]
    for line in lines:
        assert "FindRec is not shown to beat" in line or "FindRec beats" in line
        assert "EASE" not in line
        assert "released" not in line
        assert "Late fusion" not in line


def test_rows_that_lack_seeds_are_named(planned):
    one = planned(missing=[("beauty", "NOVA", 5)])
    assert verdict_lines(one, reuse_stale=False)[1] == (
        "beauty: no verdict yet, 1 row lacks seeds (NOVA)"
    )


def test_of_many_rows_that_lack_seeds_the_first_are_named(planned, monkeypatch):
    monkeypatch.setattr(closing, "NAMED", 2)
    lacking = [("beauty", row, 5) for row in ("SASRec", "FindRec", "NOVA")]
    assert verdict_lines(planned(missing=lacking), reuse_stale=False)[1] == (
        "beauty: no verdict yet, 3 rows lack seeds (SASRec, ...)"
    )


def test_where_the_question_is_not_asked_there_is_no_line(planned):
    whole = planned()
    alone = [p for p in whole if p.key.model in ("FindRec", "EASE")]
    assert verdict_lines(alone, reuse_stale=False) == []
    others = [p for p in whole if p.key.model != "FindRec"]
    assert verdict_lines(others, reuse_stale=False) == []


def test_where_to_look(tmp_path, monkeypatch):
    monkeypatch.setattr(closing, "shown_path", lambda path: path.relative_to(tmp_path))
    paths = [tmp_path / "tables" / f"table2.{suffix}" for suffix in ("csv", "md", "tex")]
    assert where_to_look(paths, tmp_path) == [
        "table: tables/table2.md",
        "report: report/index.html (./reproduce.sh report makes it)",
    ]
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").touch()
    assert where_to_look(paths, tmp_path)[1] == "report: report/index.html"
