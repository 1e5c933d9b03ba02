"""Why a run has the settings that it has: each value's line, what it overrode, how it was tuned."""

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmark.data.config import dataset_lineage
from benchmark.errors import InputError
from benchmark.files import read_text
from benchmark.runs.spec import RunSpec, Training
from benchmark.settings.registry import get_profile, profiles
from benchmark.settings.sources import Source
from benchmark.yaml_files import Location

WIDTH = 80
COLUMN = 26
"""Where the second column of the text begins."""

VALIDATION = "validation_kept"
_COLUMNS = {"dataset", "model", VALIDATION, "seed", "status", "chosen"}
"""The log's column of what trials are chosen by; the fields of the grid stand before it."""


def explanation(
    spec: RunSpec, sources: Mapping[str, Source], logs: Path | None = None
) -> dict[str, Any]:
    """Every setting of a spec with where its value comes from, as plain data.

    sources: of `resolve`, or of `sources_in_files` where the model is not to be loaded.
    logs: folder of the tuning logs, `<profile>.csv` (docs/tuning.md); None leaves them out.

    `fields` has, for each field, `part` (config, training or protocol), `name`, `value`, `set_by`,
    `file`, `line`, and `derived`, from what a computed value is made; `overrode`, the older values
    with the same entries, the newest first; `tuned`, the log's choice of a tuned field (`value`,
    `file`, `line`, `validation`), else None; and, where the sources have another value than the
    spec, that value as `now`. `tuning` has the log's trials of this method on this dataset.
    """
    tuning = None
    if logs is not None and spec.training is not None:
        tuning = _of_lineage(logs, spec)
    chosen = next((t for t in tuning["trials"] if t["chosen"]), None) if tuning else None
    fields = []
    for part in ("training", "config", "protocol"):
        for name, value in (spec.model_dump()[part] or {}).items():
            source = sources.get(f"{part}.{name}")
            found = {"part": part, "name": name, "value": value, **_origin(source)}
            found["overrode"] = _overrode(source)
            if source is not None and _plain(source.value) != _plain(value):
                found["now"] = source.value
            of_grid = "training" if name in Training.model_fields else "config"
            found["tuned"] = None
            if chosen is not None and tuning is not None and part == of_grid:
                found["tuned"] = _choice(chosen, tuning["file"], name)
            fields.append(found)
    return {
        "model": spec.model,
        "dataset": spec.dataset,
        "profile": spec.profile,
        "variant": spec.variant,
        "implementation": spec.implementation,
        "fields": fields,
        "tuning": tuning,
        "convergence": {"value": spec.convergence, **_origin(sources.get("convergence"))},
    }


def _plain(value: Any) -> Any:
    """YAML and JSON have lists where configs have tuples."""
    return list(value) if isinstance(value, tuple) else value


def _origin(source: Source | None) -> dict[str, Any]:
    if source is None:
        return {"set_by": "an earlier version", "file": None, "line": None, "derived": ""}
    place = source.location
    return {
        "set_by": source.layer,
        "file": None if place is None else place.file,
        "line": None if place is None else place.line,
        "derived": source.derived,
    }


def _overrode(source: Source | None) -> list[dict[str, Any]]:
    older = [] if source is None else list(source.chain())[1:]
    return [{"value": s.value, **_origin(s)} for s in older]


def _choice(chosen: Mapping[str, Any], file: str, name: str) -> dict[str, Any] | None:
    if name not in chosen["settings"]:
        return None
    return {
        "value": chosen["settings"][name],
        "file": file,
        "line": chosen["line"],
        "validation": chosen["validation"],
    }


def _of_lineage(logs: Path, spec: RunSpec) -> dict[str, Any]:
    """The method's trials in the profile's own log on the dataset; where there are none, those that
    its settings come from: of a profile that it extends, or of a dataset that it shares settings
    with."""
    known = spec.profile in profiles()
    names = [p.name for p in get_profile(spec.profile).lineage] if known else [spec.profile]
    found = [
        _tuning(logs / f"{name}.csv", spec, dataset)
        for dataset in reversed(dataset_lineage(spec.dataset))
        for name in reversed(names)
    ]
    return next((tuning for tuning in found if tuning["trials"]), found[0])


def _tuning(path: Path, spec: RunSpec, dataset: str) -> dict[str, Any]:
    """The trials that a log has of a method on a dataset, with their lines."""
    found: dict[str, Any] = {
        "file": Location.of(path).file,
        "dataset": dataset,
        "trials": [],
        "others": [],
    }
    if not path.is_file():
        return found
    with io.StringIO(read_text(path), newline="") as handle:
        lines = csv.DictReader(handle)
        names = list(lines.fieldnames or [])
        if not set(names) >= _COLUMNS:  # a log of another format has no trials to name
            return found
        grid = names[2 : names.index(VALIDATION)]
        if dataset != spec.dataset:  # a budget is each dataset's own
            grid = [name for name in grid if name != "steps"]
        for trial in lines:
            if None in trial or None in trial.values():
                raise InputError(
                    f"{Location.of(path, lines.line_num)}: has other columns than the first line; "
                    "mend the line, or run `tune` again"
                )
            if trial["model"] != spec.model:
                continue
            if trial["dataset"] != dataset:
                if trial["dataset"] not in found["others"]:
                    found["others"].append(trial["dataset"])
                continue
            value = trial[VALIDATION]
            try:
                validation = float(value) if value else None
            except ValueError as error:
                raise InputError(
                    f"{Location.of(path, lines.line_num)}: {VALIDATION} {value!r} is no number; "
                    "mend the line, or run `tune` again"
                ) from error
            found["trials"].append(
                {
                    "line": lines.line_num,
                    "settings": {name: yaml.safe_load(trial[name]) for name in grid},
                    "validation": validation,
                    "seed": trial["seed"],
                    "status": trial["status"],
                    "chosen": trial["chosen"] == "True",
                }
            )
    return found


