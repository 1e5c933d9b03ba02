"""What is printed, on any terminal, and what of it a log keeps."""

import io
import signal
import sys
from pathlib import Path

import pytest
from rich.text import Text

from benchmark.cli import main
from benchmark.cli.console import progress_bar
from benchmark.cli.terminal import FALLBACK, OutputRefused, Terminal
from benchmark.settings.registry import methods, pick
from benchmark.yaml_files import read_yaml
from rankaudit.errors import InputError


@pytest.fixture
def printed():
    file = io.StringIO()
    return Terminal(file=file, width=40), file


def test_names_are_printed_as_they_are_and_in_one_line(printed):
    """Brackets would be styles, colons between letters pictures, and 40 columns would cut."""
    console, file = printed
    line = "SASRec [bold] [/red] [link=x] :smile: 'quoted' 0.5 " + "x" * 100
    console.print(line)
    console.print(line, style="red")
    assert file.getvalue() == 2 * f"{line}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_any_text_can_be_written_in_any_encoding(encoding):
    """What an encoding has stays; the rest has a plain form, or a question mark: also half a
    surrogate pair, which a file name that is not UTF-8 becomes."""
    text = "0.12 ± 0.01 – é → … † 漢 \udcff"
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=FALLBACK)
    Terminal(file=stream, width=200).print(text)
    stream.flush()
    shown = raw.getvalue().decode(encoding)
    plain = {"±": "+-", "–": "-", "é": "e", "→": "->", "…": "...", "†": "+", "漢": "?"}
    expected = ""
    for character in text:
        try:
            character.encode(encoding)
            expected += character
        except UnicodeEncodeError:
            expected += plain.get(character, "?")
    assert shown == f"{expected}\n"


def test_a_bar_without_a_terminal_writes_nothing(printed):
    console, file = printed
    with progress_bar(console) as progress:
        progress.update(progress.add_task("a file", total=2), advance=1)
    assert file.getvalue() == ""


def test_a_full_device_is_an_error_of_its_own():
    with open("/dev/full", "w") as full, pytest.raises(OutputRefused, match="No space left"):
        Terminal(file=full).print("x" * 100_000)


def test_a_log_keeps_lines_events_and_tracebacks(printed, tmp_path):
    console, file = printed
    console.open_log(tmp_path / "logs", ["table2", "--models", "SASRec [x]"])
    console.print("a line [x]")
    console.print(Text("styled", style="red"))
    console.to_log("failed\nTraceback\n  File")
    console.open_log(tmp_path / "other", [])  # one is open
    path = console.close_log()
    console.print("too late")
    assert path.parent == tmp_path / "logs"
    assert path.name.endswith("-table2.log")
    first, *lines = path.read_text().splitlines()
    assert first[9:].startswith("table2 --models SASRec [x] (process ")
    assert lines[:2] == ["a line [x]", "styled"]
    assert lines[2][9:] == "failed"
    assert lines[3:] == ["    Traceback", "      File"]
    assert "failed" not in file.getvalue()
    assert console.close_log() is None


def test_two_logs_of_one_second_are_two_files(tmp_path):
    paths = set()
    for _ in range(5):
        console = Terminal(file=io.StringIO())
        console.open_log(tmp_path, ["run"])
        paths.add(console.close_log())
    assert len(paths) == 5


def test_where_no_log_can_be_written_the_run_goes_on(printed, tmp_path):
    console, file = printed
    (tmp_path / "logs").write_text("a file")
    console.open_log(tmp_path / "logs", ["run"])
    console.print("goes on")
    assert "without a log: " in file.getvalue()
    assert file.getvalue().endswith("goes on\n")


# ---- errors that one place catches --------------------------------------------------------------


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Calls main as a user does; (status, standard error)."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_the_system_refuses_is_one_line_that_names_the_file(call):
    long = "x" * 300
    status, said = call("table2", "--from", long)
    assert (status, said) == (
        2,
        f"error: {long}: File name too long; mend that, or choose another path\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table2", "--seeds", "4000000000"), "4000000000 seeds, and 10000 are the most"),
        (("table2", "--seeds", "0-4000000000"), "4000000001 seeds, and 10000 are the most"),
        (("table2", "--seeds", f"{2**63},"), f"{2**63} is too large; a seed is below 2^63"),
        (("table2", "--models", ""), "--models: names nothing; leave it out, or say"),
        (("table2", "--datasets", " , "), "--datasets ' , ': names nothing"),
        (("table2", "--models", "A [bold]B[/bold]"), "unknown model 'A [bold]B[/bold]'"),
    ],
)
def test_names_and_seeds_that_cannot_be(call, arguments, message):
    status, said = call(*arguments)
    assert status == 2
    assert message in said
    assert said.count("\n") == 1


def test_capitals_do_not_matter_where_one_name_fits():
    assert pick("nova", methods(), "model").name == "NOVA"
    assert pick("sasrec (mm)", methods(), "model").name == "SASRec (MM)"
    assert pick("A", {"a": 1, "A": 2}, "letter") == 2
    assert pick("É", {"é": 1}, "letter") == 1
    with pytest.raises(InputError, match="did you mean"):  # two fit
        pick("AA", {"aa": 1, "Aa": 2}, "letter")


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: 1\nlr: .nan\n", 2, ".nan is no finite number"),
        (b"a:\n  - 1\n  - -.INF\n", 3, "-.INF is no finite number"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"a: 1\nb: \x00\n", None, "not valid YAML"),
        (b"a: " + b"[" * 5_000, None, ""),
    ],
)
def test_settings_that_no_file_may_hold(tmp_path, content, line, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}:{line}: " if line else f"{path}")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("broken_1", "class Toy:\n    def (self)\n", r"broken_1\.py, line 2: not valid Python \("),
        ("broken_2", "x = 1\nx / 0\n", r"broken_2\.py, line 2: ZeroDivisionError: division by"),
        ("broken_3", "import nowhere\n", r"No module named 'nowhere'; write it as module:Class"),
        ("broken_4", "", r"module 'broken_4' has no attribute 'Toy'; write it as module:Class"),
    ],
)
def test_a_class_whose_module_is_broken_is_named_with_file_and_line(
    tmp_path, monkeypatch, name, source, message
):
    Path(tmp_path, f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    method = methods()["SASRec"].model_copy(update={"class_path": f"{name}:Toy"})
    with pytest.raises(InputError, match=message) as error:
        _ = method.cls
    assert "\n" not in str(error.value)
