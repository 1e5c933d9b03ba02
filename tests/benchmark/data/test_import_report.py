"""The report at the end of a build, and the commands that print it."""

import io
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.cli import main
from benchmark.data.own import import_dataset
from benchmark.data.report import import_report, span

PICK = random.Random(0)
ROWS = [
    (f"u{u}", f"é{i}", 1_000_000_000 + 86_400 * u + k)
    for u in range(30)
    for k, i in enumerate(PICK.sample(range(20), 8))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop whose table and folder have names that terminals stumble over."""
    place = tmp_path / "[b]é[/red]"
    place.mkdir(parents=True)
    rows = [*ROWS, ("once", "é1", 5), ("once", "é2", 6)]
    lines = ["who;what;when", *(";".join(map(str, row)) for row in rows)]
    (place / "réviews.csv").write_text("\n".join(lines) + "\n")
    items = "".join(f"é{i},T{i},G{i % 3}\n" for i in range(18)) + "gone,T,G9\n"
    (place / "items.csv").write_text("id,title,genre\n" + items)
    ids = np.array([f"é{i}" for i in range(17)])
    np.savez(place / "image.npz", values=np.ones((17, 2), np.float32), ids=ids)
    return place


def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str
) -> tuple[int, str, str]:
    """(exit status, output, errors) of `data`, on a terminal of the encoding."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
        for errors in ("strict", "backslashreplace")  # as Python opens the two
    )
    monkeypatch.chdir(folder)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", ["findrec-bench", "data", *arguments])
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as end:
            main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for stream in (out, err):
        stream.flush()
    output, errors = (stream.buffer.getvalue().decode(encoding) for stream in (out, err))
    return int(end.value.code or 0), output, errors


def test_the_report(folder: Path) -> None:
    bundle = import_dataset(
        "shop",
        folder / "réviews.csv",
        items=folder / "items.csv",
        features={"image": folder / "image.npz"},
        columns=("who", "what", "when"),
        root=folder,
    )
    assert import_report(bundle) == [
        "242 interactions read, 240 kept; the iterative 5-core leaves out 2, with 1 of 31 users "
        "and 0 of 20 items",
        "items described 18/20; genre: 3 values",
        "text features 0/20",
        "image features 17/20 (image.npz), 1 different",
        "image features are the same for all items: they tell nothing",
        "times 2001-09-09 to 2001-10-08 (read as seconds since 1970)",
        "réviews.csv: read with semicolons as separators",
        f"next: ./reproduce.sh table2 --datasets shop --data '{folder}'",
    ]


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("user,item,timestamp\na,x,0\na,y,1\nb,x,5\nb,z,6\n")
    (tmp_path / "items.csv").write_text('id,brand,text\nx,1,"two\nlines"\ny,2,b\nz,3,c\n')
    bundle = import_dataset(
        "own", tmp_path / "x.csv", items=tmp_path / "items.csv", core=None, root=tmp_path
    )
    lines = import_report(bundle)
    assert lines[0] == "4 interactions read, 4 kept"
    assert "brand has a value for almost every item: is it a category?" in lines
    assert "times 0 to 6" in lines
    assert any(line.startswith("a user has 2 interactions, and training needs 3") for line in lines)
    assert any("1 records go over several lines, the first from line 2" in line for line in lines)
    assert lines[-1].startswith("next: ./reproduce.sh features own --modality text")


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")],
)
def test_units_of_time(factor: int, unit: str) -> None:
    days = pd.Series([1_000_000_000 * factor, 1_000_086_400 * factor])
    assert span(days) == f"2001-09-09 to 2001-09-10 (read as {unit} since 1970)"


def test_times_of_two_units_are_asked_about() -> None:
    mixed = pd.Series([1_000_000_000, 1_000_086_400_000])
    assert span(mixed) == "1000000000 to 1000086400000 (are seconds and milliseconds mixed?)"
    assert span(pd.Series([0, 1_000_000_000])) == "0 to 1000000000"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_terminals_of_every_encoding(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Names with brackets are printed as they are, letters that the terminal lacks as the nearest
    that it has, and the command ends well."""
    status, output, errors = run(
        folder,
        monkeypatch,
        encoding,
        *("shop", "--interactions", "réviews.csv", "--items", "items.csv"),
        *("--image", "image.npz", "--columns", "user=who,item=what,timestamp=when"),
        *("--data", str(folder / "data")),
    )
    assert status == 0, errors
    place = f"[b]{'e' if encoding == 'ascii' else 'é'}[/red]/data/shop"
    assert place in output
    assert "image features 17/20 (image.npz)" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("beauty", "--items", "items.csv"), "--items: describes your own data"),
        (("shop", "--interactions", "réviews.csv", "--columns", "who"), "write NAME=COLUMN"),
        (("shop", "--interactions", "réviews.csv", "--core", "-1"), "--core -1: give the k"),
        (("--interactions", "réviews.csv"), "name your dataset"),
    ],
)
def test_options_that_do_not_fit_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    status, _, errors = run(folder, monkeypatch, "utf-8", *arguments)
    assert status == 2
    assert message in errors
