"""Tuning: the same trials for every row, chosen on validation alone, and the log of them.

A trial is a spec like any other, under a variant such as "trial:lr=0.001,dropout=0.2" and marked in
its protocol: `run_seeds` ranks its validation targets and never its test targets. The grid is
`configs/tuning.yaml`. Nothing here writes a config: the choice is printed as lines for the row's
own file, and enters by a commit (docs/tuning.md).
"""

import dataclasses
import itertools
import math
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.errors import InputError, nearest
from benchmark.evaluate.metrics import per_user
from benchmark.files import atomic_file
from benchmark.plan import Planned
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunRecord
from benchmark.runs.spec import RunSpec, Training, slug
from benchmark.runs.store import Status, Stored
from benchmark.settings.registry import CONFIGS, Profile, get_method, methods
from benchmark.settings.resolve import resolve
from benchmark.yaml_files import read_model

METRIC = "NDCG@10"
"""On validation, full ranking: what training stops on too (`benchmark/train/engine.py`)."""

FILE = CONFIGS / "tuning.yaml"

Value = bool | int | float | str


class Setting(BaseModel):
    """What one trial changes: a point of the grid."""

    model_config = ConfigDict(frozen=True)

    training: dict[str, Value]
    model: dict[str, Value]

    @property
    def label(self) -> str:
        """ "lr=0.001,dropout=0.2" """
        return ",".join(f"{k}={v}" for k, v in {**self.training, **self.model}.items())

    @property
    def variant(self) -> str:
        """Of the trial's spec."""
        return f"trial:{self.label}"


class Grid(BaseModel):
    """Values of every field that is varied."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: dict[str, tuple[Value, ...]] = {}
    """Fields of `Training`."""
    model: dict[str, tuple[Value, ...]] = {}
    """Fields of the models' configs; every row that is tuned must have them."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, values in [*self.training.items(), *self.model.items()]:
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: give at least one value, and each once")
        for name in self.training:
            if name not in Training.model_fields:
                known = nearest(name, Training.model_fields)
                raise ValueError(f"training has no setting {name!r}{known}")
        if both := self.training.keys() & self.model.keys():
            raise ValueError(f"{', '.join(sorted(both))}: in training or in model, not in both")
        return self


