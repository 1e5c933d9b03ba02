"""Every kind of bad input gets one clear message: the file, the line, the remedy."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.bundle import load_bundle
from benchmark.data.content import Bundle
from benchmark.data.own import import_dataset
from benchmark.data.readers import read_interactions, read_items
from benchmark.data.sequences import hold_out
from benchmark.errors import InputError
from benchmark.files import atomic_file, atomic_folder

GOOD = "user,item,timestamp\n" + "".join(
    f"{u},{i},{10 * u + i}\n" for u in range(4) for i in range(4)
)


def load(folder: Path, text: str, **options: object) -> Bundle:
    path = folder / "own.csv"
    path.write_text(text)
    return import_dataset("own", path, root=folder / "data", **{"core": 3, **options})  # type: ignore[arg-type]


def test_good_input_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("timestamp", "time"), r"own.csv, line 1: no column 'timestamp'.*add it"),
        (GOOD.replace("\n0,2,2\n", "\n0,2,noon\n"), r"own.csv, line 4: timestamp 'noon' is not"),
        (GOOD.replace("\n0,2,2\n", "\n0,2,\n"), r"own.csv, line 4: timestamp '' is not a number"),
        (GOOD.replace("\n0,2,2\n", "\n0,2,inf\n"), r"own.csv, line 4: timestamp 'inf'"),
        (GOOD.replace("\n0,2,2\n", "\n0,,2\n"), r"own.csv, line 4: item is empty"),
        (GOOD + "1,2,12\n", r"own.csv, line 18: duplicate interaction of user '1' with item '2'"),
        ("user,item,timestamp\n", r"own.csv: no interactions; the file is empty"),
        ("", r"own.csv: .*save it as UTF-8"),
        (GOOD + "1,2,3,4,5\n", r"own.csv: .*line 18"),
    ],
)
def test_interactions(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, text)
    assert not (tmp_path / "data" / "own").exists()


def test_a_field_beyond_all_measure(tmp_path: Path) -> None:
    rows = "".join(f"u,i{k},{k}\n" for k in range(3))
    path = tmp_path / "x.csv"
    path.write_text(f"user,item,timestamp\n{rows}{'u' * 200_000},i,3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.csv, line 5: a field of more than 131,072 char"):
        import_dataset("own", path, core=None, root=tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"user": "item"},
        {"timestamp": "user"},
        {"title": "id"},
        {"id": "text", "title": "text"},
    ],
)
def test_one_column_for_two_of_ours(tmp_path: Path, columns: dict[str, str]) -> None:
    column = next(iter(columns.values()))
    with pytest.raises(InputError, match=rf"--columns \w+={column}: that column is the \w+ too"):
        import_dataset("own", tmp_path / "none.csv", columns=columns, root=tmp_path)


def test_a_repeated_item_at_another_time_is_no_duplicate(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD + "1,2,99\n")


def test_users_with_too_few_interactions(tmp_path: Path) -> None:
    bundle = load(tmp_path, GOOD + "9,1,1\n", core=None)
    with pytest.raises(InputError, match=r"user 4 has 1 interactions; .* core >= 3"):
        hold_out(bundle, 5)
    with pytest.raises(InputError, match=r"9-core is empty.*smaller core"):
        load(tmp_path, GOOD, core=9)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.csv: no such file; check the path"):
        import_dataset("own", tmp_path / "nowhere.csv", root=tmp_path)
    (tmp_path / "own.parquet").write_text("not parquet")
    with pytest.raises(InputError, match=r"own.parquet: not a readable Parquet file"):
        import_dataset("own", tmp_path / "own.parquet", root=tmp_path)


def test_names(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(GOOD)
    with pytest.raises(InputError, match=r"'beauty' is a known dataset; .*another name"):
        import_dataset("beauty", tmp_path / "own.csv", root=tmp_path)
    with pytest.raises(InputError, match="letters, digits"):
        import_dataset("../escape", tmp_path / "own.csv", root=tmp_path)
    for name in ("Beauty", "beauty-"):  # runs of both would lie in one folder
        with pytest.raises(InputError, match="is a known dataset"):
            import_dataset(name, tmp_path / "own.csv", root=tmp_path)
    with pytest.raises(InputError, match="no letter or digit"):
        import_dataset("данные", tmp_path / "own.csv", root=tmp_path)
    import_dataset("shop_a", tmp_path / "own.csv", core=None, root=tmp_path)
    for name in ("Shop_a", "shop_a-"):
        with pytest.raises(InputError, match=f"'{name}': its runs .* of the dataset 'shop_a' do"):
            import_dataset(name, tmp_path / "own.csv", core=None, root=tmp_path)
    import_dataset("shop_a", tmp_path / "own.csv", core=None, root=tmp_path)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("sequences", "1 5 6\n2\n", r"raw, line 2: a user and at least one item"),
        ("sequences", "1 5 6\n\n", r"raw, line 2: a user and at least one item"),
        ("sequences", "1 5 6\n2 5\n1 7\n", r"raw, line 3: user '1' stands on two lines; join"),
        ("atomic", "user_id\titem_id\n1\t2\n", r"line 1: .*has no type"),
        ("atomic", "user_id:token\titem_id:token\n1\t2\n", r"line 1: no column 'timestamp'"),
        ("amazon-reviews", "{'asin': 'a'}\n", r"line 1: no field 'reviewerID'"),
        ("amazon-reviews", "{'asin': \n", r"line 1: not a record; download"),
        ("grouplens", "not a zip", r"not the ml-100k.zip of GroupLens, or damaged; delete it"),
    ],
)
def test_source_formats(tmp_path: Path, form: str, text: str, message: str) -> None:
    path = tmp_path / ("raw.inter" if form == "atomic" else "raw")
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_interactions(path, form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("items", "title\nA\n", r"line 1: no column 'id'"),
        ("items", "id\na\na\n", r"item 'a' is described twice"),
        ("brand-category", "asin,attributes\nA,Gardening|Pots\n", r"line 2: 'Gardening\|Pots'"),
        ("titles", "item,title\n1\n", r"is not `item,title`"),
        ("amazon-metadata", "{'title': 'x'}\n", r"line 1: no field 'asin'"),
    ],
)
def test_item_formats(tmp_path: Path, form: str, text: str, message: str) -> None:
    path = tmp_path / "items.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_items(path, form)  # type: ignore[arg-type]


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json.gz"
    record = '{"reviewerID": "u", "asin": "a", "unixReviewTime": 1}\n'
    path.write_bytes(gzip.compress((record * 1000).encode())[:-20])
    with pytest.raises(InputError, match=r"cut off or damaged; delete it and download it again"):
        read_interactions(path, "amazon-reviews")


def test_items_of_another_dataset(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id\nA\nB\n")
    with pytest.raises(InputError, match=r"do both files use the same ids\? \('A' against '0'\)"):
        load(tmp_path, GOOD, items=tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 2), np.float32), r"text.npy: values has 3 rows for 4 items"),
        (np.ones((4, 2, 2), np.float32), r"text.npy: values has shape \(4, 2, 2\)"),
        (np.ones((4, 2), np.int64), r"text.npy: values .* expected \[items, width\] of floating"),
        (np.float32([[1], [2], [np.nan], [4]]), r"text.npy: values, row 2 \(item '2'\) holds NaN"),
        (np.float32([[1], [np.inf], [3], [4]]), r"text.npy: values, row 1 \(item '1'\) holds NaN"),
    ],
)
def test_features(tmp_path: Path, values: np.ndarray, message: str) -> None:
    (tmp_path / "items.csv").write_text("id\n0\n1\n2\n3\n")
    np.save(tmp_path / "text.npy", values)
    with pytest.raises(InputError, match=message):
        load(tmp_path, GOOD, items=tmp_path / "items.csv", features={"text": tmp_path / "text.npy"})


def test_features_without_items(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.ones((4, 2), np.float32))
    with pytest.raises(InputError, match=r"whose rows are these\?"):
        load(tmp_path, GOOD, features={"text": tmp_path / "text.npy"})
    np.savez(tmp_path / "text.npz", embeddings=np.ones((4, 2)), ids=np.arange(4))
    with pytest.raises(InputError, match="no array `values` among embeddings, ids"):
        load(tmp_path, GOOD, features={"text": tmp_path / "text.npz"})
    (tmp_path / "text.npy").write_bytes(b"junk")
    (tmp_path / "items.csv").write_text("id\n0\n1\n2\n3\n")
    with pytest.raises(InputError, match=r"not readable as .npy"):
        load(tmp_path, GOOD, items=tmp_path / "items.csv", features={"text": tmp_path / "text.npy"})


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not write; root, whom modes do not stop, becomes nobody."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    root = os.geteuid() == 0
    parents = [p for p in tmp_path.parents if p.stat().st_uid == 0 and p != Path("/")]
    modes = [(p, p.stat().st_mode) for p in [tmp_path, *parents]]
    if root:
        for path, mode in modes:
            path.chmod(mode | 0o055)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
            for path, mode in modes:
                path.chmod(mode)
        folder.chmod(0o755)


def test_read_only_folder(read_only: Path) -> None:
    with (
        pytest.raises(InputError, match=r"locked: cannot be written .*FINDREC_DATA"),
        atomic_file(read_only / "x"),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"locked: cannot be written .*FINDREC_DATA"),
        atomic_folder(read_only / "bundle"),
    ):
        pass


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        load(tmp_path, GOOD)


def test_full_disk(tmp_path: Path) -> None:
    """The system refuses a write that exceeds the process's file size limit as it refuses one on a
    full disk; the bundle that stood there before survives."""
    before = load(tmp_path, GOOD)
    times = np.random.default_rng(0).integers(10**9, size=(300, 30)).tolist()
    many = "".join(f"{u},{i},{times[u][i]}\n" for u in range(300) for i in range(30))
    (tmp_path / "large.csv").write_text("user,item,timestamp\n" + many)
    paths = f"Path({str(tmp_path / 'large.csv')!r}), root=Path({str(tmp_path / 'data')!r})"
    code = f"""
import resource
from pathlib import Path
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    import_dataset("own", {paths})
except InputError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "no space left to write; free some" in result.stdout, result.stderr
    assert load_bundle("own", root=tmp_path / "data").meta == before.meta
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["own"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def stop_half_way() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
