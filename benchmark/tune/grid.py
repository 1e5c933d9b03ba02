"""What is tried: `configs/tuning.yaml`, and the specs of its trials.

A trial is a spec like any other, under a variant such as "trial:lr=0.001,dropout=0.2,steps=300" and
marked in its protocol: `run_seeds` ranks its validation targets and never its test targets.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from benchmark.errors import InputError
from benchmark.runs.spec import RunSpec
from benchmark.settings.registry import CONFIGS, Profile, get_method, methods, profiles
from benchmark.settings.resolve import resolve
from benchmark.yaml_files import FromFile, read_model

FILE = CONFIGS / "tuning.yaml"

FLOOR = "Popularity"
PREFIX = "trial:"
"""With which the variants of trials of a search begin."""
"""The control that a row has to clear before its ladder can end."""


Objective = Literal["causal", "cloze", "last"]
"""As in findrec/recommender.py, which would load torch into commands that only render."""


class Point(NamedTuple):
    """What the search varies."""

    lr: float
    dropout: float


class Trial(NamedTuple):
    """One run of the search or of a ladder."""

    point: Point
    steps: int
    seed: int

    @property
    def variant(self) -> str:
        """Of its spec."""
        return f"{PREFIX}lr={self.point.lr:g},dropout={self.point.dropout:g},steps={self.steps}"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(_Strict):
    """Values of both fields, ascending."""

    lr: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=1)
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name, values in (("lr", self.lr), ("dropout", self.dropout)):
            if any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"{name}: the values have to ascend")
            if len({f"{value:g}" for value in values}) < len(values):  # a trial is named by them
                raise ValueError(f"{name}: two values are equal to six digits")
        return self


class Domain(_Strict):
    """What holds for one dataset."""

    validation_targets: int = Field(ge=1)
    """Items of each user that a trial holds out before the test target."""
    rungs: dict[Objective, tuple[int, ...]]
    """Budgets in steps, by the objective."""
    search: bool = True
    """Whether rates and dropouts are tried here; if not, a row's own settings, which it shares with
    another dataset (`settings_of`), stand, and only the ladder is climbed."""

    @model_validator(mode="after")
    def _doublings(self) -> Self:
        for objective, rungs in self.rungs.items():
            if len(rungs) < 3 or any(b != 2 * a for a, b in pairwise(rungs)):
                raise ValueError(
                    f"rungs of {objective}: at least three, each twice the one before: the "
                    "shortest budget that can be enough has two longer ones to be held against"
                )
        return self


class Tuning(_Strict, FromFile):
    """The entries of `configs/tuning.yaml`, or of a file of the user's own."""

    seeds: tuple[Annotated[StrictInt, Field(ge=0, lt=2**63)], ...] = Field(min_length=2)
    """Of trials; none that a profile reports."""
    trials: int = Field(ge=1)
    grid: Grid
    start: Point
    gain: float = Field(gt=0, lt=1)
    level: float = Field(gt=0.5, lt=1)
    datasets: dict[str, Domain]

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one stands twice, and would count as two runs")
        return self

    @model_validator(mode="after")
    def _starts_in_the_grid(self) -> Self:
        if self.start.lr not in self.grid.lr or self.start.dropout not in self.grid.dropout:
            raise ValueError(f"start {self.start} is no point of the grid")
        return self

    def said(self, *keys: str) -> str:
        """File and line of an entry, for messages."""
        return str(self.where(*keys) or FILE)

    def domain(self, dataset: str) -> Domain:
        """What holds for the dataset. Raises InputError where nothing is said of it."""
        if dataset not in self.datasets:
            raise InputError(
                f"{self.said('datasets')}: no entry for {dataset!r} under `datasets`; add its "
                "validation targets and rungs"
            )
        return self.datasets[dataset]


def read_tuning(path: Path = FILE) -> Tuning:
    """Raises InputError naming the file for one that cannot be used."""
    tuning = read_model(path, Tuning)
    for profile in profiles().values():
        if both := sorted(set(tuning.seeds) & set(profile.first_seeds())):
            raise InputError(
                f"{tuning.said('seeds')}: seed {both[0]} is one that profile {profile.name} "
                "reports, and reported seeds have no say in settings; take others"
            )
    return tuning


def tuned(models: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Rows that are tuned, and those of `models` (default: all rows of the tables) that are left
    out: controls, which are not trained."""
    asked = models or [name for name, method in methods().items() if not method.by_name_alone]
    controls = [name for name in asked if get_method(name).category == "control"]
    return [name for name in asked if name not in controls], controls


def own_point(model: str, dataset: str, profile: Profile, tuning: Tuning) -> Point | None:
    """The point that stands where rates and dropouts are not tried; None where they are. Raises
    InputError for a rate that is not in the grid, whose next lower one nobody knows."""
    if tuning.domain(dataset).search:
        return None
    resolved = resolve(model, dataset, profile)
    point = Point(resolved.spec.training.lr, resolved.config.dropout)  # type: ignore[union-attr]
    if point.lr not in tuning.grid.lr:
        raise InputError(
            f"{tuning.said('grid', 'lr')}: {dataset}: {model!r} has the rate {point.lr:g}, which "
            "is not in the grid; tune it on the dataset that it shares settings with, or try rates "
            "here (`search`)"
        )
    return point


def rungs(model: str, dataset: str, tuning: Tuning) -> tuple[int, ...]:
    """The budgets of a row's ladder. Raises InputError where the file has none for it."""
    objective = get_method(model).cls.objective  # type: ignore[attr-defined]
    of_dataset = tuning.domain(dataset).rungs
    if objective not in of_dataset:
        where = tuning.said("datasets", dataset, "rungs")
        raise InputError(f"{where}: no rungs for the objective {objective!r} of {model}")
    return of_dataset[objective]


def trial_spec(model: str, dataset: str, profile: Profile, tuning: Tuning, trial: Trial) -> RunSpec:
    """The row's settings in the profile, but for what the trial says. Raises InputError where the
    row has no dropout or a value is refused."""
    resolved = resolve(model, dataset, profile)
    if "dropout" not in {field.name for field in dataclasses.fields(resolved.config)}:
        raise InputError(f"{model!r} has no `dropout`, which {tuning.said('grid')} varies")
    try:
        config = dataclasses.replace(resolved.config, dropout=trial.point.dropout)
        spec = dataclasses.replace(
            resolved, variant=trial.variant, config=config, convergence="not established"
        ).spec
        # the curve's points are where budgets of one trunk all have them
        first = rungs(model, dataset, tuning)[0]
        return spec.with_training(
            lr=trial.point.lr, steps=trial.steps, eval_every=first
        ).with_protocol(trial=True, validation_targets=tuning.domain(dataset).validation_targets)
    except ValueError as error:
        raise InputError(
            f"{tuning.said('grid')}: {model!r} cannot be tried with {trial}: {error}"
        ) from error


def floor_spec(dataset: str, profile: Profile, tuning: Tuning) -> RunSpec:
    """Popularity on the split of the trials."""
    resolved = dataclasses.replace(resolve(FLOOR, dataset, profile), variant="trial")
    return resolved.spec.with_protocol(
        trial=True, validation_targets=tuning.domain(dataset).validation_targets
    )
