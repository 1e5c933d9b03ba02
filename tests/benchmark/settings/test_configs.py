"""The committed settings files: each setting is needed; budgets and tuned values are as decided."""

import csv
import functools
from pathlib import Path

import pytest

from benchmark.data.config import dataset_names
from benchmark.plan import spec_of
from benchmark.settings.registry import get_profile, methods, profiles
from benchmark.settings.resolve import resolve
from benchmark.yaml_files import Location

ROOT = Path(__file__).resolve().parents[3]
LOG = ROOT / "results" / "tuning" / "quick-budgets.csv"
TABLE2 = ("id", "simple", "advanced", "ours")
OWN = "my-own-data"
"""A dataset that no file names: it gets what holds for all."""


def settings_in_files():
    """(location, field) of everything that a method or a profile sets."""
    found = set()
    for owner in (*methods().values(), *profiles().values()):
        for keys in owner._file.lines:
            if len(keys) > 1 and keys[-2] in ("model", "training", "protocol"):
                found.add((owner.where(*keys), keys))
    return found


@functools.cache
def chains():
    """What set each field, from the last to the first, over everything that can be run."""
    return [
        (variant, field, list(source.chain()))
        for profile in profiles().values()
        for dataset in (*dataset_names(), OWN)
        for method in methods().values()
        for variant in ("base", *method.variants)
        for field, source in resolve(method.name, dataset, profile, variant).sources.items()
    ]


def test_no_setting_could_be_deleted_without_changing_anything():
    """A setting is needed where it has the last word and says something else than what it overrode.

    A variant that is named after its value, such as "layers=2", may say what the base says: it is a
    point of a sweep.
    """
    needed = set()
    for variant, field, (last, *older) in chains():
        if not older or older[0].value != last.value or "=" in variant:
            needed.add((last.location, field.partition(".")[2]))
    unneeded = [
        f"{location}: {'.'.join(keys)}"
        for location, keys in settings_in_files()
        if (location, keys[-1]) not in needed
    ]
    assert not unneeded, "delete what holds anyway: " + "; ".join(sorted(unneeded))


def test_settings_are_found_in_the_files():
    """Or the test above would have nothing to say."""
    keys = {keys for location, keys in settings_in_files() if "nova.yaml" in location.file}
    assert ("profiles", "quick", "datasets", "ml-100k", "training", "steps") in keys
    assert len(settings_in_files()) > 200


def test_datasets_that_settings_name_exist():
    named = {
        (owner.where(*keys), keys[at + 1])
        for owner in (*methods().values(), *profiles().values())
        for keys in owner._file.lines
        for at, key in enumerate(keys[:-1])
        if key == "datasets"
    }
    assert named
    assert [str(place) for place, dataset in named if dataset not in dataset_names()] == []


BUDGETS = {
    # profile: dataset: a causal method, BERT4Rec and NOVA, SMLP4Rec and MMMLP, FindRec on prefixes
    "smoke": {
        "ml-100k": ((12, 6), (34, 17), (96, 48), (96, 48)),
        "beauty": ((12, 6), (16, 8), (96, 48), (96, 48)),
    },
    "ci": {
        "ml-100k": ((150, 50), (444, 148), (1200, 400), (1200, 400)),
        "beauty": ((150, 50), (209, 70), (1200, 400), (1200, 400)),
    },
    "paper": {
        "ml-100k": ((4000, 50), (13882, 174), (32000, 400), (32000, 400)),
        "beauty": ((4000, 50), (6218, 78), (32000, 400), (32000, 400)),
    },
    "reading-b": {
        "ml-100k": ((4000, 50), (12422, 156), (32000, 400), (32000, 400)),
        "beauty": ((4000, 50), (6218, 78), (32000, 400), (32000, 400)),
    },
}
"""(steps, eval_every) as they were measured when a causal budget was still multiplied by
the ratio of a causal step's targets to the method's own, at most 8. Those of `quick` come from
ladders (docs/tuning.md)."""

COLUMNS = (
    [("SASRec", "base"), ("FindRec", "base"), ("UniSRec", "base")],
    [("BERT4Rec", "base"), ("NOVA", "base"), ("NOVA", "no-features")],
    [("SMLP4Rec", "base"), ("MMMLP", "base"), ("MMMLP", "permuted-features")],
    [("FindRec", "reading-prefixes")],
)


@pytest.mark.parametrize("profile", BUDGETS)
@pytest.mark.parametrize("dataset", ["ml-100k", "beauty"])
def test_budgets_are_what_ran_when_they_were_multiplied(profile, dataset):
    for expected, column in zip(BUDGETS[profile][dataset], COLUMNS, strict=True):
        for model, variant in column:
            training = spec_of(model, dataset, get_profile(profile), variant).training
            found = (training.steps, training.eval_every)
            assert found == expected, (model, variant)


def test_datasets_without_budgets_of_their_own_take_beautys():
    for profile in BUDGETS:
        for column in COLUMNS:
            for model, variant in column:
                here, there = (
                    spec_of(model, dataset, get_profile(profile), variant).training
                    for dataset in ("beauty", "beauty-5core")
                )
                assert here == there


def test_tuned_settings_are_what_the_log_chose():
    """Each of them wherever it stands, in the method's file, in the profile or in the class. A row
    and dataset that are decided have a budget in the log; ML-100k's all are."""
    with LOG.open(encoding="utf-8") as lines:
        decided = list(csv.DictReader(lines))
    for line in decided:
        spec = spec_of(line["model"], line["dataset"], get_profile("quick"))
        used = (spec.training.lr, spec.config["dropout"], spec.training.steps, spec.convergence)
        chosen = (float(line["lr"]), float(line["dropout"]), int(line["steps"]))
        assert used == (*chosen, line["convergence"]), (spec.key, LOG)
    table2 = {name for name, method in methods().items() if method.category in TABLE2}
    assert {line["model"] for line in decided if line["dataset"] == "ml-100k"} >= table2


def test_every_place_of_a_source_is_a_line_that_names_the_field():
    """Of the committed files and of the classes' defaults."""
    texts: dict[str, list[str]] = {}
    places: set[tuple[Location, str]] = {
        (source.location, "category" if field == "protocol.control" else field.partition(".")[2])
        for _, field, chain in chains()
        for source in chain
        if source.location is not None
        and not (field == "protocol.control" and source.layer.startswith("default"))
    }
    assert len(places) > 200
    for location, name in places:
        if location.file not in texts:
            texts[location.file] = (ROOT / location.file).read_text("utf-8").splitlines()
        assert location.line is not None, (location, name)
        line = texts[location.file][location.line - 1]
        assert name.lower() in line.lower(), (str(location), name, line)


@pytest.mark.parametrize(
    "name", [n for n, m in methods().items() if m.category not in ("control", "reading")]
)
def test_twice_the_steps_are_twice_the_steps_and_nothing_else(name):
    """Of every row that the analysis plan compares, and of its variants; readings of other people's
    code have budgets of their own."""
    method = methods()[name]
    plain = ("base", "permuted-features", "without-moe", "permuted-images", "constant-features")
    for variant in (v for v in plain if v == "base" or v in method.variants):
        once, twice = (
            resolve(name, "ml-1m", get_profile(p), variant).spec for p in ("rolling", "rolling-2x")
        )
        assert twice.training.steps == 2 * once.training.steps
        assert twice.training.eval_every == 2 * once.training.eval_every
        same = {"steps": once.training.steps, "eval_every": once.training.eval_every}
        named = {"profile": "rolling", "convergence": once.convergence}
        assert twice.with_training(**same).model_copy(update=named) == once
