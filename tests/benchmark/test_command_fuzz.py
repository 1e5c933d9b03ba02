"""The command line under names and options that nobody foresaw.

No example may train, download or write outside its own folder: trainers get `--dry-run`, the
datasets that are known are those that need no download, and `data` gets names of none.
"""

import io
import signal
import sys
import tempfile
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.cli import main, options, results, tables
from benchmark.cli.terminal import FALLBACK
from benchmark.data.bundle import load_bundle
from benchmark.data.config import dataset_names
from benchmark.settings.registry import methods, profiles

SHIPPED = ["beauty", "ml-100k"]
KNOWN = [*methods(), *profiles(), *SHIPPED, "0-3", "5", "0,7", "cpu", "cuda:0", "local"]
ODD = ["", " ", ",", "-", "--", "..", "../../x", "/", "[bold]", "[/]", "%s", "{}", "x" * 300, "\\"]


def near(name: str) -> st.SearchStrategy[str]:
    """A known name in other capitals, cut, doubled, or with something after it."""
    tail = st.sampled_from(["", " ", ",", "[x]", "\n", "\x1b[31m", "é"])
    return st.sampled_from([name, name.upper(), name[:-1], name * 2]).flatmap(
        lambda start: tail.map(lambda end: start + end)
    )


# As the system gives them: any characters but NUL, half surrogates for bytes that are not UTF-8.
anything = st.text(
    st.characters(exclude_characters="\0", exclude_categories=()), max_size=12
) | st.integers(-(2**70), 2**70).map(str)
value = st.sampled_from(KNOWN).flatmap(near) | st.sampled_from(ODD) | anything
unknown_dataset = value.filter(lambda name: name.strip().casefold() not in dataset_names())


def with_options(command: list[str], *names: str) -> st.SearchStrategy[list[str]]:
    """The command with some of the options, each with a value."""
    chosen = st.lists(st.tuples(st.sampled_from(names), value), max_size=3)
    return chosen.map(lambda pairs: [*command, *(f"{name}={text}" for name, text in pairs)])


def with_argument(command: str, argument: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return argument.map(lambda text: [command, "--", text])


SHARED = ("--profile", "--datasets", "--models", "--seeds", "--device", "--launcher", "--from")
commands = st.one_of(
    with_options(["table2", "--dry-run"], *SHARED, "--data"),
    with_options(["fig3", "--dry-run"], *SHARED),
    with_options(["run", "--dry-run", "--models=GRU4Rec"], "--variant", *SHARED[:5]),
    with_options(["verify"], "--profile", "--from", "--data"),
    with_options(["promote", "--profile=smoke"], "--profile", "--data"),
    with_options(["check", "--reference=nowhere"], "--seeds"),
    with_options(["explain", "NOVA", "beauty"], "--profile", "--variant"),
    st.tuples(value, value).map(lambda pair: ["compare", "--", *pair]),
    st.tuples(value, value).map(lambda pair: ["explain", "--", *pair]),
    with_argument("audit", value),
    with_argument("data", unknown_dataset),
    st.tuples(unknown_dataset, value).map(lambda two: ["data", f"--interactions={two[1]}", two[0]]),
    st.tuples(unknown_dataset, value).map(lambda two: ["features", f"--modality={two[1]}", two[0]]),
    value.map(lambda text: [text]).filter(lambda words: words[0] not in ("doctor", "all")),
)


@pytest.fixture(scope="module", autouse=True)
def bundles(tmp_path_factory):
    """A folder with the bundles that plans look at, so that none is built for each example."""
    folder = tmp_path_factory.mktemp("data")
    for name in SHIPPED:
        (folder / name).symlink_to(load_bundle(name).path.resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINDREC_DATA", str(folder))
        yield
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == SHIPPED


@contextmanager
def own_folder():
    """The commands' folders below a new one, which is the working folder."""
    kept = {
        (module, name): getattr(module, name)
        for module in (options, tables, results)
        for name in ("ROOT", "RUNS", "RESULTS", "REFERENCE", "AUDIT")
        if hasattr(module, name)
    }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "work"
        root.mkdir()
        folders = {"RUNS": "runs", "RESULTS": "results", "AUDIT": "results/audit"}
        folders |= {"ROOT": "", "REFERENCE": "results/reference"}
        try:
            for module, constant in kept:
                setattr(module, constant, root / folders[constant])
            with chdir(root):
                yield root
        finally:
            for (module, constant), before in kept.items():
                setattr(module, constant, before)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def call(arguments: list[str], encoding: str) -> tuple[object, str]:
    """The status, and what was said on standard error."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=FALLBACK) for _ in range(2)
    )
    before, sys.argv = sys.argv, ["benchmark", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    err.flush()
    return end.value.code, err.buffer.getvalue().decode(encoding)


def ends_in_one_line(arguments: list[str], encoding: str) -> None:
    """Whatever is given ends with status 0, 1 or 2 (any other exception fails the test), with one
    line of error where it is ours, and nothing outside of the folder."""
    with own_folder() as root:
        status, said = call(arguments, encoding)
        assert [entry.name for entry in root.parent.iterdir()] == ["work"]
    assert status in (0, 1, 2), (status, said)
    assert "Traceback" not in said
    if "Usage:" not in said:  # typer's own, in a box
        assert said.count("\n") <= 1, said
        assert bool(said) == (status == 2), (status, said)


EXAMPLES, MORE = 60, 3_000
CALM = [HealthCheck.too_slow]
ENCODINGS = st.sampled_from(["utf-8", "ascii", "cp1252", "latin-1"])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=CALM)
@given(commands, ENCODINGS)
def test_no_name_or_option_ends_in_a_traceback(arguments, encoding):
    ends_in_one_line(arguments, encoding)


@pytest.mark.slow
@settings(max_examples=MORE, deadline=None, suppress_health_check=CALM)
@given(commands, ENCODINGS)
def test_nor_does_any_of_many_more(arguments, encoding):
    ends_in_one_line(arguments, encoding)
