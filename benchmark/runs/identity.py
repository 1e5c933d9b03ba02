"""What a run depends on, as hashes: its settings, the code that computes it and the data it sees.

The code hash covers what turns a loaded bundle into ranks (`benchmark/runs/code.py` says which
files those are); the data hash comes from the bundle (`BundleMeta.data_hash`) and answers for
everything before. Editing a renderer or a test of significance makes no run stale, editing a loss
does.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark.runs.code import Code, changed_files, code_of, digest
from benchmark.runs.schema import Hashes, RunRecord
from benchmark.runs.spec import RunSpec

NAMES = frozenset({"profile", "variant", "model", "convergence"})
"""Fields of a spec that only name it or speak of it: two names for the same settings are the same
run."""


def hashes(spec: RunSpec, data_hash: str, *, code: Callable[[str], Code] = code_of) -> Hashes:
    """What a run of the spec would depend on, were it made now.

    code: of an implementation; `functools.cache(code_of)` where many specs of one moment are asked
    for, because each answer reads some fifty files.
    Raises InputError if the model's file is missing or a source file is not valid Python.
    """
    own = code(spec.implementation)
    return Hashes(
        config=config_hash(spec), code=own.hash, data=data_hash, files=dict(own.files), spec=spec
    )


def identity(parts: Hashes, seed: int) -> str:
    """The name of one run: SHA-256 over its hashes and seed."""
    return digest([parts.config, parts.code, parts.data, str(seed)])


def config_hash(spec: RunSpec) -> str:
    """SHA-256 over the resolved settings but the names that they go by."""
    settings = spec.model_dump(mode="json", exclude=set(NAMES))
    return digest([json.dumps(settings, sort_keys=True, allow_nan=False)])


def trunk_identity(parts: Hashes, seed: int) -> str | None:
    """The name of what a trial shares with trials of other budgets; None where it shares nothing:
    with a schedule or a warm-up that is a share of the budget."""
    spec = parts.spec
    if spec is None or spec.training is None or not spec.protocol.trial:
        return None
    training = spec.training
    if training.schedule != "stable-decay" or training.warmup_steps is None:
        return None
    shared = config_hash(spec.with_training(steps=1))
    return digest(["trunk", shared, parts.code, parts.data, str(seed)])


def why_stale(record: RunRecord, now: Hashes) -> str:
    """What differs between a stored run and one made now, by setting and file; "" if nothing does.

    "made with other settings (training.lr 0.001, now 0.002) and other code (findrec/mamba.py)".
    """
    parts = []
    differing = record.hashes.differing(now)
    if "config" in differing:
        settings = _changed_settings(record.spec, now.spec) if now.spec is not None else []
        parts.append(_other("settings", settings))
    if "code" in differing:
        listed = record.hashes.files and now.files
        files = changed_files(record.hashes.files, now.files) if listed else []
        parts.append(_other("code", files))
    if "data" in differing:
        parts.append(_other("data", [f"bundle {record.spec.dataset}"]))
    return f"made with {' and '.join(parts)}" if parts else ""


def _other(what: str, names: Sequence[str], most: int = 4) -> str:
    if not names:
        return f"other {what}"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"other {what} ({', '.join(names[:most])}{more})"


def _changed_settings(old: RunSpec, new: RunSpec) -> list[str]:
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return [
        f"{name} {before.get(name, 'unset')}, now {after.get(name, 'unset')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name) and name not in NAMES
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return found
