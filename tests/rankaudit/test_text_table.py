"""The strict reader of text tables: fields, true line numbers, compressed files, encodings."""

import bz2
import csv
import gzip
import io
import lzma
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankaudit.errors import InputError
from rankaudit.text_table import open_plain, read_columns, read_header, separators_in, text_lines

TEXT = "a,b\n1,2\n3,4\n"


def rows(path: Path, **options: object) -> list[tuple[str, ...]]:
    columns = read_columns(read_header(path, **options))  # type: ignore[arg-type]
    return list(zip(*columns.values, strict=True))


def written(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@given(
    st.lists(st.tuples(cells, cells), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_what_is_written_is_read(
    table: list[tuple[str, str]], end: str, separator: str, encoding: str
) -> None:
    """Any text in quotes survives, and a record's line is one more than the line ends before it,
    counted here one character at a time."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    starts = []
    for row in [("first", "second"), *table]:
        before = stream.getvalue().replace("\r\n", "\n")
        starts.append(1 + sum(c in "\r\n" for c in before))
        writer.writerow(row)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), stream.getvalue().encode(encoding))
        columns = read_columns(read_header(path))
    blank = [len(row) == 1 for row in table]
    assert not any(blank)
    assert list(zip(*columns.values, strict=True)) == table
    assert columns.lines.tolist() == starts[1:]


def test_blank_lines_and_long_fields_count(tmp_path: Path) -> None:
    path = written(tmp_path, '\n\na,b\n\n1,"x\ny\n\nz"\n  \n2,w\n')
    header = read_header(path)
    columns = read_columns(header)
    assert header.line == 3
    assert columns.lines.tolist() == [5, 10]
    assert columns.spread == [5]


@pytest.mark.parametrize(
    ("text", "line", "fields"),
    [
        ("a,b\n1,2,3\n", 2, 3),
        ("a,b\n1,2\n3\n", 3, 1),
        ('a,b\n\n"1\n1",2\n3\n', 5, 1),
        ("a,b\r1,2\r3,4,\r", 3, 3),
        ("a\tb\n1\t2\t3\n", 2, 3),
    ],
)
def test_every_line_has_as_many_fields_as_the_header(
    tmp_path: Path, text: str, line: int, fields: int
) -> None:
    with pytest.raises(
        InputError, match=rf"x.csv: line {line} has {fields} fields, the header has 2"
    ):
        rows(written(tmp_path, text))


def test_a_header_of_one_empty_field(tmp_path: Path) -> None:
    assert rows(written(tmp_path, '""\n')) == []
    assert rows(written(tmp_path, '""\n1\n')) == [("1",)]


def test_unicode_line_separators_end_no_line(tmp_path: Path) -> None:
    """str.splitlines would cut a title at each of these."""
    title = "a\u2028b\x85c\x0bd\x0ce\x1ef"
    assert rows(written(tmp_path, f"id,title\n1,{title}\n")) == [("1", title)]


def test_quotes_where_the_format_has_none(tmp_path: Path) -> None:
    path = written(tmp_path, 'a\tb\n"1\t2\n3\t4"\n', "x.tsv")
    assert rows(path, separators=("\t",), quoted=False) == [('"1', "2"), ("3", '4"')]
    path = written(tmp_path, '"a"\t"b"\n"1"\t"2"\n', "y.tsv")  # a writer that quotes all the same
    assert rows(path, separators=("\t",), quoted=False) == [("1", "2")]


@pytest.mark.parametrize("text", ['a,b\n1,"2\n3,"4\n', 'a,b\n1,2\n3,"4\n5,6\n', 'a,b\n1,"2"x\n'])
def test_a_quote_that_is_not_closed_is_an_error_where_it_opens(tmp_path: Path, text: str) -> None:
    line = 1 + text[: text.index('"')].count("\n")
    with pytest.raises(InputError, match=rf"x.csv, line {line}: a quote opens a field"):
        rows(written(tmp_path, text))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "::"])
def test_separators_are_recognised(tmp_path: Path, separator: str) -> None:
    text = "\n".join(separator.join(r) for r in (("user", "item"), ("1", "2"))) + "\n"
    header = read_header(written(tmp_path, text), fits=lambda names: "item" in names)
    assert header.separator == separator
    assert list(zip(*read_columns(header).values, strict=True)) == [("1", "2")]


def test_separators_are_named() -> None:
    assert separators_in(["a;b;c"], ",") == "semicolons"
    assert separators_in(["1::2::3"], ",") == "double colons"
    assert separators_in(["a"], ",") == ""


def zipped(*names: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, content)
        return stream.getvalue()

    return pack


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped("x.csv", "__MACOSX/._x.csv", "folder/", ".DS_Store"),
}


@pytest.mark.parametrize("kind", PACKED)
def test_compressed_files(tmp_path: Path, kind: str) -> None:
    """Recognised by content; one that is cut off anywhere is refused."""
    packed = PACKED[kind](TEXT.encode())
    for name in (f"x.csv.{kind}", "x.csv", f"X.CSV.{kind.upper()}"):
        path = written(tmp_path, packed, name)
        assert rows(path) == [("1", "2"), ("3", "4")]
        with open_plain(path) as (inner, _):
            assert inner.lower() == "x.csv"
    noise = random.Random(0).randbytes(4_000).hex()
    long = PACKED[kind](f"{TEXT}{noise},6\n".encode())
    for end in {*range(1, 12), *range(12, len(long), len(long) // 30), len(long) - 1}:
        with pytest.raises(InputError, match=r"y.csv.* "):
            rows(written(tmp_path, long[:end], f"y.csv.{kind}"))


def test_archives_of_several_files_and_other_kinds(tmp_path: Path) -> None:
    path = written(tmp_path, zipped("a.csv", "b.csv")(b"a,b\n"), "x.zip")
    with pytest.raises(InputError, match=r"holds 2 files \(a.csv, b.csv .*name one file"):
        rows(path)
    with pytest.raises(InputError, match="holds no file"):
        rows(written(tmp_path, zipped()(b""), "y.zip"))
    for name in ("x.tar", "x.tar.gz", "x.csv.zst", "x.xlsx"):
        content = gzip.compress(b"a,b\n") if name.endswith(".gz") else b"junk"
        with pytest.raises(InputError, match=rf"{name}: archives and spreadsheets"):
            rows(written(tmp_path, content, name))


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    packed = bytearray(zipped("x.csv")(TEXT.encode()))
    packed[6] |= 1  # the flag of encryption, in the member's head ...
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    with pytest.raises(InputError, match=r"cannot be unpacked .*password"):
        rows(written(tmp_path, bytes(packed), "x.zip"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    assert rows(written(tmp_path, "a,ü\n1,é\n".encode(encoding))) == [("1", "é")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,é\n".encode("latin-1"), r"x.csv, line 3: byte 0xe9 is not UTF-8; save"),
        ("a,b\n1,2\n3,é\n".encode("cp437"), r"x.csv, line 3: byte 0x82 is not UTF-8"),
        (b"a,b\n1,\xed\xa0\x80\n", r"x.csv, line 2: byte 0xed is not UTF-8"),  # half a character
        ("a,b\n".encode("utf-16-le"), r"x.csv, line 1: a zero byte"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], r"not UTF-16 as its byte order mark says"),
        (b"a,b\n1,\x00\n", r"x.csv, line 2: a zero byte"),
        (b"", r"x.csv: the file is empty; save it as UTF-8"),
        (b"\n \n", r"x.csv: the file is empty"),
        (b'"a,b\n1,2\n', r"x.csv, line 1: a quote in the header is not closed"),
    ],
)
def test_what_is_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(written(tmp_path, content), separators=(",",))


def test_far_into_a_file_the_line_is_right(tmp_path: Path) -> None:
    """Text is decoded in blocks; the line named is that of the byte, not of the block."""
    good = b"1,2\n" * 12_345
    with pytest.raises(InputError, match="line 12347: byte 0xff"):
        list(text_lines(written(tmp_path, b"a,b\n" + good + b"\xff\n" + good)))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.csv: no such file"):
        rows(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r": a folder; name a file in it"):
        rows(tmp_path)


@pytest.mark.parametrize("kind", ["bz2", "xz"])
def test_every_stream_of_a_file_counts(tmp_path: Path, kind: str) -> None:
    """Parallel compressors write several streams; one whose first bytes are damaged must not end
    the file without a word, nor may what follows the last."""
    compress = PACKED[kind]
    lines = [f"{k},{k * k}\n" for k in range(3000)]
    streams = [
        compress("".join(part).encode()) for part in (["a,b\n", *lines[:1500]], lines[1500:])
    ]
    name = f"x.csv.{kind}"
    assert len(rows(written(tmp_path, b"".join(streams), name))) == 3000
    if kind == "xz":  # zeros between streams and behind them are allowed
        assert len(rows(written(tmp_path, b"\0\0\0\0".join([*streams, b""]), name))) == 3000
    for at in range(3):  # the fourth byte of bz2 is a size, and another one does as well
        second = bytearray(streams[1])
        second[at] ^= 1
        with pytest.raises(InputError, match="cut off or damaged"):
            rows(written(tmp_path, streams[0] + bytes(second), name))
    for rest in (b"rubbish", streams[1][:2], streams[1][:-3]):
        with pytest.raises(InputError, match="cut off or damaged"):
            rows(written(tmp_path, streams[0] + rest, name))
