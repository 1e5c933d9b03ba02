"""Fields that can be read and probably mean something else: refused, or named in the report."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from benchmark.data.content import Bundle
from benchmark.data.ids import look_alikes, match_ids
from benchmark.data.own import import_dataset
from benchmark.data.report import import_report
from benchmark.errors import InputError

ROWS = [(f"u{u}", f"i{i}", 1_500_000_000 + 10 * u + i) for u in range(4) for i in range(4)]
ITEMS = [f"i{i}" for i in range(4)]
VALUES = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def table(path: Path, rows: Sequence[Sequence[object]], *head: str) -> Path:
    separator = "\t" if path.suffix in (".inter", ".item") else ","
    names = head or ("user", "item", "timestamp")
    lines = [separator.join(map(str, line)) for line in (names, *rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def load(folder: Path, rows: Sequence[Sequence[object]] = ROWS, **options: object) -> Bundle:
    path = table(folder / "x.csv", rows)
    return import_dataset("own", path, core=None, root=folder / "data", **options)  # type: ignore[arg-type]


def report(bundle: Bundle) -> str:
    return "\n".join(import_report(bundle))


@pytest.mark.parametrize("word", ["nan", "None", "NULL", " N/A ", "<NA>"])
def test_words_for_a_missing_id_are_named(tmp_path: Path, word: str) -> None:
    rows = [(word if u == "u1" else u, i, t) for u, i, t in ROWS]
    said = f"x.csv: 4 rows have such as {word!r} for user, the first in line 6"
    assert said in report(load(tmp_path, rows))


def test_words_for_a_missing_value_and_lists_are_named(tmp_path: Path) -> None:
    described = [(i, "nan", f"['a'; '{i}']") for i in ITEMS]
    items = table(tmp_path / "items.csv", described, "id", "title", "genre")
    said = report(load(tmp_path, items=items))
    assert "items.csv: 4 rows have such as 'nan' for title, the first in line 2" in said
    assert "items.csv: genre has 4 fields such as '[...]', each of which is one value" in said
    assert "rows have" not in report(load(tmp_path))


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "\u00ad", "\x1f", "\u00a0"])
def test_characters_that_show_nothing(mark: str) -> None:
    assert look_alikes(["u1", f"u1{mark}", "u2"]) == [("u1", f"u1{mark}")]
    with pytest.raises(InputError, match="1 of 2 ids match only if"):
        match_ids(["u1", "u2"], ["u1", f"{mark}u2"], known_from="k", given_from="g")


def test_ties_of_a_user_are_counted(tmp_path: Path) -> None:
    rows = [(u, i, t - t % 2) for u, i, t in ROWS]
    said = "16 of 16 tie with another of the user's: in file order"
    assert said in report(load(tmp_path, rows))
    assert "tie with" not in report(load(tmp_path))


@pytest.mark.parametrize("value", [0, -1])
def test_a_time_that_may_stand_for_none_is_named(tmp_path: Path, value: int) -> None:
    rows = [(u, i, value if i == "i3" else t) for u, i, t in ROWS]
    said = f"4 interactions are at time {value}, all others 2017-07-14 to 2017-07-14"
    assert said in report(load(tmp_path, rows))
    assert "interactions are at" not in report(load(tmp_path, [(u, i, t % 9) for u, i, t in ROWS]))


@pytest.mark.parametrize(("kind", "limit"), [(pa.float32(), 2**24), (pa.float16(), 2**11)])
def test_times_that_their_type_has_rounded(tmp_path: Path, kind: pa.DataType, limit: int) -> None:
    def saved(first: int) -> Path:
        users, items, times = zip(*ROWS, strict=True)
        values = np.array([first + t % 10 + 10 * k for k, t in enumerate(times)])
        columns = {"user": users, "item": items}
        short = pa.array(values.astype(kind.to_pandas_dtype()), kind)
        path = tmp_path / "x.parquet"
        pq.write_table(
            pa.table({**{k: list(v) for k, v in columns.items()}, "timestamp": short}), path
        )
        return path

    bundle = import_dataset("own", saved(0), core=None, root=tmp_path / "data")
    assert bundle.interactions["timestamp"].dtype == np.int64
    with pytest.raises(InputError, match=rf"row 16: timestamp .* above {limit:,} are rounded"):
        import_dataset("own", saved(limit + 1), core=None, root=tmp_path / "data")


def test_types_of_atomic_files(tmp_path: Path) -> None:
    head = ("user_id:token", "item_id:token", "timestamp:float")
    for bad, said in (
        (("user_id:tokn", *head[1:]), "'user_id:tokn' is of no type that atomic files have"),
        ((head[0], "item_id:token_seq", head[2]), "'item_id' is of type token_seq, and an id is"),
    ):
        with pytest.raises(InputError, match=f"x.inter, line 1: column {said}"):
            import_dataset("own", table(tmp_path / "x.inter", ROWS, *bad), root=tmp_path / "data")
    path = table(tmp_path / "x.inter", ROWS, *head)
    described = [(i, f"T {i}", "Drama") for i in ITEMS]
    table(tmp_path / "x.item", described, "item_id:token", "title:token_seq", "genre:tokens")
    with pytest.raises(InputError, match=r"x.item, line 1: column 'genre:tokens' is of no type"):
        import_dataset("own", path, core=None, root=tmp_path / "data")


def features(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "f.npz", **arrays)  # type: ignore[arg-type]
    return folder / "f.npz"


def test_ids_by_another_name_are_not_passed_over(tmp_path: Path) -> None:
    """The rows of the items' table come in another order: each would go to another item."""
    items = table(tmp_path / "items.csv", [(i, "T") for i in ITEMS], "id", "title")
    ids = np.array(ITEMS[::-1])
    for name in ("item_ids", "IDS", "asin"):
        path = features(tmp_path, values=VALUES, **{name: ids})
        with pytest.raises(InputError, match=f"f.npz: array '{name}' is none of values, ids, mask"):
            load(tmp_path, items=items, features={"text": path})
    path = tmp_path / "f.safetensors"
    save_file({"values": VALUES}, path, {"items": json.dumps(ids.tolist()), "format": "np"})
    with pytest.raises(InputError, match="its header holds a list 'items' and no `ids`"):
        load(tmp_path, items=items, features={"text": path})
    save_file({"values": VALUES}, path, {"ids": json.dumps(ids.tolist()), "format": "np"})
    bundle = load(tmp_path, items=items, features={"text": path})
    raw = bundle.text.raw().values[1:].numpy()
    np.testing.assert_allclose(raw, VALUES[::-1], atol=1e-6)  # scaled and back in float32


