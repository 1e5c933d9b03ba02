"""What a user's tables come to: every row, the right columns, ids as text, times in order."""

import bz2
import gzip
import lzma
import random
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.bundle import load_bundle, user_ids
from benchmark.data.content import Bundle
from benchmark.data.ids import look_alikes, match_ids
from benchmark.data.own import import_dataset
from benchmark.data.readers import read_interactions, read_items
from benchmark.data.times import parse_times
from benchmark.errors import InputError

PICK = random.Random(0)
ROWS = [
    (f"u{u}", str(i + 1), 1000 + 100 * u + k)
    for u in range(30)
    for k, i in enumerate(PICK.sample(range(20), 8))
]
IDS = sorted({item for _, item, _ in ROWS})
HEAD = ("user", "item", "timestamp")
ATOMIC = ("user_id:token", "item_id:token", "timestamp:float")


def table(
    path: Path, rows: list[tuple], separator: str = ",", head: tuple[str, ...] = HEAD
) -> Path:
    lines = [separator.join(map(str, row)) for row in [head, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(path: Path, **options: object) -> Bundle:
    return import_dataset("own", path, **{"core": None, "root": path.parent / "data", **options})  # type: ignore[arg-type]


def lone_quotes() -> list[tuple]:
    return [(u, f'"{i}' if k in (9, 60) else i, t) for k, (u, i, t) in enumerate(ROWS)]


@pytest.mark.parametrize(("name", "head"), [("x.inter", ATOMIC), ("x.tsv", HEAD)])
def test_quotes_are_characters_where_the_format_has_none(
    tmp_path: Path, name: str, head: tuple[str, ...]
) -> None:
    bundle = load(table(tmp_path / name, lone_quotes(), "\t", head))
    assert bundle.meta.counts.interactions == len(ROWS)
    assert sum(item.startswith('"') for item in bundle.items["id"]) == 2
    assert any("look alike" in remark for remark in bundle.meta.remarks)


def test_a_lone_quote_in_a_csv_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.csv, line 11: a quote opens a field"):
        load(table(tmp_path / "x.csv", lone_quotes()))
    # two quotes that happen to leave three fields: one id over many lines
    rows = [(u, i, t) for u, i, t in ROWS]
    rows[4], rows[9] = (rows[4][0], f'"{rows[4][1]}', 5), (rows[9][0], f'{rows[9][1]}"', 9)
    with pytest.raises(InputError, match=r"x.csv, line 6: item .* goes over several lines"):
        load(table(tmp_path / "x.csv", rows))


def test_titles_that_open_with_a_quote(tmp_path: Path) -> None:
    path = table(tmp_path / "x.inter", ROWS, "\t", ATOMIC)
    titles = {i: f'"Weird {i} goes' if i in ("3", "8") else f"Title {i}" for i in IDS}
    head = ("item_id:token", "title:token_seq", "genre:token_seq")
    table(tmp_path / "x.item", [(i, titles[i], "Drama") for i in IDS], "\t", head)
    bundle = load(path)
    assert dict(zip(bundle.items["id"], bundle.items["title"], strict=True)) == titles


def test_a_column_that_the_header_does_not_name(tmp_path: Path) -> None:
    longer = [(*row, 5) for row in ROWS]
    with pytest.raises(InputError, match=r"x.csv: line 2 has 4 fields, the header has 3"):
        load(table(tmp_path / "x.csv", longer))
    with pytest.raises(InputError, match=r"x.csv: line 6 has 4 fields, the header has 3"):
        load(table(tmp_path / "x.csv", [*ROWS[:4], longer[4], *ROWS[5:]]))
    path = table(tmp_path / "x.csv", ROWS)
    items = table(tmp_path / "items.csv", [(i, f"T {i}", "x") for i in IDS], head=("id", "title"))
    with pytest.raises(InputError, match=r"items.csv: line 2 has 3 fields, the header has 2"):
        load(path, items=items)


def test_an_index_column_is_left_out(tmp_path: Path) -> None:
    """pandas writes its row numbers under an empty name unless told not to."""
    path = table(tmp_path / "x.csv", ROWS)
    pd.DataFrame({"id": IDS, "genre": "x"}).to_csv(tmp_path / "items.csv")
    bundle = load(path, items=tmp_path / "items.csv")
    assert list(bundle.items.columns) == ["item", "id", "title", "text", "genre"]
    assert any("without a name" in remark for remark in bundle.meta.remarks)


@pytest.mark.parametrize(
    ("name", "separator", "head"),
    [
        ("x.csv", ";", HEAD),
        ("x.csv", "\t", HEAD),
        ("x.csv", "|", HEAD),
        ("x.csv", "::", HEAD),
        ("x.TSV", "\t", HEAD),
        ("x.inter", ",", ATOMIC),
        ("x.txt", " ", HEAD),
    ],
)
def test_separators(tmp_path: Path, name: str, separator: str, head: tuple[str, ...]) -> None:
    expected = load(table(tmp_path / "expected.csv", ROWS)).meta.data_hash
    bundle = load(table(tmp_path / name, ROWS, separator, head))
    assert bundle.meta.data_hash == expected
    usual = name == "x.TSV"
    assert any("as separators" in remark for remark in bundle.meta.remarks) is not usual


def test_a_separator_that_is_not_the_problem_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    with pytest.raises(InputError, match=r"double colons between its fields; add it, or name"):
        load(path)


def test_the_files_own_column_names(tmp_path: Path) -> None:
    head = ("reviewerID", "asin", "unixReviewTime")
    path = table(tmp_path / "x.csv", ROWS, head=head)
    with pytest.raises(
        InputError, match="--columns user=reviewerID,item=asin,timestamp=unixReviewTime"
    ):
        load(path)
    items = table(tmp_path / "items.csv", [(i, f"T{i}") for i in IDS], head=("asin", "name"))
    names = {**dict(zip(HEAD, head, strict=True)), "id": "asin", "title": "name"}
    bundle = load(path, items=items, columns=names)
    assert bundle.items["title"].str[1:].tolist() == bundle.items["id"].tolist()
    with pytest.raises(InputError, match=r"--columns price=...: names of columns are given for"):
        load(path, columns={"price": "p"})
    head = ("uid:token", "iid:token", "ts:float")
    atomic = table(tmp_path / "y.inter", ROWS, "\t", head)
    again = load(atomic, columns={"user": "uid", "item": "iid", "timestamp": "ts"})
    assert again.meta.counts == bundle.meta.counts


@pytest.mark.parametrize("name", ["item", "title"])
def test_names_that_the_dataset_needs(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "x.csv", ROWS)
    items = table(tmp_path / "items.csv", [(i, "a", "b") for i in IDS], head=("id", name, "name"))
    with pytest.raises(InputError, match=rf"column '{name}' has a name that the dataset needs"):
        load(path, items=items, columns={"title": "name"})


@pytest.mark.parametrize("name", ["id", "text", "item"])
def test_atomic_names_that_the_dataset_needs(tmp_path: Path, name: str) -> None:
    head = ("item_id:token", f"{name}:token")
    path = table(tmp_path / "x.item", [(i, "a") for i in IDS], "\t", head)
    with pytest.raises(InputError, match=rf"column '{name}:token' has a name that the dataset"):
        read_items(path, "atomic")


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", [(*r, 1) for r in ROWS], head=(*HEAD, "item"))
    with pytest.raises(InputError, match="two columns are called 'item'; rename"):
        load(path)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("suffix", ["csv", "inter", "parquet"])
def test_compressed_files(tmp_path: Path, kind: str, suffix: str) -> None:
    expected = load(table(tmp_path / "expected.csv", ROWS)).meta.data_hash
    plain = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(ROWS, columns=list(HEAD)).to_parquet(plain)
    else:
        atomic = suffix == "inter"
        table(plain, ROWS, *(("\t", ATOMIC) if atomic else (",", HEAD)))
    packed = tmp_path / f"x.{suffix}.{kind}"
    packed.write_bytes(PACK[kind](plain.read_bytes()))
    assert load(packed).meta.data_hash == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(-(2**63), 2**63 - 1)),
        min_size=5,
        max_size=30,
        unique=True,
    ),
    st.sampled_from(["int64", "nullable", "string", "float", "moment", "category", "binary"]),
)
@settings(max_examples=30, deadline=None, database=None, derandomize=True)
def test_parquet_and_csv_give_the_same(rows: list[tuple[int, int, int]], kind: str) -> None:
    """The same frame, written both ways, of any type that both can hold."""
    frame = pd.DataFrame(rows, columns=list(HEAD))
    if kind == "nullable":
        frame = frame.astype("Int64")
    elif kind == "string":
        frame = frame.astype({"user": str, "item": str})
    elif kind == "float":
        frame["timestamp"] = frame["timestamp"].astype("float64") / 1024
    elif kind == "moment":
        frame["timestamp"] = pd.to_datetime(frame["timestamp"] // 2, unit="ns")
    elif kind == "category":
        frame["user"] = frame["user"].astype(str).astype("category")
    elif kind == "binary":
        frame["item"] = pd.Series([str(i).encode() for i in frame["item"]], dtype=object)
    frame = frame.drop_duplicates()

    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(Path(folder) / "x.parquet")
        if kind == "binary":
            frame["item"] = frame["item"].map(bytes.decode)
        frame.to_csv(Path(folder) / "x.csv", index=False)
        ours = read_interactions(Path(folder) / "x.parquet", "table")
        theirs = read_interactions(Path(folder) / "x.csv", "table")
    pd.testing.assert_frame_equal(ours, theirs)


def test_equal_data_hashes_from_parquet_and_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=list(HEAD))
    items = pd.DataFrame({"id": IDS, "genre": [f"g{k % 3}" for k in range(len(IDS))], "year": 1990})
    for name in ("csv", "parquet"):
        for which, what in (("x", frame), ("items", items)):
            path = tmp_path / f"{which}.{name}"
            what.to_parquet(path) if name == "parquet" else what.to_csv(path, index=False)
    hashes = {
        load(tmp_path / f"x.{a}", items=tmp_path / f"items.{b}").meta.data_hash
        for a in ("csv", "parquet")
        for b in ("csv", "parquet")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", pa.array([1.0, 2.0, 3.0]), "column 'user' is of type double; ids are text"),
        ("item", pa.array([True, False, True]), "column 'item' is of type bool; ids are text"),
        ("user", pa.array([1, None, 3]), r"x.parquet, row 2: user is empty"),
        ("user", pa.array([[1], [2], [3]]), r"column 'user' is of type list"),
        ("user", pa.array([{"a": 1}] * 3), r"x.parquet: column 'user' is of type struct"),
        (
            "item",
            pa.array([b"\xff", b"a", b"b"]),
            "item' holds b'.xff', which is not UTF-8",
        ),
        ("timestamp", pa.array([1, None, 3]), r"x.parquet, row 2: timestamp '' is not a number"),
        ("timestamp", pa.array([1.0, float("nan"), 3]), r"row 2: timestamp 'nan' is not a number"),
        (
            "timestamp",
            pa.array([2**63 + 1, 2, 3], pa.uint64()),
            r"row 1: timestamp 9223372036854775809 does not fit into 64 bits",
        ),
        ("timestamp", pa.array([True, False, True]), "timestamp 'True' is not a number"),
        (
            "timestamp",
            pa.array([datetime(2020, 1, 1), None, datetime(2020, 1, 2)]),
            r"row 2: timestamp '' is not a number: it is missing",
        ),
        (
            "timestamp",
            pa.array([datetime(3000, 1, 1)] * 3, pa.timestamp("us")),
            r"row 1: timestamp .* does not fit into 64 bits",
        ),
    ],
)
def test_parquet_columns_that_are_refused(
    tmp_path: Path, column: str, values: pa.Array, message: str
) -> None:
    columns = {"user": ["a", "b", "c"], "item": ["x", "y", "z"], "timestamp": [1, 2, 3]}
    pq.write_table(pa.table({**columns, column: values}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        load(tmp_path / "x.parquet")


def test_a_parquet_file_by_another_name(tmp_path: Path) -> None:
    pd.DataFrame(ROWS, columns=list(HEAD)).to_parquet(tmp_path / "x.pq")
    assert load(tmp_path / "x.pq").meta.counts.interactions == len(ROWS)


def test_whole_numbers_keep_their_order(tmp_path: Path) -> None:
    """Newest first, a nanosecond apart: float64 would keep two different times of 240."""
    rows = [(u, i, 1_700_000_000_000_000_000 - k) for k, (u, i, _) in enumerate(ROWS)]
    bundle = load(table(tmp_path / "x.csv", rows))
    items, offsets = bundle.sequences()
    ids = bundle.items["id"].to_numpy()
    assert ids[items[: offsets[1]] - 1].tolist() == [i for u, i, _ in ROWS if u == "u0"][::-1]
    assert bundle.interactions["timestamp"].nunique() == len(ROWS)
    assert bundle.interactions["timestamp"].dtype == np.int64


@pytest.mark.parametrize(
    ("values", "times"),
    [
        (["3", "-4", "+5"], [3, -4, 5]),
        (["3.0", "4.", "5e2"], [3, 4, 500]),
        (["1700000000000000001.0", "1700000000000000000"], [17 * 10**17 + 1, 17 * 10**17]),
        (["0.5", "2"], [0.5, 2.0]),
        (["1970-01-01", "1970-01-02"], [0, 86_400 * 10**9]),
        (["1970-01-01 00:00:00.000000001", "1970-01-01T00:01"], [1, 60 * 10**9]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:01Z"], [0, 10**9]),
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
    ],
)
def test_times(values: list[str], times: list[float]) -> None:
    found = parse_times(values, str)
    assert found.tolist() == times
    assert found.dtype == (np.float64 if isinstance(times[0], float) else np.int64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", ""], "line 1: timestamp '' is not a number: it is missing"),
        (["1", "1_000"], "line 1: timestamp '1_000' is not a number"),
        (["1", "٣"], "line 1: timestamp .* is not a number"),
        (["1", "0x10"], "line 1: timestamp '0x10' is not a number"),
        (["1,5"], "line 0: timestamp '1,5' is not a number"),
        (["1", "9223372036854775808"], "line 1: timestamp 9223372036854775808 does not fit"),
        (["1.5", "1e300"], "line 1: timestamp 1e300 does not fit"),
        (["1700000000.123456789", "1700000000.123456788"], "line 1: .* more digits than"),
        (["2014-07-23", "1406073600"], "line 1: timestamp '1406073600' is no date as the first"),
        (["2014-07-23", ""], "line 1: timestamp is missing"),
        (["2014-07-23", "2014-07-23T00:00Z"], "line 1: .* has a time zone, unlike"),
        (["2014-13-01"], "line 0: timestamp '2014-13-01' is no date"),
        (["1500-01-01"], "line 0: timestamp 1500-01-01 does not fit into 64 bits"),
    ],
)
def test_times_that_are_refused(values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_times(values, lambda row: f"line {row}")


@pytest.mark.parametrize(
    ("given_id", "known", "how"),
    [
        ("7", "0000000007", "leading zeros are dropped"),
        ("7.0", "7", "decimal places are dropped"),
        ("1.2E+3", "1200", "decimal places are dropped"),
        (" 7", "7", "blanks around them are dropped"),
        ("7.jpg", "7", "file endings are dropped"),
        ("covers/7", "7", "folders before them are dropped"),
        ("covers\\7.PNG", "7", "written alike"),
        ("b'7'", "7", "bytes are read as text"),
        ("b00a", "B00A", "case is ignored"),
        ("Cafe\u0301", "Café", "accents are composed alike"),
    ],
)
def test_ids_that_only_look_alike(given_id: str, known: str, how: str) -> None:
    with pytest.raises(InputError) as caught:
        match_ids(["x", known], ["x", given_id], known_from="k", given_from="g")
    assert f"g: 1 of 2 ids match only if {how}" in str(caught.value)
    assert match_ids(["x", known, given_id], ["x", given_id], known_from="k", given_from="g") == 2


def test_ids_that_are_others(tmp_path: Path) -> None:
    assert match_ids(["a", "b"], ["a", "c", "d"], known_from="k", given_from="g") == 1
    with pytest.raises(InputError, match=r"none of its 2 ids occurs in k; .*\('c' against 'a'\)"):
        match_ids(["a", "b"], ["c", "d"], known_from="k", given_from="g")


def test_look_alikes() -> None:
    assert look_alikes(["7", "007", "b", "B"]) == []  # different, and meant to be
    pairs = look_alikes(["7", "7.0", " 7", '"7', "8"])
    assert pairs == [("7", "7.0"), ("7", " 7"), ("7", '"7')]


def test_items_that_lost_their_zeros(tmp_path: Path) -> None:
    rows = [(u, f"{int(i):010d}", t) for u, i, t in ROWS]
    described = [i if k < 3 else str(int(i)) for k, i in enumerate(sorted({r[1] for r in rows}))]
    items = table(tmp_path / "items.csv", [(i, "T") for i in described], head=("id", "title"))
    with pytest.raises(
        InputError,
        match=r"items.csv: 17 of 20 ids match only if leading zeros .*'0000000004' in x.csv",
    ):
        load(table(tmp_path / "x.csv", rows), items=items)


def test_the_sources_ids_stay(tmp_path: Path, beauty: Bundle) -> None:
    bundle = load(table(tmp_path / "x.csv", [(f"é{u}", i, t) for u, i, t in reversed(ROWS)]))
    assert user_ids(bundle) == [f"éu{u}" for u in range(29, -1, -1)]
    first = bundle.interactions[bundle.interactions["user"] == 3]
    ids = bundle.items["id"].to_numpy()[first["item"].to_numpy() - 1]
    assert ids.tolist() == [i for u, i, _ in ROWS if u == "u26"]
    assert load_bundle("own", root=tmp_path / "data").meta == bundle.meta
    assert len(set(user_ids(beauty))) == len(user_ids(beauty)) == beauty.n_users


def test_escapes_in_halves(tmp_path: Path) -> None:
    """Python 2 spelt characters beyond U+FFFF as two; a half alone is no character."""
    path = tmp_path / "x.json"
    path.write_text("{'asin': 'B', 'title': u'\\ud83d\\ude00', 'brand': '\\ud83d'}\n")
    items = read_items(path, "amazon-metadata")
    assert items["title"].tolist() == ["😀"]
    assert items["brand"].tolist() == ["\ufffd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1,"a\nb"\n', r"line 1: row .* is not `item,title`"),
        ("1,a\n,b\n", r"line 2: item is empty"),
        ("item,title\nx,y\nz\n", r"line 3: row 'z' is not `item,title`"),
    ],
)
def test_titles(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_items(tmp_path / "t.csv", "titles")


def test_only_the_first_line_of_titles_may_be_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("item,title\nv1,a\nv2,b\n")
    assert read_items(tmp_path / "t.csv", "titles")["id"].tolist() == ["v1", "v2"]
