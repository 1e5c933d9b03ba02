"""What the settings files hold: methods, profiles, and the layers of settings inside them.

`configs/models/<slug>.yaml` is a method, one row of the tables: a model class with its settings.
`configs/profiles/<name>.yaml` says how much is run. `resolve.py` makes one run's settings of their
layers. Adding a model never edits this file.
"""

import dataclasses
import importlib
import inspect
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.data.config import Modality
from benchmark.errors import InputError, nearest
from benchmark.runs.spec import Convergence, slug
from benchmark.yaml_files import FromFile, read_model, read_yaml

T = TypeVar("T")

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

Category = Literal["id", "simple", "advanced", "ours", "control", "reading", "arm"]
"""A reading is another way to read the paper's method, an arm a method that an experiment needs and
the paper does not have. Neither is a row of the paper's tables: both are run by name alone."""


class Settings(FromFile):
    """One layer of settings: what it does not name stays as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's config."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Fields of `Training`."""
    protocol: dict[str, Any] = Field(default_factory=dict)
    """Fields of `Protocol`; `stride` as a share of the window."""
    convergence: Convergence | None = None
    """What is known of the budget, where the layer sets one (`training: {steps: ...}`)."""


class DatasetLayers(Settings):
    """A layer, and further ones that hold on some datasets."""

    datasets: dict[str, Settings] = Field(default_factory=dict)
    """By dataset; they override what stands beside."""


class ProfileLayers(DatasetLayers):
    """A layer, and further ones that hold on some datasets or in some profiles."""

    profiles: dict[str, DatasetLayers] = Field(default_factory=dict)
    """By profile; they override what stands beside and, where they name the same field, `datasets`
    of their own override `datasets` beside."""


class Method(ProfileLayers):
    """One row of the tables: `configs/models/<slug>.yaml`."""

    name: str
    class_path: str = Field(alias="class")
    """`module:Class`"""
    category: Category
    source: str = ""
    modalities: tuple[Modality, ...] = ()
    """What the method is fed, where a dataset has it."""
    cost: float = Field(0.1, gt=0)
    """Milliseconds that a position of a training step takes on one core at width 64, the
    evaluations between the steps included (measured on Beauty); padding counts as a position where
    the model has a fixed length. For estimates alone."""
    variants: dict[str, ProfileLayers] = Field(default_factory=dict)
    """Named changes: ablations, swept values, readings."""

    @property
    def by_name_alone(self) -> bool:
        """Whether it is run where it is named and not among all rows."""
        return self.category in ("reading", "arm")

    @property
    def cls(self) -> type:
        """The model's class. Raises InputError where `class` names none, and where its module
        cannot be imported, whatever the module raises, or where it is no model."""
        module, _, name = self.class_path.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:
            if isinstance(error, ImportError | AttributeError | ValueError | TypeError):
                remedy = f"{error}; write it as module:Class"
            else:
                remedy = f"{_raised_at(error)}; mend that file"
            raise InputError(
                f"{self.where('class') or 'a method'}: {self.name!r}: cannot load class "
                f"{self.class_path!r}: {remedy}"
            ) from error
        if (lacks := _lacks(found)) is not None:
            raise InputError(
                f"{self.where('class') or 'a method'}: {self.name!r}: {self.class_path!r} is no "
                f"model: {lacks}; name a subclass of findrec.recommender.Recommender"
            )
        return found


def _lacks(found: object) -> str | None:
    """What a class lacks to be a model; None if nothing. Asked without importing torch."""
    if not isinstance(found, type):
        return f"it is a {type(found).__name__}"
    if not dataclasses.is_dataclass(getattr(found, "Config", None)):
        return "it has no dataclass `Config`"
    if inspect.isabstract(found):
        return f"it does not define {', '.join(sorted(getattr(found, '__abstractmethods__', ())))}"
    return None


