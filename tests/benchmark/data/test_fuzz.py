"""Whatever bytes a file holds, a reader gives a result or an InputError, never another exception.

Bytes are arbitrary, or those of a good file with some cut out, doubled, flipped or put in. The fast
tests try FEW examples a reader, the slow ones MANY.
"""

import bz2
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.data.encoders.image import load_pictures
from benchmark.data.features import (
    FeatureTable,
    Provenance,
    own_features,
    read_features,
    write_features,
)
from benchmark.data.formats import read_numbering
from benchmark.data.meta import read_meta
from benchmark.data.own import import_dataset
from benchmark.data.readers import read_interactions, read_items
from benchmark.data.times import parse_times
from benchmark.errors import InputError

FEW, MANY = 25, 1500
IDS = ["7", "é", "12"]
TABLE = 'user,item,timestamp\n7,é,12\n7,"a ""b""",13.5\n\n8,"é",1e3\n'
ITEMS = 'id,title,genre\n7,"A\nB",x|y\né,,\n'
INTER = 'user_id:token\titem_id:token\ttimestamp:float\n7\té\t12\n8\t"é\t13\n'
ITEM = "item_id:token\ttitle:token_seq\tgenre:token_seq\tprice:float\n7\tA b\tx y\t1.5\n"
REVIEW = "{'reviewerID': 'A', 'asin': 'B', 'unixReviewTime': 12}\n"
PRODUCT = '{"asin": "B", "title": "T", "categories": [["Beauty", "Nails"]]}\n'
MOVIES = "movie_id,title,genres,overview\n7,Heat,Crime|Drama,Long.\n"


