"""What a terminal shows while jobs run: on a screen that is emulated, whatever its size.

The emulator knows what the console writes (text, line feeds, carriage returns, cursor up, erasing
of a line, colours) and fails on anything else. Made narrower, it breaks its lines anew, as most
terminals do.
"""

import io
import itertools
import re
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from benchmark.cli.footer import Footer
from benchmark.cli.live import LiveTable
from benchmark.cli.parts import seed_by_seed
from benchmark.cli.terminal import Terminal
from benchmark.launch.jobs import Event, Job
from benchmark.plan import Planned
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.store import Store
from tests.benchmark.results import draw_above, make_record, make_result, make_spec

ESCAPE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Screen(io.StringIO):
    """A terminal as a file."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self.columns, self.rows = columns, rows
        self.lines: list[str] = [""]
        """All rows, those that scrolled off the top first."""
        self.wrapped = [False]
        """Whether a row goes on in the next."""
        self.row = self.column = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = ESCAPE.match(text, at)
                assert match, text[at : at + 10]
                self._control(*match.groups())
                at = match.end()
                continue
            self._character(text[at])
            at += 1
        return len(text)

    def _control(self, argument: str, letter: str) -> None:
        if letter == "A":
            self.row = max(self.row - int(argument), self.top)
        elif letter == "K":
            assert argument == "2"
            self.lines[self.row], self.wrapped[self.row] = "", False
        else:
            assert letter in "mhl", letter  # colours, the cursor shown or hidden

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._down(0)
        else:
            if self.column == self.columns:
                self.wrapped[self.row] = True
                self._down(0)
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def _down(self, column: int) -> None:
        self.row, self.column = self.row + 1, column
        if self.row == len(self.lines):
            self.lines.append("")
            self.wrapped.append(False)

    def resize(self, columns: int, rows: int) -> None:
        """Lines are broken anew; the cursor stays at its character."""
        whole: list[str] = []
        places: list[tuple[int, int]] = []
        """Line and offset of every row's start."""
        go_on = False
        for line, wrapped in zip(self.lines, self.wrapped, strict=True):
            if not go_on:
                whole.append("")
            places.append((len(whole) - 1, len(whole[-1])))
            whole[-1] += line
            go_on = wrapped
        at, offset = places[self.row]
        offset += self.column
        self.columns, self.rows = columns, rows
        self.lines, self.wrapped = [], []
        for number, line in enumerate(whole):
            parts = [line[i : i + columns] for i in range(0, len(line), columns)] or [""]
            if number == at:
                last = min(offset // columns, len(parts) - 1)
                self.row, self.column = len(self.lines) + last, offset - last * columns
            self.lines += parts
            self.wrapped += [True] * (len(parts) - 1) + [False]

    @property
    def top(self) -> int:
        return max(len(self.lines) - self.rows, 0)

    @property
    def shown(self) -> list[str]:
        """What is on the screen, without the empty rows at its foot."""
        return [line.rstrip() for line in "\n".join(self.lines[self.top :]).rstrip().split("\n")]


def terminal(screen: Screen) -> Terminal:
    return Terminal(file=screen, force_terminal=True, legacy_windows=False)


@pytest.fixture
def sized(monkeypatch):
    """Makes rich see the screen's size, as it would a terminal's."""

    def see(screen: Screen) -> Screen:
        size = property(lambda self: _Size(screen.columns, screen.rows))
        monkeypatch.setattr(Terminal, "size", size)
        return screen

    return see


class _Size(tuple):
    def __new__(cls, width: int, height: int) -> "_Size":
        return super().__new__(cls, (width, height))

    width = property(lambda self: self[0])
    height = property(lambda self: self[1])


# ---- a command that runs -------------------------------------------------------------------------

ROWS = ["SASRec", "BERT4Rec", "GRU4Rec", "NOVA", "MMMLP", "SMLP4Rec", "UniSRec", "IISAN"]
ROWS += ["Mamba4Rec", "SASRec (MM)", "Mamba4Rec (MM)", "FindRec", "Popularity", "EASE"]
TRAINING = {"steps": 600}


class Command:
    """Fourteen rows on two datasets, six seeds, as a launcher would tell of them."""

    def __init__(self, tmp_path, screen, workers=2, seeds=6):
        self.time = 0.0
        self.store = Store(tmp_path)
        specs = [
            make_spec(model, dataset=dataset, training=TRAINING)
            for dataset in ("ml-100k", "beauty")
            for model in ROWS
        ]
        runs = RunSet(self.store)
        planned = [
            Planned(s.key, s, {seed: runs.status(s.key, seed) for seed in range(seeds)})
            for s in specs
        ]
        self.jobs = [Job(s, (seed,), 60.0) for seed in range(seeds) for s in specs]
        self.console = terminal(screen)
        self.live = LiveTable(
            planned,
            self.jobs,
            runs,
            workers,
            self.console,
            clock=lambda: self.time,
            now=lambda: datetime(2026, 1, 1, 12, 0),
        )

    def step(self, worker, job, step):
        self.live.watch(Event(job, "step", worker, step))

    def finish(self, worker, job):
        rng = np.random.default_rng([job.seeds[0], *job.spec.model.encode()])
        self.store.write(make_result(job.spec, job.seeds[0], draw_above(rng, 200)))
        self.live.watch(Event(job, "done", worker, finished=job.seeds))

    def play(self):
        """Jobs in order, both workers in step, half a second a step; yields after the first step of
        a pair of jobs and after every tenth of its steps."""
        for pair in zip(self.jobs[::2], self.jobs[1::2], strict=True):
            for worker, job in enumerate(pair):
                self.live.watch(Event(job, "start", worker))
            for before, step in itertools.pairwise([0, 1, *range(60, 601, 60)]):
                self.time += 0.5 * (step - before) - 0.3
                for worker, job in enumerate(pair):
                    self.step(worker, job, step)
                self.time += 0.3
                self.live.tick()
                yield
            for worker, job in enumerate(pair):
                self.finish(worker, job)


def assert_status(screen):
    """The last rows are the status: all jobs, then a line a worker; nothing is wrapped or cut."""
    assert not any(screen.wrapped[-3:]), screen.shown
    *_, whole, first, second = screen.shown
    assert re.match(r"\d+/168 runs ", whole), screen.shown
    course = r"step +1/600|step +\d+/600 +2\.0/s +\d+ (s|min) left|ranking +2\.0/s +0 s left"
    for line in (first, second):
        assert re.fullmatch(rf"[A-Z].* +(ml-100k|beauty) +seed \d +({course})", line), line


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 50), (100, 10), (80, 6)])
def test_the_status_is_on_the_screen_at_every_moment(tmp_path, sized, columns, rows):
    screen = sized(Screen(columns, rows))
    command = Command(tmp_path, screen)
    with command.live:
        for at, _ in enumerate(itertools.islice(command.play(), 200)):
            if at % 7 == 0:
                command.console.print(f"a line above, number {at}, " + "long " * (at % 40))
            if at > 0:
                assert_status(screen)
                assert len(screen.shown) <= rows
        seen = "\n".join(screen.lines)
        assert all(f"number {n}, " in seen for n in range(0, 200, 7))


