"""The compact table of results while it fills up: mean, sd over seeds, and how many seeds are in.

NDCG@10 on test, mean ±sd of the seeds so far
                ml-100k                        beauty
                kept         left out     n    kept         left out     n
SASRec          .0528 ±.0031 .0976 ±.0040 4/6  .0955 ±.0022 .1212 ±.0019 3/6
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from rich.text import Text

from benchmark.evaluate.metrics import PROTOCOLS, per_user
from benchmark.launch.jobs import Job
from benchmark.plan import Planned
from benchmark.runs.runset import RunSet
from benchmark.runs.spec import RunKey

METRIC = "NDCG@10"

Values = tuple[float, float]
"""The metric with the history kept and with it left out."""


@dataclass(frozen=True)
class _Form:
    """How numbers are written; the shorter forms are for narrow terminals."""

    protocols: int
    sd: bool
    zero: bool
    """Whether a number has a zero before the point."""

    def number(self, value: float) -> str:
        text = f"{value:.4f}"
        return text if self.zero else text.removeprefix("0")

    def value(self, values: Sequence[float], sign: str) -> str:
        if not values:
            return "-"
        text = self.number(float(np.mean(values)))
        if self.sd and len(values) > 1:
            text += f" {sign}{self.number(float(np.std(values, ddof=1)))}"
        return text


_FORMS = (_Form(2, True, True), _Form(2, True, False), _Form(2, False, True), _Form(1, False, True))
_SHORT_NAME = 14
"""A form that leaves names no more than this gives way to the next."""


def cut(text: str, width: int) -> str:
    """The text in at most so many columns, its end cut off if need be."""
    return text if len(text) <= width else f"{text[: max(width - 2, 1)]}.."[:width]


@dataclass
class _Cell:
    wanted: int = 0
    values: dict[int, Values] = field(default_factory=dict)
    """By seed."""
    failed: bool = False

    @property
    def seeds(self) -> str:
        return f"{len(self.values)}/{self.wanted}"

    @property
    def style(self) -> str:
        if self.failed:
            return "red"
        return "" if len(self.values) == self.wanted else "dim"


class FillingTable:
    """A row for each method and variant, a column for each dataset.

    jobs: what is to be run; the other seeds of the plan that are stored stand there from the start.
    sign: what stands before a standard deviation.
    """

    def __init__(
        self,
        split: Literal["validation", "test"],
        planned: Sequence[Planned],
        jobs: Sequence[Job],
        runs: RunSet,
        sign: str = "±",
    ) -> None:
        self.split, self.runs, self.sign = split, runs, sign
        to_run = {(job.spec.key, seed) for job in jobs for seed in job.seeds}
        self.rows: dict[str, dict[str, _Cell]] = {}
        for p in planned:
            cell = self.rows.setdefault(self.name(p.key), {}).setdefault(p.key.dataset, _Cell())
            stored = [s for s in p.usable(reuse_stale=True) if (p.key, s) not in to_run]
            cell.values = {seed: self._value(p.key, seed) for seed in stored}
            cell.wanted = len(stored) + sum((p.key, seed) in to_run for seed in p.runs)
        self.datasets = list(dict.fromkeys(p.key.dataset for p in planned))

    @staticmethod
    def name(key: RunKey) -> str:
        """Of the key's row."""
        return key.model if key.variant == "base" else f"{key.model} [{key.variant}]"

    @property
    def done(self) -> int:
        """Runs that are there."""
        return sum(len(cell.values) for row in self.rows.values() for cell in row.values())

    @property
    def wanted(self) -> int:
        """Runs that will be there when all goes well."""
        return sum(cell.wanted for row in self.rows.values() for cell in row.values())

    def finish(self, key: RunKey, seed: int) -> str:
        """Take in a run that has just been stored; its values for people."""
        cell = self.rows[self.name(key)][key.dataset]
        cell.values[seed] = self._value(key, seed)
        said = (f"{v:.4f} {p}" for v, p in zip(cell.values[seed], PROTOCOLS, strict=True))
        return f"{METRIC} {', '.join(said)}"

    def fail(self, key: RunKey) -> None:
        """A run of the key has failed."""
        self.rows[self.name(key)][key.dataset].failed = True

    def _value(self, key: RunKey, seed: int) -> Values:
        result = self.runs.read(key, seed)
        ranks = result.validation if self.split == "validation" else result.test
        assert ranks is not None
        kept, left_out = (
            float(per_user(ranks, METRIC, masked=protocol == "left out").mean())
            for protocol in PROTOCOLS
        )
        return kept, left_out

    def lines(
        self, columns: int, rows: int | None = None, first: Collection[str] = ()
    ) -> list[Text]:
        """At most so many rows, none wider than the columns; nothing where not even one row fits.

        Where rows are scarce, those named in `first` are shown, then those with values. Where
        columns are, numbers are written shorter, then the last datasets are left out.
        """
        names = self._chosen(rows, first)
        if not names:
            return []
        datasets = list(self.datasets)
        while len(datasets) > 1 and self._space(_FORMS[-1], columns, datasets) < _SHORT_NAME:
            datasets.pop()
        form = next(
            (f for f in _FORMS if self._space(f, columns, datasets) >= self._least(names)),
            _FORMS[-1],
        )
        lines = self._in_form(form, columns, names, datasets)
        if len(names) < len(self.rows):
            lines.append(Text(f"and {len(self.rows) - len(names)} more rows", style="dim"))
        for line in lines:
            line.rstrip()
            line.truncate(columns)
        return lines

    def _chosen(self, rows: int | None, first: Collection[str]) -> list[str]:
        """Names of the rows to show; under three lines of headings."""
        names = list(self.rows)
        if rows is None or len(names) + 3 <= rows:
            return names
        with_values = [n for n in names if any(cell.values for cell in self.rows[n].values())]
        order = dict.fromkeys([*(n for n in names if n in first), *with_values, *names])
        chosen = list(order)[: max(rows - 4, 0)]
        return [name for name in names if name in chosen]

    def _least(self, names: Sequence[str]) -> int:
        """Columns that the names should have."""
        return min(max(map(len, names)), _SHORT_NAME)

    def _widths(self, form: _Form) -> tuple[int, int]:
        """Columns of a value and of the numbers of seeds; they do not change as values come in."""
        value = len(form.number(0.0))
        if form.sd:
            value = 2 * value + 1 + len(self.sign)
        seeds = max(
            len(f"{c.wanted}/{c.wanted}") for row in self.rows.values() for c in row.values()
        )
        return max(value, len(PROTOCOLS[form.protocols - 1])), seeds

    def _space(self, form: _Form, columns: int, datasets: Sequence[str]) -> int:
        """Columns that the datasets leave for the names."""
        value, seeds = self._widths(form)
        return columns - len(datasets) * (2 + form.protocols * (value + 1) + seeds)

    def _in_form(
        self, form: _Form, columns: int, names: Sequence[str], datasets: Sequence[str]
    ) -> list[Text]:
        value, seeds = self._widths(form)
        width = form.protocols * (value + 1) + seeds
        space = min(max(map(len, names)), max(self._space(form, columns, datasets), 8))
        what = f"mean {self.sign}sd" if form.sd else "mean"
        only = "" if form.protocols == 2 else ", history kept"
        left = len(self.datasets) - len(datasets)
        more = f"; {left} more dataset{'s' if left > 1 else ''}" if left else ""
        title = f"{METRIC} on {self.split}{only}: {what} of the seeds so far{more}"
        head, under = Text(" " * space), Text(" " * space, style="dim")
        for dataset in datasets:
            head.append(f"  {cut(dataset, width):<{width}}", style="bold")
            under.append("  ")
            for protocol in PROTOCOLS[: form.protocols]:
                under.append(f"{protocol:<{value}} ")
            under.append(f"{'n':<{seeds}}")
        lines = [Text(title, style="bold"), head, under]
        for name in names:
            line = Text(f"{cut(name, space):<{space}}")
            for dataset in datasets:
                cell = self.rows[name].get(dataset)
                line.append("  ")
                if cell is None:
                    line.append(" " * width)
                    continue
                for at in range(form.protocols):
                    numbers = [values[at] for values in cell.values.values()]
                    line.append(f"{form.value(numbers, self.sign):<{value}} ")
                line.append(f"{cell.seeds:<{seeds}}", style=cell.style)
            lines.append(line)
        return lines
