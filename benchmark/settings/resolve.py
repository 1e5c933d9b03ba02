"""From the layers of settings to one run's settings, with the file and line that set each of them.

A later layer overrides an earlier one field by field:

    the classes' defaults
    the method's own settings
    the profile, then what it says for the dataset
    what the method says for the profile, for the dataset, and for the dataset in that profile
    (what a profile extends comes before it; so does a dataset whose settings another one shares)
    what the variant says: at all, for the profile, for the dataset, for the dataset in that profile

What a profile says of `model` reaches only models whose config has such a field.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.data.config import dataset_lineage
from benchmark.errors import InputError, nearest
from benchmark.runs.spec import Convergence, Protocol, RunSpec, Training
from benchmark.settings.registry import (
    Method,
    Profile,
    ProfileLayers,
    Settings,
    get_method,
    get_profile,
    pick,
)
from benchmark.settings.sources import Source, dataclass_defaults, model_defaults
from benchmark.yaml_files import FromFile, Location

B = TypeVar("B", bound=BaseModel)

Part = Literal["config", "training", "protocol"]
"""Of a run spec."""

STRIDE = 0.5
"""Distance of the windows of users longer than the window, as a share of the window: every target
past the first half window has at least half a window of context. Layers set it as
`protocol: {stride: ...}`."""

BLOCKS: Mapping[Part, str] = {"config": "model", "training": "training", "protocol": "protocol"}
"""What a layer calls the fields of each part."""

DERIVED = ("max_length", "control", "trial", "max_users", "analysis_plan")
"""Fields of the protocol that no layer sets."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """All settings of one (dataset, method, variant) under a profile, and where each comes from."""

    method: Method
    dataset: str
    profile: str
    variant: str
    config: Any
    """The class's own config dataclass."""
    training: Training | None
    """None for a control."""
    protocol: Protocol
    convergence: Convergence
    """Of the budget."""
    sources: Mapping[str, Source]
    """By "config.dim", "training.lr", "protocol.stride"; every field of the three has one, and
    "convergence"."""

    @property
    def spec(self) -> RunSpec:
        """The settings as the plain data that a run is made from."""
        return RunSpec(
            dataset=self.dataset,
            model=self.method.name,
            variant=self.variant,
            profile=self.profile,
            implementation=self.method.class_path,
            modalities=self.method.modalities,
            config=dataclasses.asdict(self.config),
            training=self.training,
            protocol=self.protocol,
            convergence=self.convergence,
        )


@dataclasses.dataclass(frozen=True)
class _Layer:
    label: str
    settings: Settings
    owner: FromFile
    """The whole file that the layer is a part of."""
    keys: tuple[str, ...]
    """Where in the file it stands."""


def resolve(name: str, dataset: str, profile: Profile, variant: str = "base") -> Resolved:
    """Merge all layers of settings for one method on one dataset.

    Raises InputError, naming file and line, for an unknown method or variant, a setting that does
    not exist, and a value that cannot be.
    """
    method = get_method(name)
    if variant != "base":
        variant = pick(variant, {known: known for known in method.variants}, f"variant of {name}")
    where = f"settings of {name!r} on {dataset!r} ({variant})"
    config_class = method.cls.Config  # type: ignore[attr-defined]
    names = {field.name for field in dataclasses.fields(config_class)}
    defaults = dataclass_defaults(config_class)
    found, convergence = _merged(method, dataset, profile, variant, names, defaults, where)
    config = _config(method, found["config"], where)
    training = (
        None
        if method.category == "control"
        else _checked(Training, "training", found["training"], where)
    )
    if training is not None and not training.history_in_softmax:
        _check_causal(method, found["training"]["history_in_softmax"], where)
    protocol = _checked(Protocol, "protocol", found["protocol"], where)
    used: dict[Part, Any] = {"config": config, "training": training, "protocol": protocol}
    sources = {
        # in the form that the class gave to the value
        f"{part}.{key}": dataclasses.replace(source, value=getattr(used[part], key))
        for part in found
        if used[part] is not None
        for key, source in found[part].items()
    }
    sources["convergence"] = convergence
    return Resolved(
        method,
        dataset,
        profile.name,
        variant,
        config,
        training,
        protocol,
        convergence.value,
        sources,
    )


def sources_in_files(spec: RunSpec) -> dict[str, Source]:
    """What the settings files say today of a stored spec's fields, without loading its model.

    A field of the config that no file sets has the spec's value, as a default of the class, without
    the line. Raises InputError where the files have no such method, profile or variant.
    """
    method, profile = get_method(spec.model), get_profile(spec.profile)
    where = f"settings of {spec.model!r} on {spec.dataset!r} ({spec.variant})"
    names = set(spec.config)
    found, convergence = _merged(method, spec.dataset, profile, spec.variant, names, {}, where)
    for name in names - set(found["config"]):
        found["config"][name] = Source(spec.config[name], f"default of {spec.implementation}", None)
    sources = {f"{part}.{key}": s for part, own in found.items() for key, s in own.items()}
    return sources | {"convergence": convergence}


