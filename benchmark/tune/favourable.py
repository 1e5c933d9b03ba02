"""The reading of the paper that validation prefers: FindRec's most favourable reading.

Where the paper leaves a choice open, FindRec has a default. Whoever says that another reading would
have done better is answered by looking for it, by the means that every other row had: trials on
validation targets of trial seeds, no more of them than the row that had fewest. Test targets take
no part. Every reading keeps FindRec's own settings (rate, dropout, budget), which were found for
the default: that is to the disadvantage of the readings, if to anyone's, and is said beside the
choice.

1. Each reading once, with the first trial seed, the default among them. They are taken from the
   sections of docs/paper-readings.md in turn, so that a number of trials that does not reach for
   all leaves out no part of the paper.
2. What is left of the trials goes to the best of them, as many as get all other trial seeds.

The choice has the highest score of these, averaged over the seeds: the geometric mean of NDCG@10
with the history kept and left out, as in the search of rates (`benchmark/tune/search.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analyse.analysis_plan import split_arm
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.files import atomic_file
from benchmark.paper.readings import readings
from benchmark.plan import FAVOURABLE, OWN_MODEL, Planned, other_readings
from benchmark.settings.registry import Profile, methods
from benchmark.settings.resolve import changes_of
from benchmark.tune.search import Tried

_OF_THE_TABLE = ("id", "simple", "advanced")
"""Categories of the rows that FindRec is compared with."""


class ReadingTrial(NamedTuple):
    """One reading with one trial seed."""

    variant: str
    seed: int


def candidates() -> tuple[str, ...]:
    """Variants of FindRec, the base first, in the order in which they are tried: those that
    docs/paper-readings.md calls readings, but for the ones that `four-ways` shows anyway."""
    sections: dict[str, list[str]] = {}
    for reading in readings():
        for arm in reading.arms:
            row, variant = split_arm(arm, methods())
            if row == OWN_MODEL and variant.startswith("reading-") and arm not in other_readings():
                sections.setdefault(reading.section, []).append(variant)
    in_turn = chain.from_iterable(zip_longest(*sections.values()))
    return tuple(dict.fromkeys(["base", *(variant for variant in in_turn if variant)]))


def fewest_trials(dataset: str, profile: Profile, folder: Path) -> tuple[int, str]:
    """The number of trials of the row that had fewest on the dataset, and its name, of the rows
    that FindRec is compared with; by the logs of trials in the folder, of the profile and those
    that it extends. Raises InputError where no such row has one, and for a log that is none."""
    paths = [folder / f"{own.name}.csv" for own in profile.lineage]
    found: dict[str, int] = {}
    for path in paths:
        if not path.is_file():
            continue
        try:
            log = pd.read_csv(path)[["dataset", "model"]]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a log of trials ({error}); run `tune` again") from error
        for model in log[log["dataset"] == dataset]["model"]:
            if model in methods() and methods()[model].category in _OF_THE_TABLE:
                found[model] = found.get(model, 0) + 1
    if not found:
        raise InputError(
            f"no log of trials on {dataset} in {folder} ({', '.join(p.name for p in paths)}): how "
            "many trials each row had is not known; run `tune` on it first"
        )
    least = min(found, key=lambda model: found[model])
    return found[least], least


@dataclass(frozen=True)
class ReadingSearch:
    """The trials of the readings on one dataset, and what they decide."""

    order: Sequence[str]
    """Of the candidates."""
    seeds: Sequence[int]
    """Trial seeds."""
    trials: int
    """How many there may be."""
    tried: Mapping[ReadingTrial, Tried]
    """Those that have ended, failed ones among them."""

    @property
    def first(self) -> list[str]:
        """Readings of the first round."""
        return list(self.order[: self.trials])

    @property
    def left_out(self) -> list[str]:
        """Readings that the number of trials does not reach for."""
        return list(self.order[self.trials :])

    def wanted(self) -> list[ReadingTrial]:
        """What is to be run next; empty where all is decided."""
        missing = self._missing(self.first, self.seeds[:1])
        return missing or self._missing(self.repeated(), self.seeds[1:])

    def repeated(self) -> list[str]:
        """Readings of the second round, the best first; none where no two can be repeated."""
        number = (self.trials - len(self.first)) // max(len(self.seeds) - 1, 1)
        best = sorted(self.first, key=lambda v: -self._score(v, self.seeds[:1]))  # a stable sort
        return best[:number] if number > 1 else []

    def choice(self) -> str | None:
        """None while something is wanted, and where every trial of the default has failed."""
        if self.wanted() or self._score("base", self.seeds[:1]) == 0:
            return None
        last = self.repeated()
        seeds = self.seeds if last else self.seeds[:1]
        return max(last or self.first, key=lambda variant: self._score(variant, seeds))

    def _missing(self, variants: Sequence[str], seeds: Sequence[int]) -> list[ReadingTrial]:
        asked = [ReadingTrial(variant, seed) for variant in variants for seed in seeds]
        return [trial for trial in asked if trial not in self.tried]

    def _score(self, variant: str, seeds: Sequence[int]) -> float:
        """Mean over the seeds; a failed trial counts as 0."""
        own = [self.tried.get(ReadingTrial(variant, seed), Tried()) for seed in seeds]
        return float(np.mean([tried.score for tried in own]))


# ---------------------------------------------------------------- the log


def readings_frame(
    dataset: str, search: ReadingSearch, planned: Mapping[str, Planned]
) -> pd.DataFrame:
    """One line a trial that has ended. planned: variant -> its runs."""
    choice = search.choice()
    lines = []
    for trial in _in_order(search):
        record = planned[trial.variant].runs[trial.seed].record
        if record is None:
            continue
        values = search.tried[trial].values
        means = {p: np.nan if values is None else values[p].mean() for p in PROTOCOLS}
        lines.append(
            {
                "dataset": dataset,
                "variant": trial.variant,
                "seed": trial.seed,
                "validation_kept": round(means["kept"], 6),
                "validation_left_out": round(means["left out"], 6),
                "seconds": round(record.timings.training + record.timings.evaluation, 1),
                "status": record.status,
                "code": record.hashes.code,
                "chosen": trial.variant == choice,
            }
        )
    return pd.DataFrame(lines)


def _in_order(search: ReadingSearch) -> Iterator[ReadingTrial]:
    for variant in search.order:
        for seed in search.seeds:
            if ReadingTrial(variant, seed) in search.tried:
                yield ReadingTrial(variant, seed)


def markdown(
    dataset: str, search: ReadingSearch, least: str, frame: pd.DataFrame, profile: Profile
) -> str:
    """What was tried and what it decides, then the lines for FindRec's file. least: the row that
    had fewest trials."""
    choice = search.choice()
    lines = [
        f"# Readings of FindRec on {dataset}, profile {profile.name}",
        "",
        f"NDCG@10 on validation targets of the trial seeds {', '.join(map(str, search.seeds))}, "
        "history kept / left out; test targets took no part. All readings have FindRec's own "
        f"settings, found for the default. At most {search.trials} trials, as many as {least} had, "
        f"which of the compared rows had fewest; {len(search.tried)} were made. FindRec's default "
        "was tuned like every other row before.",
        "",
        f"**{'Not chosen yet' if choice is None else f'Validation prefers: {choice}'}.**",
        "",
        "| reading | seeds | kept | left out | |",
        "| :-- | --: | --: | --: | :-- |",
    ]
    for variant, own in frame.groupby("variant", sort=False):
        ended = own[own["status"] == "ok"]
        kept, left = ended["validation_kept"].mean(), ended["validation_left_out"].mean()
        mark = "chosen" if variant == choice else "" if len(ended) else "failed"
        lines.append(f"| {variant} | {len(ended)} | {kept:.4f} | {left:.4f} | {mark} |")
    if search.left_out:
        lines += ["", f"Not tried, for want of trials: {', '.join(search.left_out)}."]
    if choice is not None:
        lines += ["", "## Lines for the config", "", "```yaml"]
        lines += [entry(choice, dataset, profile), "```"]
    return "\n".join(lines) + "\n"


def entry(variant: str, dataset: str, profile: Profile) -> str:
    """YAML for FindRec's file, under `variants`: the reading's settings on the dataset."""
    changes = changes_of(OWN_MODEL, dataset, profile, variant)
    inside = ", ".join(
        f"{block}: {{{', '.join(f'{name}: {_yaml(v)}' for name, v in fields.items())}}}"
        for block, fields in changes.items()
    )
    return "\n".join(
        [
            "# configs/models/findrec.yaml, under variants",
            f"{FAVOURABLE}:",
            f"  datasets: {{{dataset}: {{{inside}}}}}",
        ]
    )


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_readings_log(
    dataset: str,
    search: ReadingSearch,
    least: str,
    planned: Mapping[str, Planned],
    profile: Profile,
    folder: Path,
) -> tuple[Path, Path]:
    """Write <profile>-readings-<dataset>.csv and .md, each whole or not at all; their paths."""
    frame = readings_frame(dataset, search, planned)
    texts = {
        "csv": frame.to_csv(index=False),
        "md": markdown(dataset, search, least, frame, profile),
    }
    paths = []
    for suffix, text in texts.items():
        path = folder / f"{profile.name}-readings-{dataset}.{suffix}"
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1]