def zipped(*files: str) -> bytes:
    """files: names and contents, in turn."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(files[::2], files[1::2], strict=True):
            archive.writestr(name, content)
    return stream.getvalue()


def parquet(text: str) -> bytes:
    stream = io.BytesIO()
    pd.read_csv(io.StringIO(text)).to_parquet(stream)
    return stream.getvalue()


def array(kind: str) -> bytes:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, values)
    else:
        np.savez(stream, values=values, ids=np.array(IDS), mask=np.array([True, False, True]))
    return stream.getvalue()


@cache
def tensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        about = Provenance(encoder="e", model="m", created=date(2026, 1, 2))
        values = np.ones((3, 2), np.float16)
        write_features(path, FeatureTable(IDS, values, np.ones(3, bool), (values,), about).fitted())
        return path.read_bytes()


@cache
def bundle_json() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text("user,item,timestamp\na,b,1\na,c,2\na,d,3\n")
        bundle = import_dataset("own", path, core=None, root=Path(folder))
        return (bundle.path / "bundle.json").read_bytes()


def picture(form: str, mode: str) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (9, 7)).save(stream, form)
    return stream.getvalue()


def interactions(form: str) -> Callable[[Path], object]:
    return lambda path: read_interactions(path, form)  # type: ignore[arg-type]


def items(form: str) -> Callable[[Path], object]:
    return lambda path: read_items(path, form)  # type: ignore[arg-type]


def tagged(path: Path) -> object:
    others = path.with_name("items.csv")
    others.write_text("asin,attributes\nB,OPI|Makeup|Nails\n")
    return read_items(others, "brand-category", title_tags=path)


READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "csv": ("x.csv", TABLE.encode, interactions("table")),
    "tsv": ("x.tsv", TABLE.replace(",", "\t").encode, interactions("table")),
    "csv in UTF-16": ("x.csv", lambda: TABLE.encode("utf-16"), interactions("table")),
    "gz": ("x.csv.gz", lambda: gzip.compress(TABLE.encode()), interactions("table")),
    "bz2": ("x.csv.bz2", lambda: bz2.compress(TABLE.encode()), interactions("table")),
    "xz": ("x.csv.xz", lambda: lzma.compress(TABLE.encode()), interactions("table")),
    "zip": ("x.csv.zip", lambda: zipped("x.csv", TABLE), interactions("table")),
    "parquet": ("x.parquet", lambda: parquet(TABLE), interactions("table")),
    "inter": ("x.inter", INTER.encode, interactions("atomic")),
    "sequences": ("x.txt", "1 5 6\n2 é 7\n".encode, interactions("sequences")),
    "grouplens": (
        "x.zip",
        lambda: zipped("ml-100k/u.data", "1\t2\t3\t4\n"),
        interactions("grouplens"),
    ),
    "grouplens 1M": (
        "ml-1m.zip",
        lambda: zipped(
            "ml-1m/ratings.dat", "1::2::3::4\n", "ml-1m/movies.dat", "2::Heat (1995)::Drama\n"
        ),
        interactions("grouplens"),
    ),
    "reviews": (
        "x.json.gz",
        lambda: gzip.compress(REVIEW.encode()),
        interactions("amazon-reviews"),
    ),
    "plain reviews": ("x.json", REVIEW.encode, interactions("amazon-reviews")),
    "items": ("x.csv", ITEMS.encode, items("items")),
    "parquet items": ("x.parquet", lambda: parquet(ITEMS), items("items")),
    "item": ("x.item", ITEM.encode, items("atomic")),
    "movies": ("x.csv", MOVIES.encode, items("movies")),
    "brands": ("x.csv", "asin,attributes\nB,OPI|Makeup|Nails\n".encode, items("brand-category")),
    "title tags": ("x.csv", "asin,tags\nB,nail lacquer\n".encode, tagged),
    "titles": ("x.csv", 'item,title\n7,"a, b"\n8,c\n'.encode, items("titles")),
    "products": ("x.json", PRODUCT.encode, items("amazon-metadata")),
    "numbering": ("x.csv", "item,asin\n1,B\n".encode, read_numbering),
    "npy": ("x.npy", lambda: array("npy"), lambda path: own_features(path, IDS)),
    "npz": ("x.npz", lambda: array("npz"), lambda path: own_features(path, IDS)),
    "own safetensors": ("x.safetensors", tensors, lambda path: own_features(path, IDS)),
    "safetensors": ("x.safetensors", tensors, read_features),
    "bundle.json": ("bundle.json", bundle_json, lambda path: read_meta(path.parent)),
    "png": ("x.png", lambda: picture("png", "RGBA"), lambda path: pixels(path)),
    "jpeg": ("x.jpg", lambda: picture("jpeg", "RGB"), lambda path: pixels(path)),
    "gif": ("x.gif", lambda: picture("gif", "P"), lambda path: pixels(path)),
    "tiff": ("x.tif", lambda: picture("tiff", "F"), lambda path: pixels(path)),
    "webp": ("x.webp", lambda: picture("webp", "RGB"), lambda path: pixels(path)),
}


def pixels(path: Path) -> torch.Tensor:
    return load_pictures([str(path)], 8, [0.0] * 3, [1.0] * 3)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file after one to four edits; now and then anything at all."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.binary(max_size=64))
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(1, 9))
        edit = draw(st.sampled_from(["cut off", "cut out", "double", "flip", "put in", "token"]))
        if edit == "cut off":
            del content[at:]
        elif edit == "cut out":
            del content[at : at + length]
        elif edit == "double":
            content[at:at] = content[at : at + length]
        elif edit == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif edit == "put in":
            content[at:at] = draw(st.binary(min_size=1, max_size=length))
        else:
            tokens = [b'"', b"\r", b"\n", b"\t", b",", b"\0", b"\xff", b"NaN", b"9" * 30, b"1e999"]
            content[at:at] = draw(st.sampled_from([*tokens, b"\xe2\x80\xa8", b"[" * 9999, b"::"]))
    return bytes(content)


def outcome(read: Callable[[Path], object], path: Path) -> str | None:
    """The message of an InputError, None for a result."""
    try:
        read(path)
    except InputError as error:
        return str(error)
    return None


def gives_a_result_or_says_why(reader: str, examples: int) -> None:
    name, make, read = READERS[reader]
    good = make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=examples == FEW,
            phases=[Phase.explicit, Phase.generate],  # shrinking is of no use to a passing test
            suppress_health_check=list(HealthCheck),
        )
        @given(damaged(good))
        @example(b"")
        def attempt(content: bytes) -> None:
            path.write_bytes(content)
            message = outcome(read, path)
            assert message is None or name in message  # the file is named

        attempt()
        path.write_bytes(good)
        read(path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")
def test_readers(reader: str) -> None:
    gives_a_result_or_says_why(reader, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")
def test_readers_at_length(reader: str) -> None:
    gives_a_result_or_says_why(reader, MANY)


@given(st.lists(st.text("0123456789.eE+-_ :TZinfa٣", max_size=24), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@example(["9" * 5000])
@example(["1e9999"])
@example(["2014-07-23 23:59:60"])
@example(["0001-01-01T00:00:00+14:00"])
def test_timestamps(values: list[str]) -> None:
    """A finite number each, in the order of the values, or an InputError."""
    try:
        times = parse_times(values, lambda row: f"row {row}")
    except InputError:
        return
    assert np.isfinite(times).all()
    assert len(times) == len(values)
    numbers = [v for v in values if ":" not in v and v.count("-") < 2]
    if len(numbers) == len(values):
        order = np.argsort([float(v) for v in values], kind="stable")
        assert (np.diff(times[order].astype(float)) >= 0).all()


def test_a_json_bomb_is_refused(tmp_path: Path) -> None:
    """Nesting beyond the parsers' depth, in either spelling."""
    for content in ("[" * 100_000, "{'a': " * 100_000, json.dumps({"asin": 1}) + "\n"):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(InputError, match=r"x.json, line 1: "):
            read_items(tmp_path / "x.json", "amazon-metadata")