def _merged(
    method: Method,
    dataset: str,
    profile: Profile,
    variant: str,
    names: set[str],
    defaults: dict[str, Source],
    where: str,
) -> tuple[dict[Part, dict[str, Source]], Source]:
    """The last word on every field, and on the convergence of the budget.

    What a ladder showed of one number of steps says nothing of another, nor of another dataset, so
    the layer that sets the steps speaks of their convergence too, on its own dataset.

    names, defaults: the fields of the model's config, and what it has without any file.
    """
    share = Source(STRIDE, "default", Location.of(Path(__file__), _line_of_stride()))
    found: dict[Part, dict[str, Source]] = {
        "config": dict(defaults),
        "training": model_defaults(Training),
        "protocol": model_defaults(Protocol) | {"stride": share},
    }
    convergence = Source("not established", "no ladder of budgets", None)
    known: dict[Part, set[str]] = {
        "config": names,
        "training": set(Training.model_fields),
        "protocol": set(Protocol.model_fields) - set(DERIVED),
    }
    for layer in _layers(method, dataset, profile, variant):
        if "steps" in layer.settings.training or layer.settings.convergence is not None:
            shown_here = layer.keys[-2:-1] != ("datasets",) or layer.keys[-1] == dataset
            said = layer.settings.convergence if shown_here else None
            said = said or "not established"
            key = "steps" if layer.settings.convergence is None else "convergence"
            keys = ("training", key) if key == "steps" else (key,)
            location = layer.owner.where(*layer.keys, *keys)
            convergence = Source(said, layer.label, location, convergence)
        for part, block in BLOCKS.items():
            for key, value in getattr(layer.settings, block).items():
                location = layer.owner.where(*layer.keys, block, key)
                for_all = isinstance(layer.owner, Profile) and part == "config"
                if key not in known[part] and not for_all:
                    raise InputError(
                        f"{location or where}: {method.name!r} sets {block} {key!r}, which "
                        f"{method.class_path if part == 'config' else part} does not have"
                        f"{nearest(key, sorted(known[part]))}"
                    )
                older = found[part].get(key)
                found[part][key] = Source(value, layer.label, location, older)
    # a method whose config has no `max_length` has the profile's window all the same
    length = found["config"].get("max_length")
    if length is None:
        raise InputError(
            f"{profile.where() or where}: profile {profile.name!r} says no `max_length` in `model`"
        )
    found["protocol"] |= _derived(method, profile, length, found["protocol"]["stride"], where)
    found["config"] = {k: s for k, s in found["config"].items() if k in names}
    return found, convergence


def _layers(method: Method, dataset: str, profile: Profile, variant: str) -> Iterator[_Layer]:
    """From the general to the particular."""
    name, datasets = method.name, dataset_lineage(dataset)
    profiles = [own.name for own in profile.lineage]
    yield _Layer(name, method, method, ())
    for own, keys, settings in profile.layers(datasets):
        place = f" on {keys[-1]}" if keys else ""
        yield _Layer(f"profile {own.name}{place}", settings, own, keys)
    yield from _particular(name, method, method, (), datasets, profiles)
    if variant != "base":
        yield from _of_variant(method, variant, datasets, profiles)


def _of_variant(
    method: Method, variant: str, datasets: Sequence[str], profiles: Sequence[str]
) -> Iterator[_Layer]:
    change = pick(variant, method.variants, f"variant of {method.name}")
    label, keys = f"{method.name} [{variant}]", ("variants", variant)
    yield _Layer(label, change, method, keys)
    yield from _particular(label, change, method, keys, datasets, profiles)


def changes_of(
    name: str, dataset: str, profile: Profile, variant: str
) -> dict[str, dict[str, Any]]:
    """What a variant changes on the dataset in the profile, all its layers in one: block ("model",
    "training", "protocol") -> field -> value. The base changes nothing. Raises InputError for an
    unknown method or variant."""
    if variant == "base":
        return {}
    profiles = [own.name for own in profile.lineage]
    merged: dict[str, dict[str, Any]] = {block: {} for block in BLOCKS.values()}
    for layer in _of_variant(get_method(name), variant, dataset_lineage(dataset), profiles):
        for block, fields in merged.items():
            fields |= getattr(layer.settings, block)
    return {block: fields for block, fields in merged.items() if fields}


def _particular(
    label: str,
    block: ProfileLayers,
    owner: Method,
    keys: tuple[str, ...],
    datasets: Sequence[str],
    profiles: Sequence[str],
) -> Iterator[_Layer]:
    """What a block says for these profiles and these datasets alone."""
    own = {name: block.profiles[name] for name in profiles if name in block.profiles}
    for name, layers in own.items():
        yield _Layer(f"{label} in {name}", layers, owner, (*keys, "profiles", name))
    for d in datasets:
        if d in block.datasets:
            yield _Layer(f"{label} on {d}", block.datasets[d], owner, (*keys, "datasets", d))
    for name, layers in own.items():
        for d in datasets:
            if d in layers.datasets:
                place = (*keys, "profiles", name, "datasets", d)
                yield _Layer(f"{label} in {name} on {d}", layers.datasets[d], owner, place)