class Tuning(BaseModel):
    """The entries of `configs/tuning.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(ge=1)
    """Of every row on every dataset; stated so that growing the grid is a decision."""
    seed: int = Field(ge=0)
    """Of every trial."""
    budget: float = Field(1.0, gt=0, le=1)
    """Share of the profile's steps that a trial gets at most."""
    tolerance: float = Field(0.0, ge=0, lt=1)
    """Settings this close to the best, as a share of it, count as equally good."""
    grid: Grid

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """All points of the grid, the last field varying fastest."""
        axes = [
            [(part, name, value) for value in values]
            for part, fields in (("training", self.grid.training), ("model", self.grid.model))
            for name, values in fields.items()
        ]
        return tuple(
            Setting(
                training={name: value for part, name, value in point if part == "training"},
                model={name: value for part, name, value in point if part == "model"},
            )
            for point in itertools.product(*axes)
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is varied."""
        return (*self.grid.training, *self.grid.model)

    @model_validator(mode="after")
    def _as_many_as_stated(self) -> Self:
        if len(self.settings) != self.trials:
            raise ValueError(
                f"trials is {self.trials}, but the grid has {len(self.settings)} points; change "
                "one of them"
            )
        return self


@dataclasses.dataclass(frozen=True)
class Trial:
    """One line of the log."""

    spec: RunSpec
    setting: Setting
    seed: int
    status: Status
    record: RunRecord | None
    """None where the run is missing or damaged."""
    value: float
    """Mean over users of `METRIC` on validation, of the best step; NaN for a run without ranks."""


@dataclasses.dataclass(frozen=True)
class Group:
    """All trials of one row on one dataset, in the order of the grid."""

    dataset: str
    model: str
    trials: tuple[Trial, ...]
    usable: tuple[Status, ...]
    tolerance: float

    @property
    def chosen(self) -> Trial | None:
        """The earliest in the grid that is as good as the best on validation, but for the
        tolerance; None until every trial has ended, since a row that chooses among fewer has had
        another number of trials. Failed ones have ended."""
        if any(trial.status not in (*self.usable, "failed") for trial in self.trials):
            return None
        finished = [trial for trial in self.trials if trial.status != "failed"]
        enough = max((t.value for t in finished), default=math.nan) * (1 - self.tolerance)
        return next((trial for trial in finished if trial.value >= enough), None)


def tuning(path: Path = FILE) -> Tuning:
    """The grid. Raises InputError naming the file for one that cannot be used."""
    return read_model(path, Tuning)


def tuned(models: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Rows that are tuned, and those of `models` (default: all rows of the tables) that are left
    out: controls, which are not trained and have none of the settings."""
    asked = models or [name for name, method in methods().items() if method.category != "reading"]
    controls = [name for name in asked if get_method(name).category == "control"]
    return [name for name in asked if name not in controls], controls


def trial_specs(
    pairs: Sequence[tuple[str, str]], profile: Profile, tuning: Tuning
) -> list[RunSpec]:
    """The trials of every (dataset, model), in the order of the grid.

    Raises InputError naming the field and the row where a row lacks a field of the grid.
    """
    return [
        _trial(model, dataset, profile, setting, tuning.budget)
        for dataset, model in pairs
        for setting in tuning.settings
    ]


def _trial(model: str, dataset: str, profile: Profile, setting: Setting, budget: float) -> RunSpec:
    resolved = resolve(model, dataset, profile)
    assert resolved.training is not None, "controls are not tuned"
    steps = math.ceil(budget * resolved.training.steps)
    fields = [field.name for field in dataclasses.fields(resolved.config)]
    for name in setting.model:
        if name not in fields:
            raise InputError(
                f"{FILE}: the grid varies {name!r}, which {model!r} does not have"
                f"{nearest(name, fields)}"
            )
    try:
        changed = dataclasses.replace(
            resolved,
            variant=setting.variant,
            config=dataclasses.replace(resolved.config, **setting.model),
        )
        return changed.spec.with_training(steps=steps, **setting.training).with_protocol(trial=True)
    except ValueError as error:
        raise InputError(f"{FILE}: {model!r} cannot be tried with {setting.label}: {error}") from (
            error
        )


def tried_pairs(runs: RunSet, profile: Profile) -> list[tuple[str, str]]:
    """(dataset, model) pairs that have a stored trial, in the order of the tables."""
    specs = [s.record.spec for s in runs.scan() if s.record is not None]
    found = {
        (spec.dataset, spec.model)
        for spec in specs
        if spec.protocol.trial and spec.profile == profile.name and spec.model in methods()
    }
    return sorted(found, key=_place)


def _place(pair: tuple[str, str]) -> tuple[str, int]:
    """Of a (dataset, model) in the log; rows that are no more stand at the end."""
    order = list(methods())
    return pair[0], order.index(pair[1]) if pair[1] in order else len(order)


def groups(planned: Sequence[Planned], tuning: Tuning, *, reuse_stale: bool = False) -> list[Group]:
    """The trials as they stand in the plan, those of one (dataset, model) together; pairs without
    any are left out."""
    settings = {setting.variant: setting for setting in tuning.settings}
    found: dict[tuple[str, str], list[Trial]] = {}
    for p in planned:
        assert p.spec is not None  # trials are planned from their settings
        for seed, stored in p.runs.items():
            trial = _outcome(p.spec, settings[p.key.variant], seed, stored)
            found.setdefault((p.key.dataset, p.key.model), []).append(trial)
    usable: tuple[Status, ...] = ("complete", "stale") if reuse_stale else ("complete",)
    return [
        Group(dataset, model, tuple(trials), usable, tuning.tolerance)
        for (dataset, model), trials in found.items()
        if any(trial.status != "missing" for trial in trials)
    ]


def _outcome(spec: RunSpec, setting: Setting, seed: int, stored: Stored) -> Trial:
    ranks = None if stored.result is None else stored.result.validation
    value = math.nan if ranks is None else float(per_user(ranks, METRIC).mean())
    return Trial(spec, setting, seed, stored.status, stored.record, value)


# ---------------------------------------------------------------- the log


def log(groups: Sequence[Group], tuning: Tuning, earlier: Path | None = None) -> pd.DataFrame:
    """One line a trial: what was tried, what came of it, and whether it was chosen.

    earlier: a log whose lines of other (dataset, model) pairs are kept, so that a call for some
    rows loses nobody else's. One of another grid has nothing to say beside this one and is left.
    """
    frame = pd.DataFrame(
        [
            {
                "dataset": group.dataset,
                "model": group.model,
                **{
                    name: ({**trial.setting.training, **trial.setting.model})[name]
                    for name in tuning.fields
                },
                "validation_ndcg@10": trial.value,
                **_course(trial.record),
                "seed": trial.seed,
                "status": trial.status,
                "chosen": trial is group.chosen,
            }
            for group in groups
            for trial in group.trials
        ]
    )
    if earlier is None or not earlier.exists():
        return frame
    before = pd.read_csv(earlier)
    if list(before.columns) != list(frame.columns):
        return frame
    ours = [(group.dataset, group.model) for group in groups]
    others = [pair not in ours for pair in _pairs(before)]
    merged = pd.concat([before[others], frame], ignore_index=True)
    order = sorted(range(len(merged)), key=[_place(pair) for pair in _pairs(merged)].__getitem__)
    return merged.iloc[order]


def _pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame["dataset"], frame["model"], strict=True))


