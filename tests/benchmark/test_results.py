"""Results for other programs: numbers against the store's, ids against the source's rows."""

import json
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
from benchmark.evaluate.metrics import METRICS, per_user
from benchmark.plan import spec_of
from benchmark.results import COLUMNS, load_results, top_lists
from benchmark.run import run_seeds
from benchmark.runs.promote import promote
from benchmark.runs.split_table import SplitTables
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.results import draw_above, failed_result, make_result, make_spec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path):
    """Two rows with two seeds each, a failed run, and a damaged one."""
    store, rng = Store(tmp_path / "runs"), np.random.default_rng(0)
    for model in ("SASRec", "NOVA"):
        for seed in range(2):
            store.write(make_result(make_spec(model), seed, draw_above(rng, 30)))
    store.write(failed_result(make_spec("SASRec"), 2, "loss is NaN"))
    store.write(make_result(make_spec("SASRec"), 3, draw_above(rng, 30))).write_text("{}")
    return store


def test_a_row_for_every_run_metric_and_protocol(store):
    frame = load_results(store.root)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 2 * 2 * len(METRICS) * 2
    assert not frame.duplicated(list(COLUMNS[:-1])).any()
    row = frame.query("model == 'NOVA' and seed == 1 and metric == 'MRR@5'").set_index("protocol")
    ranks = store.read(make_spec("NOVA").key, 1).test
    assert row["value"]["kept"] == per_user(ranks, "MRR@5").mean()
    assert row["value"]["left out"] == per_user(ranks, "MRR@5", masked=True).mean()
    assert [line.partition("seed-")[2] for line in frame.attrs["left_out"]] == [
        "2.json: loss is NaN",
        "3.json: not a run's record; the run has to be computed again",
    ]


def test_runs_of_one_profile(store):
    """Its rows and its damaged runs alone; a profile without a run is refused."""
    whole = load_results(store.root)
    spec = make_spec("NOVA", profile="reading-b")
    store.write(make_result(spec, 0, np.arange(30)))
    store.write(make_result(spec, 1, np.arange(30))).write_text("{}")
    own = load_results(store.root, profile="reading-b")
    assert set(own["profile"]) == {"reading-b"}
    assert len(own) == len(METRICS) * 2
    assert len(own.attrs["left_out"]) == 1
    quick = load_results(store.root, profile="quick")
    pd.testing.assert_frame_equal(quick, whole)
    assert quick.attrs["left_out"] == whole.attrs["left_out"]
    with pytest.raises(InputError, match="holds no run of profile 'paper'"):
        load_results(store.root, profile="paper")


def test_a_row_for_every_user(store):
    """Their mean is the row without users."""
    each = load_results(str(store.root), metrics=["HR@7"], split="validation", users=True)
    assert tuple(each.columns) == (*COLUMNS[:-1], "user", "value")
    assert len(each) == 2 * 2 * 2 * 30
    means = each.groupby(list(COLUMNS[:-1]), as_index=False)["value"].mean()
    whole = load_results(store.root, metrics=["HR@7"], split="validation")
    pd.testing.assert_frame_equal(
        means, whole.sort_values(list(COLUMNS[:-1])).reset_index(drop=True), rtol=1e-12
    )


def test_users_with_several_targets_have_one_row(tmp_path):
    store = Store(tmp_path)
    made = make_result(make_spec(), 0, np.array([0, 1, 50, 3]))
    ranks = replace(made.test, user=np.array([0, 0, 2, 2], np.int32))
    store.write(replace(made, test=ranks, length=np.full(2, 9, np.int32)))
    frame = load_results(tmp_path, metrics=["HR@5"], users=True).query("protocol == 'kept'")
    assert frame["user"].tolist() == [0, 2]
    assert frame["value"].tolist() == [1.0, 0.5]


def test_what_cannot_be_loaded_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_results(tmp_path / "none")
    with pytest.raises(InputError, match="unknown metric"):
        load_results(store.root, metrics=["NDGC@10"])
    with pytest.raises(InputError, match="write 'test' or 'validation'"):
        load_results(store.root, split="train")
    with pytest.raises(InputError, match="metrics: names nothing"):
        load_results(store.root, metrics=[])
    alone = load_results(store.root, metrics=["NDCG@10"])
    for metrics in ("NDCG@10", ["NDCG@10", "NDCG@10"]):
        pd.testing.assert_frame_equal(load_results(store.root, metrics=metrics), alone)
    (tmp_path / "empty").mkdir()
    assert tuple(load_results(tmp_path / "empty").columns) == COLUMNS