def _raised_at(error: Exception) -> str:
    """File, line and words of what went wrong in another module."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: not valid Python ({error.msg})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}, line {frame.lineno}: {words}"


class Profile(DatasetLayers):
    """How much is run: `configs/profiles/<name>.yaml`."""

    name: str
    title: str
    extends: str | None = None
    """A profile whose settings, and what methods say for it, hold here too unless overridden."""
    seeds: int = Field(ge=1)
    """How many: 0 .. seeds - 1, or those of the analysis plan."""
    analysis_plan: bool = False
    """Whether it carries out the analysis plan (benchmark/paper/analysis_plan.md): its seeds are
    the plan's, and its runs hold the plan's hash."""
    beside: str = ""
    """What it asks beside the plan that it extends: the verdict's pages say it, and what it has.
    "" keeps it off them."""
    run_on: tuple[str, ...]
    """The datasets that it runs on unless told otherwise."""
    max_users: int | None = None
    """Keep so many users alone; for tests."""

    @property
    def lineage(self) -> tuple["Profile", ...]:
        """The profiles that it extends, the oldest first, and itself."""
        if self.extends is None:
            return (self,)
        return (*get_profile(self.extends).lineage, self)

    def layers(
        self, datasets: Sequence[str]
    ) -> Iterator[tuple["Profile", tuple[str, ...], Settings]]:
        """What it says of a dataset with that lineage, from the general to the particular: the
        profile whose file a layer stands in, its keys there, and the layer."""
        for own in self.lineage:
            yield own, (), own
            for name in datasets:
                if name in own.datasets:
                    yield own, ("datasets", name), own.datasets[name]

    @property
    def further(self) -> tuple["Profile", ...]:
        """The profiles that extend this one and ask something beside the plan that both carry out,
        in the order of their names."""
        if not self.analysis_plan:
            return ()
        return tuple(
            profile
            for profile in profiles().values()
            if profile.beside and profile.analysis_plan and self in profile.lineage[:-1]
        )

    def first_seeds(self, number: int | None = None) -> list[int]:
        """The first `number` of its seeds; all that it reports if None."""
        number = self.seeds if number is None else number
        return analysis_plan().seeds(number) if self.analysis_plan else list(range(number))


@cache
def methods() -> dict[str, Method]:
    """All methods by name, in the order in which tables show them.

    Raises InputError, naming file and line, for a file that is no method, two files with one name,
    and settings for a profile that does not exist.
    """
    found = [read_model(path, Method) for path in sorted((CONFIGS / "models").glob("*.yaml"))]
    order = read_yaml(CONFIGS / "order.yaml").data
    place = {name: at for at, name in enumerate(order)}
    found.sort(key=lambda method: (place.get(method.name, len(place)), method.name))
    by_name: dict[str, Method] = {}
    folders: dict[str, str] = {}
    for method in found:
        if method.name in by_name:
            raise InputError(
                f"{method.where('name')}: the name {method.name!r} is taken by "
                f"{by_name[method.name].where('name')}; choose another"
            )
        try:
            folder = slug(method.name)
        except InputError as error:
            raise InputError(f"{method.where('name')}: {error}") from error
        if (other := folders.setdefault(folder, method.name)) != method.name:
            raise InputError(
                f"{method.where('name')}: runs of {method.name!r} would have the folder of those "
                f"of {other!r} ({folder}); choose a name that differs in letters or digits"
            )
        if "base" in method.variants:
            raise InputError(
                f"{method.where('variants', 'base')}: the base is the method without any variant; "
                "set its values at the top, or give the variant another name"
            )
        by_name[method.name] = method
        blocks = [((), method), *((("variants", v), b) for v, b in method.variants.items())]
        for keys, block in blocks:
            for name in block.profiles.keys() - profiles().keys():
                raise InputError(
                    f"{method.where(*keys, 'profiles', name)}: no profile is called {name!r}"
                    f"{nearest(name, profiles())}"
                )
    return by_name


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name."""
    found = [read_model(path, Profile) for path in sorted((CONFIGS / "profiles").glob("*.yaml"))]
    return {profile.name: profile for profile in found}


def asked_beside() -> frozenset[str]:
    """Names of the profiles that ask something beside the analysis plan."""
    return frozenset(name for name, profile in profiles().items() if profile.beside)


def get_method(name: str) -> Method:
    """The method of that name; InputError with the nearest name otherwise."""
    return pick(name, methods(), "model")


def get_profile(name: str) -> Profile:
    """The profile of that name; InputError with the nearest name otherwise."""
    return pick(name, profiles(), "profile")


def pick(name: str, options: Mapping[str, T], what: str) -> T:
    """`options[name]`, or of the one name that differs from it in capitals alone; InputError that
    offers the nearest name otherwise."""
    if name in options:
        return options[name]
    same = [option for option in options if option.casefold() == name.casefold()]
    if len(same) == 1:
        return options[same[0]]
    raise InputError(f"unknown {what} {name!r}{nearest(name, options)}")