def _derived(
    method: Method, profile: Profile, length: Source, stride: Source, where: str
) -> dict[str, Source]:
    """Fields of the protocol that follow from other settings."""
    for source in stride.chain():
        if not (isinstance(source.value, int | float) and 0 < source.value <= 1):
            raise InputError(
                f"{source.location or where}: protocol.stride is {source.value!r}: it is a share "
                "of the window, above 0 and at most 1"
            )
    found = {
        "max_length": dataclasses.replace(length, derived="the model's max_length"),
        "stride": _strides(stride, length.value),
        "control": Source(
            method.category == "control",
            method.name,
            method.where("category"),
            derived=f"category {method.category}",
        ),
    }
    if profile.analysis_plan:
        found["analysis_plan"] = Source(
            analysis_plan().hash,
            f"profile {profile.name}",
            profile.where("analysis_plan"),
            model_defaults(Protocol)["analysis_plan"],
        )
    if profile.max_users is not None:
        found["max_users"] = Source(
            profile.max_users,
            f"profile {profile.name}",
            profile.where("max_users"),
            model_defaults(Protocol)["max_users"],
        )
    return found


def _strides(share: Source, length: int) -> Source:
    """Shares of the window as numbers of items."""
    return dataclasses.replace(
        share,
        value=max(round(share.value * length), 1),
        derived=f"{share.value} of max_length {length}",
        overrode=None if share.overrode is None else _strides(share.overrode, length),
    )


# ---------------------------------------------------------------- values and their checks


def _config(method: Method, sources: Mapping[str, Source], where: str) -> Any:
    # YAML has lists where frozen configs have tuples
    values = {
        key: tuple(source.value) if isinstance(source.value, list) else source.value
        for key, source in sources.items()
    }
    for key, value in values.items():
        if (fault := _fault(method.cls.Config, key, value)) is not None:  # type: ignore[attr-defined]
            raise InputError(f"{where}: {_place(sources[key])}: model.{key} is {value!r}: {fault}")
    try:
        return method.cls.Config(**values)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        named = [key for key in sources if re.search(rf"\b{key}\b", str(error))]
        lines = "; ".join(f"{key} = {values[key]!r} ({_place(sources[key])})" for key in named)
        raise InputError(f"{where}: {error}{f' [{lines}]' if lines else ''}") from error


def _fault(config: type, key: str, value: Any) -> str | None:
    """Why a field of a config dataclass cannot have a value; None if it can. A dataclass itself
    takes whatever it is given, and `dropout: 1e-1`, which YAML reads as text, fails much later."""
    try:
        _adapter(config, key).validate_python(value, strict=True)
    except ValidationError as error:
        number = isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+[eE][+-]?[0-9]+", value)
        hint = " (YAML reads a number with an exponent only with a point and a sign: 1.0e-1)"
        return error.errors()[0]["msg"] + (hint if number else "")
    except Exception:  # a user's own annotation that says nothing here
        return None
    if key.endswith("dropout") and isinstance(value, int | float) and not 0 <= value < 1:
        return "a dropout is a probability, at least 0 and below 1"
    return None


@cache
def _adapter(config: type, key: str) -> TypeAdapter[Any]:
    """Of a field's annotation. Kept, since a table resolves the same few classes for every cell."""
    return TypeAdapter(get_type_hints(config)[key])


def _checked(kind: type[B], part: str, sources: Mapping[str, Source], where: str) -> B:
    try:
        made = kind(**{key: source.value for key, source in sources.items()})
    except ValidationError as error:
        faults = []
        for e in error.errors():
            key = str(e["loc"][0]) if e["loc"] else ""
            source = sources.get(key)
            if source is None:
                faults.append(f"{part}.{key}: no profile and no method sets it")
            else:
                faults.append(f"{_place(source)}: {part}.{key} is {source.value!r}: {e['msg']}")
        raise InputError(f"{where}: {'; '.join(faults)}") from error
    for key, source in sources.items():
        held = getattr(made, key)
        infinite = isinstance(held, float) and not math.isfinite(held)
        if infinite or (isinstance(source.value, bool) and not isinstance(held, bool)):
            raise InputError(
                f"{where}: {_place(source)}: {part}.{key} is {source.value!r}: give a finite number"
            )
    return made


def _check_causal(method: Method, source: Source, where: str) -> None:
    """Raises InputError unless the history can be taken out of the row's softmax."""
    objective = method.cls.objective  # type: ignore[attr-defined]
    if objective != "causal":
        raise InputError(
            f"{where}: {_place(source)}: training.history_in_softmax is false, but {method.name!r} "
            f"is trained by the objective {objective!r}: only rows with the objective 'causal' can "
            "have their history taken out of the softmax; leave it true"
        )


def _place(source: Source) -> str:
    return str(source.location or source.layer)


@cache
def _line_of_stride() -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return 1 + lines.index(f"STRIDE = {STRIDE}")