# ---------------------------------------------------------------- the source's own ids


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A dataset of a user's own, with words for ids, a run of it, and its rows as they were given:
    each user's items in the order of time."""
    place = tmp_path_factory.mktemp("own")
    rng = random.Random(0)
    rows = [
        (f"u{u}", f"item-{i}", 1000 + 100 * u + at)
        for u in range(30)
        for at, i in enumerate(rng.sample(range(40), 9))
    ]
    shuffled = rng.sample(rows, len(rows))
    pd.DataFrame(shuffled, columns=["user", "item", "timestamp"]).to_csv(
        place / "rows.csv", index=False
    )
    names = pd.DataFrame({"id": sorted({row[1] for row in rows})})
    names.assign(title="About " + names["id"]).to_csv(place / "items.csv", index=False)
    import_dataset(
        "shop", place / "rows.csv", items=place / "items.csv", core=None, root=place / "data"
    )
    spec = spec_of("EASE", "shop", get_profile("smoke"))
    run_seeds(spec, [0], Store(place / "runs"), data=place / "data")
    items = defaultdict(list)
    for user, item, _ in rows:
        items[user].append(item)
    return place, spec.key, dict(items)


def test_recommendations_are_by_the_sources_ids(own):
    """Left out, nothing that the user has met but the held-out item; kept, the best of all."""
    place, key, items = own
    lists = top_lists(Store(place / "runs"), key, 0, data=place / "data")
    for user in ("u0", "u7", "u29"):
        new = lists.recommend(user)
        assert new["place"].tolist() == list(range(1, 11))
        assert not set(new["item"]) & set(items[user][:-1])
        assert new["title"].tolist() == [f"About {item}" for item in new["item"]]
        every = lists.recommend(user, 40, history="kept")
        assert set(every["item"]) == {item for own_items in items.values() for item in own_items}
        met = set(items[user][:-1])
        assert [i for i in every["item"] if i not in met][:10] == new["item"].tolist()
    with pytest.raises(InputError, match=r"user 'v0': not in shop, .* \(u\d+, "):
        lists.recommend("v0")


def test_trec_files_are_by_the_sources_ids(own, tmp_path):
    """The relevant item is the last of the rows that were given; hits that are counted in the files
    are those of the stored ranks, for users whose target ties with nothing."""
    place, key, items = own
    lists = top_lists(Store(place / "runs"), key, 0, data=place / "data")
    qrels, kept, left_out = lists.write_trec(tmp_path)
    assert [path.name for path in (qrels, kept, left_out)] == [
        "shop.qrels",
        "ease-base-seed-0.kept.run",
        "ease-base-seed-0.left-out.run",
    ]
    relevant = {line.split()[0]: line.split()[2] for line in qrels.read_text().splitlines()}
    assert relevant == {user: own_items[-1] for user, own_items in items.items()}
    ranks = Store(place / "runs").read(key, 0).test
    for path, masked in ((kept, False), (left_out, True)):
        hits = defaultdict(float)
        for line in path.read_text().splitlines():
            user, _, item, rank, _, tag = line.split()
            assert tag == "ease-base-seed-0"
            hits[user] += int(rank) <= 10 and item == relevant[user]
        expected = per_user(ranks, "HR@10", masked=masked)
        untied = (ranks.equal_masked if masked else ranks.equal) == 0
        assert untied.sum() > 20
        found = np.array([hits[user] for user in lists.users])
        assert 0 < found.mean() < 1
        assert np.array_equal(found[untied], expected[untied])


def test_users_with_several_targets_have_a_query_for_each(own, tmp_path):
    place, key, _ = own
    lists = top_lists(Store(place / "runs"), key, 0, data=place / "data")
    twice = replace(
        lists,
        user=np.array([4, 4, 5]),
        target=np.array([1, 2, 3]),
        ranks=replace(lists.ranks, top=lists.ranks.top[:3], top_masked=lists.ranks.top_masked[:3]),
    )
    names = [line.split()[0] for line in twice.write_trec(tmp_path)[0].read_text().splitlines()]
    assert names == [f"{lists.users[4]}/1", f"{lists.users[4]}/2", lists.users[5]]
    assert (
        twice.recommend(lists.users[4], 1)["item"][0] == lists.items[twice.ranks.top_masked[1][0]]
    )
    with pytest.raises(InputError, match="not among the 2 users that this run"):
        twice.recommend(lists.users[0])