def test_the_screen_at_80_by_24(tmp_path, sized):
    """The whole of it, once: the second seed is half in; rows that are at work are shown."""
    screen = sized(Screen(80, 24))
    command = Command(tmp_path, screen)
    with command.live:
        for _ in itertools.islice(command.play(), 14 * 11 + 6 * 11 + 7):
            pass
        shown = screen.shown
    assert shown[0] == "NDCG@10 on test: mean ±sd of the seeds so far"
    assert shown[1].split() == ["ml-100k", "beauty"]
    assert shown[2].split() == ["kept", "left", "out", "n"] * 2
    row = r"SASRec {10}\.\d{4} ±\.\d{4} \.\d{4} ±\.\d{4} 2/6  \.\d{4} {8}\.\d{4} {8}1/6"
    assert re.fullmatch(row, shown[3])
    # 20.6 pairs of jobs at 300 s each, 63.4 to come: 5.3 h
    assert shown[-3] == "40/168 runs   elapsed 1.7 h   left 5.3 h   ends 17:17"
    assert shown[-2].split() == [
        *("Popularity", "ml-100k", "seed", "1", "step", "360/600", "2.0/s"),
        *("2", "min", "left"),
    ]
    assert len(shown) <= 23


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(30, 200), st.integers(5, 60)), min_size=2, max_size=5),
    lines=st.lists(st.integers(0, 250), max_size=6),
)
def test_after_any_resizing_each_printed_line_is_there_once_and_the_foot_is_whole(sizes, lines):
    """Widths that fall and rise, between lines of any length. Rows that left the screen at its top
    before they could be erased cannot be erased, so the heights are no smaller than the foot."""
    (columns, rows), *later = sizes
    screen = Screen(columns, rows)
    console = terminal(screen)
    foot = [f"foot {n} {'=' * 20}" for n in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        size = property(lambda self: _Size(screen.columns, screen.rows))
        patch.setattr(Terminal, "size", size)
        with Footer(console, lambda columns, _: [Text(line[:columns]) for line in foot]) as area:
            for at, length in enumerate(lines):
                console.print(f"<{at}>" + "x" * length)
                if at < len(later):
                    screen.resize(*later[at])
                    area.draw()
                assert screen.shown[-3:] == [line[: screen.columns - 1] for line in foot]
        whole = "".join(
            line + ("" if wrapped else "\n")
            for line, wrapped in zip(screen.lines, screen.wrapped, strict=True)
        )
    assert whole.rstrip() == "\n".join(f"<{at}>" + "x" * n for at, n in enumerate(lines))


def test_a_narrower_window_takes_the_shorter_forms(tmp_path, sized):
    """From 160 to 45 columns: shorter numbers, then no sd, then the first protocol, then the first
    dataset; the status is cut only where it must be."""
    screen = sized(Screen(160, 50))
    command = Command(tmp_path, screen)
    seen = []
    with command.live:
        play = command.play()
        for columns in (160, 80, 62, 45, 30):
            for _ in itertools.islice(play, 70 if seen else 320):
                pass
            screen.resize(columns, 50)
            command.live.footer.draw()
            assert not any(screen.wrapped[screen.top :])
            (sasrec,) = [line for line in screen.shown if re.match(r"SASRec +[0.]", line)]
            seen.append(sasrec.split())
            assert re.match(r"\d+/168 runs", screen.shown[-3])
    assert re.match(r"SASRec 0\.\d{4} ±0\.\d{4} 0\.\d{4}", " ".join(seen[0]))
    assert re.match(r"SASRec \.\d{4} ±\.\d{4} \.\d{4}", " ".join(seen[1]))
    assert [len(words) for words in seen[2:]] == [7, 5, 3]


def test_many_workers_on_a_low_screen(tmp_path, sized):
    screen = sized(Screen(80, 8))
    command = Command(tmp_path, screen, workers=16)
    with command.live:
        for worker, job in enumerate(command.jobs[:16]):
            command.live.watch(Event(job, "start", worker))
        assert len(screen.shown) == 7
        assert screen.shown[0].startswith("0/168 runs ")
        assert screen.shown[-1] == "and 11 more at work"


def test_an_encoding_without_the_sign_does_not_widen_lines(tmp_path, sized):
    """The sign is two letters there, and counted as two."""
    screen = sized(Screen(80, 24))
    command = Command(tmp_path, screen)
    command.live.table.sign = "+-"
    with command.live:
        for _ in itertools.islice(command.play(), 170):
            pass
        assert_status(screen)
        assert re.search(r"SASRec +\.\d{4} \+-\.\d{4}|SASRec +0\.\d{4} ", "\n".join(screen.shown))


def test_failures_are_counted_and_said(tmp_path, sized):
    screen = sized(Screen(80, 24))
    command = Command(tmp_path, screen)
    job = command.jobs[0]
    with command.live:
        command.live.watch(Event(job, "start", 0))
        command.live.watch(Event(job, "failed", 0, message="loss is NaN"))
        command.live.watch(Event(command.jobs[1], "start", 0))
        assert screen.shown[0] == f"failed {job}: loss is NaN"
        assert screen.shown[-2].startswith("0/168 runs   1 failed   elapsed 0 s   left ")


def without_terminal(tmp_path):
    """A command and the file that it writes to."""
    file = io.StringIO()
    command = Command(tmp_path, file)
    command.console._force_terminal = False
    command.live.footer.shown = False
    return command, file


def test_without_a_terminal_a_line_a_finished_run(tmp_path):
    command, file = without_terminal(tmp_path)
    with command.live:
        for _ in itertools.islice(command.play(), 12):
            pass
    lines = file.getvalue().splitlines()[3:]  # what is said after five minutes: the next test
    assert len(lines) == 2
    assert re.fullmatch(
        r"\[1/168\] SASRec on ml-100k \(quick\), seed 0: NDCG@10 0\.\d{4} kept, 0\.\d{4} left out; "
        r"about 6\.9 h left",
        lines[0],
    )


def test_without_a_terminal_a_long_run_says_how_far_it_is(tmp_path):
    """Every five minutes: jobs of 600 steps at one in two seconds take twenty."""
    command, file = without_terminal(tmp_path)
    with command.live:
        for worker in (0, 1):
            command.live.watch(Event(command.jobs[worker], "start", worker))
        for step in range(1, 601):
            command.time += 2.0
            for worker in (0, 1):
                command.step(worker, command.jobs[worker], step)
        command.finish(0, command.jobs[0])
        command.time += 299.0
        command.live.tick()
    lines = file.getvalue().splitlines()
    first = [r"0/168 runs   elapsed 5 min   left .+   ends .+"]
    first += [
        rf"{row} +ml-100k +seed 0 +step 1(50|49)/600 +0\.5/s +15 min left" for row in ROWS[:2]
    ]
    assert len(lines) == 4 * 3 + 1  # the last after 20 minutes, as the run ends
    assert all(map(re.fullmatch, first, lines)), lines[:3]
    assert re.match(r"\[1/168\]", lines[-1])


def test_stored_runs_are_counted_as_done(tmp_path, sized):
    """Seeds 0 to 2 of a row stand there from the start: 3 of 6."""
    screen = sized(Screen(80, 24))
    spec = make_spec("SASRec", dataset="beauty", training=TRAINING)
    store = Store(tmp_path)
    rng = np.random.default_rng(0)
    for seed in range(3):
        store.write(make_result(spec, seed, draw_above(rng, 200)))
    runs = RunSet(store)
    planned = [Planned(spec.key, spec, {seed: runs.status(spec.key, seed) for seed in range(6)})]
    jobs = [Job(spec, (seed,), 60.0) for seed in range(3, 6)]
    with LiveTable(planned, jobs, runs, 1, terminal(screen)) as live:
        live.watch(Event(jobs[0], "start", 0))
        assert screen.shown[3].split()[-1] == "3/6"
        assert screen.shown[-2].startswith("3/6 runs ")


def test_jobs_go_seed_by_seed(tmp_path):
    """Row A has seed 0 already: B's seed 0 comes first, then the second seeds in the plan's order.
    A stack of seeds, as on a GPU, stands where its first seed does."""
    store = Store(tmp_path)
    specs = [make_spec(model, dataset="beauty", training=TRAINING) for model in "AB"]
    store.write(make_result(specs[0], 0, np.arange(50)))
    runs = RunSet(store)
    planned = [
        Planned(s.key, s, {seed: runs.status(s.key, seed) for seed in (0, 7, 3)}) for s in specs
    ]

    def order(workers):
        jobs = seed_by_seed(planned, workers, reuse_stale=True)
        return [(job.spec.model, job.seeds) for job in jobs]

    alone = [("B", (0,)), ("A", (7,)), ("B", (7,)), ("A", (3,)), ("B", (3,))]
    assert order(["cpu", "cpu"]) == alone
    assert order(["cuda:0"]) == [("B", (0, 7, 3)), ("A", (7, 3))]


def test_the_live_table_shows_validation(tmp_path, capsys):
    """A trial has no test ranks; its name, with brackets, is in the line and in the table."""
    spec = make_spec(
        variant="trial:lr=0.002,dropout=0.2", training=TRAINING, protocol={"trial": True}
    )
    store = Store(tmp_path)
    whole = make_result(spec.with_protocol(trial=False), 1000, np.arange(50))
    store.write(RunResult(make_record(spec, 1000), whole.validation, None, whole.length))
    runs = RunSet(store)
    planned = [Planned(spec.key, spec, {1000: runs.status(spec.key, 1000)})]
    job = Job(spec, (1000,), 1.0)
    console = Terminal(width=200, force_terminal=False)
    with LiveTable(planned, [job], runs, 1, console) as live_table:
        live_table.watch(Event(job, "start", 0))
        live_table.watch(Event(job, "done", 0, finished=job.seeds))
        console.print(live_table)
    shown = capsys.readouterr().out
    assert "NDCG@10 on validation" in shown
    assert shown.count("[trial:lr=0.002,dropout=0.2]") == 2  # the line and the table
