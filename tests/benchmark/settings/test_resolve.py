"""Layers of settings: which overrides which, and what a mistake is answered with."""

import pytest

from benchmark.errors import InputError
from benchmark.plan import experiments, spec_of
from benchmark.settings import registry
from benchmark.settings.registry import Method, Profile, get_method, get_profile, methods
from benchmark.settings.resolve import resolve

PROFILE = Profile(
    name="tiny",
    title="",
    seeds=1,
    run_on=("beauty",),
    model={"dim": 8, "align_dim": 9, "dropout": 0.1},
    training={"lr": 0.1, "steps": 5, "batch_size": 4, "eval_every": 1, "patience": 1},
    datasets={"beauty": {"model": {"dropout": 0.2}}},
)


@pytest.fixture
def method(monkeypatch):
    def install(**settings):
        made = Method.model_validate(
            {"name": "R", "class": "baselines.sasrec:SASRec", "category": "id", **settings}
        )
        monkeypatch.setattr(registry, "methods", lambda: {"R": made})

    return install


def test_a_profiles_width_reaches_only_configs_that_have_it(method):
    method()
    config = resolve("R", "beauty", PROFILE).config
    assert config.dim == 8
    assert not hasattr(config, "align_dim")


def test_later_layers_override_earlier_ones(method):
    layers = {}
    expected = 0.2  # the profile's dataset over the profile
    method(model={"dropout": 0.05})
    assert resolve("R", "beauty", PROFILE).config.dropout == expected
    assert resolve("R", "ml-100k", PROFILE).config.dropout == 0.1
    layers["profiles"] = {"tiny": {"model": {"dropout": 0.3}}}
    method(**layers)
    assert resolve("R", "beauty", PROFILE).config.dropout == 0.3
    layers["datasets"] = {"beauty": {"model": {"dropout": 0.4}}}
    method(**layers)
    assert resolve("R", "beauty", PROFILE).config.dropout == 0.4
    layers["profiles"]["tiny"]["datasets"] = {"beauty": {"model": {"dropout": 0.5}}}
    method(**layers)
    assert resolve("R", "beauty", PROFILE).config.dropout == 0.5
    layers["variants"] = {"v": {"model": {"dropout": 0.6}, "training": {"lr": 0.7}}}
    method(**layers)
    assert resolve("R", "beauty", PROFILE, "v").config.dropout == 0.6
    assert resolve("R", "beauty", PROFILE, "v").training.lr == 0.7
    assert resolve("R", "beauty", PROFILE).training.lr == 0.1


def test_a_setting_that_the_model_lacks_is_named_with_the_nearest(method):
    method(model={"droput": 0.1})
    with pytest.raises(InputError, match=r"'droput'.*did you mean 'dropout'"):
        resolve("R", "beauty", PROFILE)


def test_a_bad_value_names_row_and_dataset(method):
    method(training={"lr": -1})
    with pytest.raises(InputError, match=r"(?s)'R' on 'beauty'.*lr"):
        resolve("R", "beauty", PROFILE.model_copy(update={"training": {}}))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: get_method("SASREC"), "did you mean 'SASRec'"),
        (lambda: get_profile("quik"), "did you mean 'quick'"),
        (lambda: resolve("SASRec", "beauty", PROFILE, "nope"), "unknown variant of SASRec"),
    ],
)
def test_unknown_names_get_the_nearest(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper", "reading-b"])
@pytest.mark.parametrize("dataset", ["ml-100k", "beauty", "beauty-5core", "microlens-50k"])
def test_every_row_and_variant_resolves(profile, dataset):
    for method in methods().values():
        for variant in ("base", *method.variants):
            spec = spec_of(method.name, dataset, get_profile(profile), variant)
            assert spec.model == method.name


def test_every_experiment_names_rows_and_variants_that_exist():
    for name, experiment in experiments().items():
        if experiment.models != "all":
            for model in experiment.models:
                get_method(model)
        for variant in experiment.variants:
            if variant != "base":
                assert variant in get_method("FindRec").variants, (name, variant)