def _course(record: RunRecord | None) -> dict[str, Any]:
    names = ("best_step", "steps", "plateau", "seconds", "code")
    if record is None:
        return dict.fromkeys(names)
    seconds = record.timings.training + record.timings.evaluation
    values = (record.best_step, record.steps, record.plateau, round(seconds, 1), record.hashes.code)
    return dict(zip(names, values, strict=True))


def markdown(frame: pd.DataFrame, tuning: Tuning, profile: Profile) -> str:
    """A table for each dataset of the log: rows against settings, the chosen one bold, then the
    lines for the configs."""
    lines = [
        f"# Trials of the profile {profile.name}",
        "",
        f"{METRIC} on validation, full ranking, seed {tuning.seed}; {tuning.trials} trials a row. "
        "**Bold**: chosen. †: ended by its budget, not by a plateau. Test targets took no part.",
    ]
    for dataset, of_dataset in frame.groupby("dataset", sort=False):
        labels = [setting.label.replace(",", ", ") for setting in tuning.settings]
        lines += ["", f"## {dataset}", ""]
        lines += [f"| model | {' | '.join(labels)} |", f"| :-- |{' --: |' * len(labels)}"]
        for model, trials in of_dataset.groupby("model", sort=False):
            cells = (_cell(trial) for trial in trials.to_dict("records"))
            lines.append(f"| {model} | {' | '.join(cells)} |")
    chosen = choices(frame, tuning, profile)
    if chosen:
        lines += ["", "## Lines for the configs", "", "```yaml", chosen.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _cell(trial: dict[Hashable, Any]) -> str:
    value = trial["validation_ndcg@10"]
    if math.isnan(value):
        return str(trial["status"])
    text = f"**{value:.4f}**" if trial["chosen"] else f"{value:.4f}"
    if trial["status"] == "stale":
        text += " (stale)"
    return text if trial["plateau"] else f"{text}†"


def choices(frame: pd.DataFrame, tuning: Tuning, profile: Profile) -> str:
    """YAML for the rows' files: `profiles: <profile>: datasets:` with the chosen settings."""
    parts = []
    grid = tuning.grid.model_dump()
    for model, trials in frame[frame["chosen"]].groupby("model", sort=False):
        heading = f"# configs/models/{slug(str(model))}.yaml\nprofiles:\n  {profile.name}:\n"
        lines = []
        for trial in trials.to_dict("records"):
            chosen = {
                part: {name: trial[name] for name in fields}
                for part, fields in grid.items()
                if fields
            }
            flow = yaml.safe_dump(chosen, default_flow_style=True, sort_keys=False, width=math.inf)
            lines.append(f"      {trial['dataset']}: {flow.strip()}\n")
        parts.append(f"{heading}    datasets:\n{''.join(lines)}")
    return "\n".join(parts)


def write_log(
    groups: Sequence[Group], tuning: Tuning, profile: Profile, folder: Path
) -> dict[Literal["csv", "md"], Path]:
    """Write `folder`/<profile>.csv and .md, each whole or not at all."""
    paths: dict[Literal["csv", "md"], Path] = {
        "csv": folder / f"{profile.name}.csv",
        "md": folder / f"{profile.name}.md",
    }
    frame = log(groups, tuning, paths["csv"])
    texts = {"csv": frame.to_csv(index=False), "md": markdown(frame, tuning, profile)}
    for suffix, path in paths.items():
        with atomic_file(path) as temporary:
            temporary.write_text(texts[suffix], encoding="utf-8")
    return paths