def test_arrays_that_contradict_or_follow_each_other(tmp_path: Path) -> None:
    masks = {"mask": np.array([1, 0, 1, 1], bool), "present": np.ones(4, bool)}
    path = features(tmp_path, values=VALUES, ids=np.array(ITEMS), **masks)
    with pytest.raises(InputError, match=r"f.npz: has both `mask` and `present`"):
        load(tmp_path, features={"text": path})
    items = table(tmp_path / "items.csv", [(i, "T") for i in ITEMS], "id", "title")
    with (tmp_path / "f.npy").open("wb") as file:
        np.save(file, VALUES)
        np.save(file, 2 * VALUES)
    with pytest.raises(InputError, match=r"f.npy: not readable .*more follows its first array"):
        load(tmp_path, items=items, features={"text": tmp_path / "f.npy"})


def test_rows_of_zeros_are_named(tmp_path: Path) -> None:
    zero = VALUES * (np.arange(4) != 2)[:, None]
    path = features(tmp_path, values=zero, ids=np.array(ITEMS))
    assert "f.npz: 1 rows of zeros count as features" in report(
        load(tmp_path, features={"text": path})
    )
    masked = features(tmp_path, values=zero, ids=np.array(ITEMS), mask=np.arange(4) != 2)
    assert "rows of zeros" not in report(load(tmp_path, features={"text": masked}))
    tiny = features(tmp_path, values=VALUES.astype(np.float64) * 1e-300, ids=np.array(ITEMS))
    assert "they tell nothing" in report(load(tmp_path, features={"text": tiny}))