def test_two_queries_of_one_name_are_refused(own, tmp_path):
    """User `a` with two queries has `a/1`, which may be another user's id: their lists would be one
    query's to whatever reads the file."""
    place, key, _ = own
    lists = top_lists(Store(place / "runs"), key, 0, data=place / "data")
    users = [*lists.users]
    users[5] = f"{users[4]}/1"
    ranks = replace(lists.ranks, top=lists.ranks.top[:3], top_masked=lists.ranks.top_masked[:3])
    clash = replace(
        lists, users=users, user=np.array([4, 4, 5]), target=np.array([1, 2, 3]), ranks=ranks
    )
    with pytest.raises(InputError, match=rf"two queries would be called '{users[5]}'.*--numbers"):
        clash.write_trec(tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = clash.write_trec(tmp_path, numbers=True)[0].read_text().splitlines()
    assert [line.split()[0] for line in first] == ["4/1", "4/2", "5"]


def test_ids_with_blanks_are_refused_and_numbers_offered(own, tmp_path):
    place, key, _ = own
    lists = top_lists(Store(place / "runs"), key, 0, data=place / "data")
    spaced = replace(lists, items=[*lists.items[:-1], "two words"])
    with pytest.raises(InputError, match="'two words' has a blank"):
        spaced.write_trec(tmp_path)
    first = spaced.write_trec(tmp_path, numbers=True)[0].read_text().splitlines()[0].split()
    assert first == ["0", "0", str(lists.target[0]), "1"]


def test_lists_that_are_not_there_or_not_of_these_data_are_refused(own, tmp_path):
    place, key, _ = own
    store, bare = Store(place / "runs"), Store(tmp_path / "bare")
    with pytest.raises(InputError, match="no run of EASE on shop"):
        top_lists(store, key, 1)
    promote(store, bare)
    with pytest.raises(InputError, match="its top lists were not kept"):
        top_lists(bare, key, 0)
    rows = pd.read_csv(place / "rows.csv")
    rows.iloc[:-9].to_csv(tmp_path / "rows.csv", index=False)
    import_dataset("shop", tmp_path / "rows.csv", core=None, root=tmp_path / "data")
    with pytest.raises(InputError, match="made with another edition of shop"):
        top_lists(store, key, 0, data=tmp_path / "data")


def test_the_commands(own, tmp_path):
    place, _, items = own
    where = ["--from", str(place / "runs"), "--data", str(place / "data")]
    shown = CliRunner().invoke(app, ["recommend", "ease", "shop", "u3", "--top", "2", *where])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == "EASE on shop (smoke), seed 0, user u3"
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert not {line.split()[1] for line in lines[1:]} & set(items["u3"][:-1])
    run = next((place / "runs").rglob("seed-0.json"))
    copies = [run.with_name(f"{name}.json") for name in ("seed-0 copy", "seed-x")]
    for copy in copies:  # a user's own, beside the run
        copy.write_bytes(run.read_bytes())
    assert CliRunner().invoke(app, ["recommend", "ease", "shop", "u3", *where]).exit_code == 0
    for copy in copies:
        copy.unlink()
    done = CliRunner().invoke(app, ["export-trec", "EASE", "shop", str(tmp_path), *where])
    assert done.exit_code == 0, done.output
    assert {path.suffix for path in tmp_path.iterdir()} == {".qrels", ".run"}


def test_the_references_stay_small_enough_to_clone():
    """25 MB in all: what no claim rests on leaves before more is added."""
    files = [path for path in (ROOT / "results" / "reference").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6


def test_every_reference_has_the_table_that_it_leans_on():
    """git merges a branch that dropped a table and one that leans on it without a word."""
    root = ROOT / "results" / "reference"
    tables = SplitTables(root)
    leaning = set()
    for path in Store(root).paths():
        record = json.loads(path.read_text())
        if record["split_sha256"] is not None:
            leaning.add((record["spec"]["dataset"], record["split_sha256"]))
    for dataset, digest in leaning:
        assert tables.get(dataset, digest).sha256 == digest
    assert {tables.path(*one) for one in leaning} == set(tables.folder.iterdir())
