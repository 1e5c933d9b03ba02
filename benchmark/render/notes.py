"""What stands under a table: data, protocol, seeds, device, budgets, grades, and the runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.analyse.rules import RULES
from benchmark.data.meta import DatasetFacts, dataset_facts
from benchmark.data.statistics import stored_time_split
from benchmark.plan import Planned
from benchmark.render.document import Block, Entry, TableRow, count, duration, size
from benchmark.render.tables.definitions import FEATURE_CONTROLS
from benchmark.runs.schema import RunRecord
from benchmark.runs.spec import RunKey, RunSpec
from benchmark.settings.registry import Profile

GRADES = {
    "A": "same data, modalities and encoders as the paper",
    "B": "same interactions, other features: levels are compared with care, orders for ID methods",
    "C": "other data: settles no claim about the paper's own, and stands beside no printed number",
}


class DatasetNote(DatasetFacts):
    """What a table says of a dataset."""

    @property
    def heading(self) -> str:
        return f"{self.title} (grade {self.grade}; {self.modalities})"

    @property
    def modalities(self) -> str:
        if not self.encoders:
            return "no features"
        named = " and ".join(f"{m} by {encoder}" for m, encoder in self.encoders.items())
        return named if len(self.encoders) > 1 else f"{named} only"


def dataset_note(name: str, profile: Profile, data: Path | None) -> DatasetNote:
    """From the dataset's bundle or, before that is built, its configuration. A profile that keeps
    some of the users alone makes other data of it, whatever its grade. Raises InputError for an
    unknown dataset or a damaged bundle."""
    known = dataset_facts(name, root=data)
    grade = known.grade if profile.max_users is None else "C"
    return DatasetNote(known.name, known.title, grade, known.encoders)


def title_of(dataset: str, notes: Mapping[str, DatasetNote]) -> str:
    """Its title, or its name where nothing is known of it."""
    return notes[dataset].title if dataset in notes else dataset


def facts(
    planned: Sequence[Planned],
    runs: Mapping[RunKey, Sequence[RunRecord]],
    profile: Profile,
    datasets: Mapping[str, DatasetNote],
) -> list[str]:
    """The sentences under a table of results."""
    specs = [p.spec for p in planned if p.spec is not None]
    windows = {
        dataset: sorted({spec.protocol.max_length for spec in specs if spec.dataset == dataset})
        for dataset in datasets
    }
    seeds = sorted({seed for p in planned for seed in p.states})
    found = [r for own in runs.values() for r in own]
    trained = [(spec.dataset, spec.training.steps) for spec in specs if spec.training]
    lines = [
        f"Protocol: {_split(specs, datasets)}; targets are ranked among all items, once with the "
        "user's history kept among them, as RecBole does, whose names and counts the paper shares, "
        "and beside the printed numbers, and once with it left out, as is usual elsewhere; ties in "
        "expectation; windows of "
        + ", ".join(
            f"{'/'.join(map(str, w))} ({datasets[d].title})" for d, w in windows.items() if w
        )
        + ".",
        "Data: " + "; ".join(f"{n.title}: {n.modalities}" for n in datasets.values()) + ".",
        *(
            f"Grade {grade}: {meaning}."
            for grade, meaning in GRADES.items()
            if grade in {n.grade for n in datasets.values()}
        ),
        f"Profile `{profile.name}`: {profile.title}. Mean ± sd over "
        f"{len(seeds)} seeds ({_span(seeds)}); Δ is ours against the printed number, relative.",
    ]
    if any(spec.protocol.order == "shuffled" for spec in specs):
        lines.append(
            "Shuffled: the items of training sequences, and those in the window before each "
            "target, stand in one random order; which items they are and what is asked for stay "
            "the same."
        )
    users = [spec.protocol.max_users for spec in specs if spec.protocol.max_users]
    if users:
        lines.append(
            f"Only the first {max(users)} users of each dataset: these numbers test the program "
            "and say nothing about a method."
        )
    if trained:
        caps = [
            f"{max(steps for dataset, steps in trained if dataset == d)} steps on {n.title}"
            for d, n in datasets.items()
            if any(dataset == d for dataset, _ in trained)
        ]
        lines.append(
            f"Budget: at most {', '.join(caps)}, over which the learning rate falls to zero; the "
            "parameters at the end are tested."
        )
    if any(spec.convergence == "not established" for spec in specs if spec.training):
        lines.append(
            "Convergence not established: no ladder of budgets was run for this profile's "
            "schedule, so that longer training may change levels and orders."
        )
    if found:
        devices = sorted({r.environment.device for r in found})
        backends = sorted({r.environment.scan_backend for r in found})
        lines.append(f"Device: {', '.join(devices)}; scan backend: {', '.join(backends)}.")
        lines += mixed(found)
    if len(seeds) < RULES.minimum_seeds:
        lines.append(
            f"Inconclusive (n = {len(seeds)}): verdicts, stars and the confidence set of the best "
            f"need {RULES.minimum_seeds} seeds and are not printed."
        )
    return lines


def mixed(records: Sequence[RunRecord]) -> list[str]:
    """A sentence where runs that are compared were made with different devices or different
    versions of torch; nothing where they were not."""
    devices = sorted({r.environment.device for r in records})
    versions = sorted({r.environment.packages.get("torch", "unknown") for r in records})
    kinds = [f"devices ({', '.join(devices)})"] if len(devices) > 1 else []
    kinds += [f"versions of torch ({', '.join(versions)})"] if len(versions) > 1 else []
    if not kinds:
        return []
    return [
        f"Mixed runs: made with different {' and '.join(kinds)}; what rows differ by may come from "
        "that."
    ]


def runs_block(
    planned: Sequence[Planned],
    runs: Mapping[RunKey, Sequence[RunRecord]],
    datasets: Mapping[str, DatasetNote],
) -> Block:
    """Steps, targets, time and size of the runs behind a table."""
    rows = []
    for p in planned:
        own = runs[p.key]
        if not own:
            continue
        variant = FEATURE_CONTROLS.get(p.key.variant, p.key.variant)
        name = p.key.model if variant == "base" else f"{p.key.model}, {variant}"

        def mean(values: Sequence[float]) -> str:
            return count(float(np.mean(values)))

        trained = p.spec is not None and p.spec.training is not None
        texts = (
            datasets[p.key.dataset].title,
            f"{len(own)}/{len(p.states)}",
            p.spec.convergence if p.spec is not None and trained else "",
            mean([r.steps for r in own]) if trained else "",
            mean([r.targets_seen for r in own]) if trained else "",
            duration(float(np.mean([r.timings.training for r in own]))),
            duration(float(np.mean([r.timings.evaluation for r in own]))),
            mean([r.parameters for r in own]) if trained else "",
            size(max((r.peak_memory for r in own if r.peak_memory is not None), default=None)),
        )
        rows.append(TableRow(name, tuple(Entry(text) for text in texts)))
    headings = (
        *("dataset", "seeds", "convergence", "steps", "targets seen"),
        *("training", "evaluation", "parameters", "peak memory"),
    )
    note = (
        "Means over seeds; a seed's time is its own on one worker. Peak memory is the highest of "
        "any seed, of the whole process on a CPU or of the device; empty where it was not measured."
    )
    return Block("Runs behind the table", "method", headings, tuple(rows), (note,), detail=True)


SPLITS = {
    "leave-one-out": "leave-one-out",
    "ratio": "8:1:1 within each user",
    "global-time": "one moment for all users, before which everything is trained on",
}


def _split(specs: Sequence[RunSpec], datasets: Mapping[str, DatasetNote]) -> str:
    """How sequences are divided, and how many test targets a user has at most."""
    names = dict.fromkeys(SPLITS[spec.protocol.split] for spec in specs)
    said = " and ".join(names) or SPLITS["leave-one-out"]
    numbers = {
        name: max(own)
        for name in datasets
        if (own := [s.protocol.test_targets for s in specs if s.dataset == name])
    }
    if set(numbers.values()) <= {1}:
        return said
    shown = ", ".join(f"{number} ({datasets[name].title})" for name, number in numbers.items())
    if list(names) == [SPLITS["leave-one-out"]]:
        said = "the last items of each user are tested"
    else:
        said += "; test targets of a user"
    return f"{said}, {shown}, each given the true history before it"


def time_split_note(specs: Sequence[RunSpec], dataset: str, data: Path | None) -> str:
    """Whom a split at one moment leaves to ask for; "" where the bundle is not there to count."""
    own = next((spec.protocol for spec in specs if spec.dataset == dataset), None)
    if own is None or own.split != "global-time":
        return ""
    found = stored_time_split(dataset, data, targets=own.test_targets, max_users=own.max_users)
    if found is None:
        return ""
    return (
        f"Of {count(found.users)} users {count(found.trained_users)} have interactions before the "
        f"first moment, on which is trained, and {count(found.test_users)} have a test target: "
        f"{count(found.test_users - found.unseen_users)} seen in training and "
        f"{count(found.unseen_users)} unseen. Never trained on are {count(found.unseen_items)} of "
        f"{count(found.items)} items and the targets of {count(found.unseen_targets)} of "
        f"{count(found.targets)} test queries."
    )


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