# ---------------------------------------------------------------- as text


def as_text(found: Mapping[str, Any]) -> str:
    """An explanation for a terminal of 80 columns; what was tuned comes first."""
    what = (
        f"{found['model']} on {found['dataset']}, profile {found['profile']}, "
        f"variant {found['variant']}"
    )
    lines = [*_wrapped(what, 0), found["implementation"]]
    if found["tuning"] is not None:
        lines += ["", *_tuning_lines(found)]
    said = found["convergence"]
    place = "" if said["file"] is None else f" ({said['file']}:{said['line']})"
    lines += _wrapped(f"Convergence of the budget: {said['value']}{place}", 0)
    part = ""
    for field in found["fields"]:
        if field["part"] != part:
            part = field["part"]
            lines += ["", part]
        lines += _field_lines(field)
    return "\n".join(lines)


def _tuning_lines(found: Mapping[str, Any]) -> Iterator[str]:
    tuning = found["tuning"]
    if not tuning["trials"]:
        name, where = tuning["file"], f"{found['model']} on {found['dataset']}"
        if tuning["others"]:
            said = f"{name} has trials on {', '.join(tuning['others'])}, but none of {where}."
        else:
            said = f"there are no trials of {found['model']} in {name}."
        yield from _wrapped(f"Not tuned: {said}", 0)
        return
    places = [trial["line"] for trial in tuning["trials"]]
    elsewhere = f" on {tuning['dataset']}" if tuning["dataset"] != found["dataset"] else ""
    said = (
        f"Tuned{elsewhere} by NDCG@10 on validation: {len(places)} trials, lines {min(places)} to "
        f"{max(places)} of {tuning['file']}; chosen:"
    )
    yield from _wrapped(said, 0)
    values = {field["name"]: field["value"] for field in found["fields"] if field["tuned"]}
    for trial in tuning["trials"]:
        if not trial["chosen"]:
            continue
        settings = "  ".join(f"{name} {value}" for name, value in trial["settings"].items())
        value = trial["status"] if trial["validation"] is None else f"{trial['validation']:.4f}"
        yield f"  line {trial['line']:<4} {settings}  seed {trial['seed']}  {value}"
    chosen = next((trial for trial in tuning["trials"] if trial["chosen"]), None)
    if chosen is None:
        yield "No setting has been chosen: not all trials have ended."
        return
    other = {n: v for n, v in chosen["settings"].items() if values.get(n) != v}
    if other:
        faults = (f"{n} is {values[n]} here, the log chose {v}" for n, v in other.items())
        yield from _wrapped(f"NOT what is used: {'; '.join(faults)}.", 0)
    else:
        yield "That is what is used."


def _field_lines(field: Mapping[str, Any]) -> Iterator[str]:
    left = f"  {field['name']} = {value_text(field['value'])}"
    lines = [line for reason in reasons(field) for line in _wrapped(reason, COLUMN)]
    if len(left) < COLUMN:
        yield left + lines.pop(0)[len(left) :]
    else:
        yield left
    yield from lines


def reasons(field: Mapping[str, Any]) -> list[str]:
    """Why a field of an explanation has its value, a line each: what set it, how it was tuned,
    what it overrode."""
    found = [_set_by(field)]
    if "now" in field:
        found = [f"as the run was made; the files now say {value_text(field['now'])}, {found[0]}"]
    if tuned := field["tuned"]:
        measured = f"{tuned['validation']:.4f} on validation, {tuned['file']}:{tuned['line']}"
        agrees = tuned["value"] == field["value"]
        found.append(
            f"tuned: {measured}" if agrees else f"tuning chose {tuned['value']}: {measured}"
        )
    return found + [
        f"over {value_text(older['value'])}, {_set_by(older)}" for older in field["overrode"]
    ]


def _set_by(origin: Mapping[str, Any]) -> str:
    """The file and line; for a default, whose it is, and for a computed value, from what."""
    place = None if origin["file"] is None else str(Location(origin["file"], origin["line"]))
    words = [origin["derived"]] if origin["derived"] else []
    if place is None or origin["set_by"].startswith("default"):
        words.append(origin["set_by"])
    return ", ".join([*words, *([place] if place else [])])


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def value_text(value: Any) -> str:
    """A setting's value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value)) or "none"
    return "none" if value is None else str(value)
