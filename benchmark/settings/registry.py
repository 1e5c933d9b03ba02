"""Which rows there are and with which settings each is trained; read from `configs/`.

A row of a table is a model class with a config. Settings are merged from the general to the
particular, a later source overriding an earlier one field by field:

    the class's own defaults < row < profile < profile's dataset
        < row's profile < row's dataset < row's dataset within its profile < variant

Widths that a profile sets for everybody reach only configs that have such a field. Adding a model
never edits this file.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import InputError, nearest
from benchmark.runs.spec import Training
from findrec.recommender import Modality

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

Category = Literal["id", "simple", "advanced", "ours", "control", "reading"]
"""A reading is another way to read the paper's method; it is run by name alone."""
FeatureUse = Literal["real", "permuted", "none"]


class Settings(BaseModel):
    """A layer of settings; what is not named is left as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, Any] = {}
    """Fields of the model's config."""
    training: dict[str, Any] = {}
    """Fields of `Training`."""
    features: FeatureUse | None = None
    """Whether the row gets its features as they are, permuted among the items, or none at all."""
    datasets: dict[str, "Settings"] = {}
    """Further settings on some datasets."""


class Method(Settings):
    """One row of the tables: `configs/models/<slug>.yaml`."""

    name: str
    class_path: str = Field(alias="class")
    """`module:Class`"""
    category: Category
    source: str = ""
    modalities: tuple[Modality, ...] = ()
    """What the row is fed, where a dataset has it."""
    cost: float = Field(0.1, gt=0)
    """Milliseconds that a position of the causal objective takes on one core at width 64, all the
    row's own steps and evaluations for it included (measured on Beauty); padding counts as a
    position where the model has a fixed length. For estimates alone."""
    profiles: dict[str, Settings] = {}
    variants: dict[str, Settings] = {}
    """Named changes: ablations, swept values, readings."""

    @property
    def cls(self) -> type:
        """The model's class. Raises InputError where `class` names none."""
        module, _, name = self.class_path.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"row {self.name!r}: cannot load class {self.class_path!r} ({error}); write it as "
                "module:Class in configs/models"
            ) from error


class Profile(Settings):
    """How much is run: `configs/profiles/<name>.yaml`."""

    name: str
    title: str
    seeds: int = Field(ge=1)
    """Seeds 0 .. seeds - 1."""
    feature_control_seeds: int | None = Field(None, ge=1)
    """Seeds of the rows with permuted or without features; None is all of them."""
    run_on: tuple[str, ...]
    """The datasets that it runs on unless told otherwise."""
    max_users: int | None = None
    """Keep so many users alone; for tests."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """All settings of one (dataset, model, variant) under a profile."""

    method: Method
    config: Any
    """The class's own config dataclass."""
    training: Training
    features: FeatureUse


@cache
def methods() -> dict[str, Method]:
    """All rows by name, in the order in which tables show them."""
    found = [read(path, Method) for path in sorted((CONFIGS / "models").glob("*.yaml"))]
    order = _yaml(CONFIGS / "order.yaml")
    place = {name: at for at, name in enumerate(order)}
    found.sort(key=lambda method: (place.get(method.name, len(place)), method.name))
    names = [method.name for method in found]
    if len(set(names)) < len(names):
        raise InputError(f"two files of {CONFIGS / 'models'} define the same row: {names}")
    return {method.name: method for method in found}


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name."""
    found = [read(path, Profile) for path in sorted((CONFIGS / "profiles").glob("*.yaml"))]
    return {profile.name: profile for profile in found}


def get_method(name: str) -> Method:
    """The row of that name; InputError with the nearest name otherwise."""
    return pick(name, methods(), "model")


def get_profile(name: str) -> Profile:
    """The profile of that name; InputError with the nearest name otherwise."""
    return pick(name, profiles(), "profile")


def pick(name: str, options: Mapping[str, T], what: str) -> T:
    """`options[name]`, or an InputError that offers the nearest name."""
    if name in options:
        return options[name]
    raise InputError(f"unknown {what} {name!r}{nearest(name, options)}")


def resolve(name: str, dataset: str, profile: Profile, variant: str = "base") -> Resolved:
    """Merge all layers of settings for one row on one dataset.

    Raises InputError for an unknown row or variant, or a setting that the model does not have.
    """
    method = get_method(name)
    own = method.profiles.get(profile.name, Settings())
    change = (
        Settings() if variant == "base" else pick(variant, method.variants, f"variant of {name}")
    )
    nothing = Settings()
    specific = [
        own,
        method.datasets.get(dataset, nothing),
        own.datasets.get(dataset, nothing),
        change,
        change.datasets.get(dataset, nothing),
    ]
    general = [profile, profile.datasets.get(dataset, nothing)]
    fields = _fields(method.cls)
    model: dict[str, Any] = dict(method.model)
    for layer in general:
        model |= {k: v for k, v in layer.model.items() if k in fields}
    for layer in specific:
        model |= layer.model
    for key in model:
        if key not in fields:
            raise InputError(
                f"configs/models: {name!r} sets {key!r}, which {method.class_path} does not have"
                f"{nearest(key, fields)}"
            )
    training: dict[str, Any] = dict(method.training)
    for layer in [*general, *specific]:
        training |= layer.training
    features: FeatureUse = "real"
    for layer in (method, *general, *specific):
        features = layer.features or features
    try:
        settings = Training(**training)
        config = _config(method.cls, model)
    except (ValidationError, TypeError, ValueError) as error:
        raise InputError(f"settings of {name!r} on {dataset!r} ({variant}): {error}") from error
    return Resolved(method, config, settings, features)


def _fields(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls.Config)}  # type: ignore[attr-defined]


def _config(cls: type, model: dict[str, Any]) -> Any:
    # YAML has lists where frozen configs have tuples
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in model.items()}
    return cls.Config(**values)  # type: ignore[attr-defined]


def read(path: Path, kind: type[M]) -> M:
    try:
        return kind.model_validate(_yaml(path))
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"{path}: {lines}") from error


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
