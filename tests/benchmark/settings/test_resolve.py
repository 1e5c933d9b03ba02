"""Layers of settings: which overrides which, and what a mistake is answered with."""

import pytest

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.errors import InputError
from benchmark.plan import experiments, spec_of
from benchmark.settings import registry
from benchmark.settings.registry import Method, Profile, get_method, get_profile, methods
from benchmark.settings.resolve import resolve
from benchmark.yaml_files import Location, read_model

PROFILE = Profile(
    name="tiny",
    title="",
    seeds=1,
    run_on=("beauty",),
    model={"dim": 8, "align_dim": 9, "dropout": 0.1},
    training={"lr": 0.1, "steps": 5, "batch_size": 4, "eval_every": 1},
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


def test_what_a_profile_extends_comes_before_it(method, monkeypatch):
    """Profile over what it extends; what the method says for either over both profiles."""
    wide = Profile(name="wide", title="", extends="tiny", seeds=1, run_on=("beauty",))
    known = {"tiny": PROFILE, "wide": wide}
    monkeypatch.setattr(registry, "get_profile", known.__getitem__)
    method()
    assert resolve("R", "beauty", wide).config.dropout == 0.2
    assert resolve("R", "beauty", wide).training.lr == 0.1
    own = wide.model_copy(update={"model": {"dropout": 0.7}})
    # layer by layer: all of what is extended stands before all of what extends it
    assert resolve("R", "beauty", own).config.dropout == 0.7
    method(profiles={"tiny": {"model": {"dropout": 0.3}}})
    assert resolve("R", "beauty", own).config.dropout == 0.3
    method(
        profiles={
            "wide": {"model": {"dropout": 0.4}},
            "tiny": {"model": {"dropout": 0.3}, "training": {"lr": 0.9}},
        }
    )
    assert resolve("R", "beauty", own).config.dropout == 0.4
    assert resolve("R", "beauty", own).training.lr == 0.9


def test_a_dataset_shares_the_settings_of_another_but_not_its_convergence(method):
    """ml-1m has ml-100k's (configs/datasets/ml-1m.yaml) unless it has its own."""
    of_100k = {"training": {"lr": 0.3, "steps": 40}, "convergence": "shown"}
    method(datasets={"ml-100k": of_100k})
    shared = resolve("R", "ml-1m", PROFILE)
    assert (shared.training.lr, shared.training.steps) == (0.3, 40)
    assert shared.convergence == "not established"
    assert resolve("R", "ml-100k", PROFILE).convergence == "shown"
    own = {"training": {"steps": 80}, "convergence": "gaining"}
    method(datasets={"ml-100k": of_100k, "ml-1m": own})
    both = resolve("R", "ml-1m", PROFILE)
    assert (both.training.lr, both.training.steps, both.convergence) == (0.3, 80, "gaining")
    assert resolve("R", "beauty", PROFILE).training.lr == 0.1


def test_runs_of_the_analysis_plan_hold_its_hash():
    plan = analysis_plan()
    profile = get_profile("rolling")
    assert spec_of("SASRec", "ml-1m", profile).protocol.analysis_plan == plan.hash
    assert spec_of("SASRec", "ml-1m", get_profile("quick")).protocol.analysis_plan is None
    assert profile.first_seeds() == plan.seeds(6)
    assert get_profile("quick").first_seeds() == [0, 1, 2, 3, 4, 5]
    targets = {d: spec_of("SASRec", d, profile).protocol.test_targets for d in profile.run_on}
    assert targets == {"ml-1m": 10, "ml-100k": 10, "beauty": 2}


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
        (lambda: get_method("SASREX"), "did you mean 'SASRec'"),
        (lambda: get_profile("quik"), "did you mean 'quick'"),
        (lambda: resolve("SASRec", "beauty", PROFILE, "nope"), "unknown variant of SASRec"),
    ],
)
def test_unknown_names_get_the_nearest(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


def test_names_are_known_in_any_capitals():
    assert get_method("SASREC").name == "SASRec"
    assert get_profile("Quick").name == "quick"
    spec = resolve("nova", "beauty", get_profile("quick"), "ADD").spec
    assert (spec.model, spec.variant, spec.config["fusion"]) == ("NOVA", "add", "add")


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
        for variant in experiment.row_variants:
            named = methods() if experiment.models == "all" else experiment.models
            having = [m for m in named if variant in ("base", *get_method(m).variants)]
            assert having, (name, variant)


@pytest.mark.parametrize(
    ("path", "objective"),
    [("baselines.bert4rec:BERT4Rec", "cloze"), ("baselines.mmmlp:MMMLP", "last")],
)
def test_the_history_leaves_the_softmax_of_causal_rows_alone(from_file, path, objective):
    text = (
        f"name: R\nclass: {path}\ncategory: id\nvariants:\n  v:\n"
        "    training: {history_in_softmax: false}\n"
    )
    file = from_file(text)
    with pytest.raises(InputError, match=f"'R' is trained by the objective '{objective}'") as error:
        resolve("R", "beauty", PROFILE, "v")
    assert f"{Location.of(file, 6)}" in str(error.value)
    from_file(text.replace(path, "baselines.sasrec:SASRec"))
    assert not resolve("R", "beauty", PROFILE, "v").training.history_in_softmax


# ---------------------------------------------------------------- where each value comes from

FILE = """\
name: R
class: baselines.sasrec:SASRec
category: id
model: {dropout: 0.05}
profiles:
  tiny:
    model: {dropout: 0.3}
    datasets:
      beauty:
        training: {lr: 0.7}
variants:
  v:
    protocol: {features: none, stride: 1.0}
    profiles:
      tiny: {training: {lr: 0.8}}
      quick: {training: {lr: 0.9}}
"""


@pytest.fixture
def from_file(monkeypatch, tmp_path):
    def install(text):
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        made = read_model(path, Method)
        monkeypatch.setattr(registry, "methods", lambda: {"R": made})
        return path

    return install


def test_sources_name_what_set_a_value_and_all_that_it_overrode(from_file):
    path = from_file(FILE)
    sources = resolve("R", "beauty", PROFILE, "v").sources
    chain = [(s.value, s.layer, s.location) for s in sources["training.lr"].chain()]
    assert chain == [
        (0.8, "R [v] in tiny", Location.of(path, 15)),
        (0.7, "R in tiny on beauty", Location.of(path, 10)),
        (0.1, "profile tiny", None),  # made in this test, from no file
    ]
    chain = [(s.value, s.layer) for s in sources["config.dropout"].chain()]
    assert chain == [
        (0.3, "R in tiny"),
        (0.2, "profile tiny on beauty"),
        (0.1, "profile tiny"),
        (0.05, "R"),
        (0.5, "default of SASRecConfig"),
    ]


def test_values_that_are_derived_say_from_what(from_file):
    from_file(FILE)
    sources = resolve("R", "beauty", PROFILE, "v").sources
    stride = sources["protocol.stride"]
    assert (stride.value, stride.derived) == (50, "1.0 of max_length 50")
    assert (stride.overrode.value, stride.overrode.derived) == (25, "0.5 of max_length 50")
    assert sources["protocol.control"].derived == "category id"
    window = sources["protocol.max_length"]
    assert window.value == 50
    assert window.layer == "default of ModelConfig"


def test_every_field_has_a_source_with_the_value_that_is_used():
    for name in methods():
        for profile in ("quick", "smoke"):
            resolved = resolve(name, "beauty", get_profile(profile))
            values = {
                f"{part}.{field}": value
                for part in ("config", "training", "protocol")
                for field, value in (resolved.spec.model_dump()[part] or {}).items()
            }
            values["convergence"] = resolved.convergence
            assert {field: s.value for field, s in resolved.sources.items()} == values


def test_a_control_has_the_window_of_the_methods_beside_it():
    """It has no `max_length` of its own: the profile's counts, on a dataset too."""
    paper = get_profile("paper")
    for dataset, expected in (("beauty", 50), ("ml-100k", 100)):
        for name in ("Popularity", "SASRec"):
            assert resolve(name, dataset, paper).protocol.max_length == expected


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("{lr: 0.7}", "{lrr: 0.7}", 10, r"'R' sets training 'lrr'.*did you mean 'lr'"),
        ("{lr: 0.8}", "{lr: -1}", 15, r"training.lr is -1: Input should be greater than 0"),
        ("stride: 1.0", "stride: 2", 13, r"protocol.stride is 2: it is a share of the window"),
        ("stride: 1.0", "max_length: 9", 13, r"sets protocol 'max_length', which protocol does"),
        ("features: none", "features: noen", 13, r"protocol.features is 'noen'"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(from_file, old, new, line, message):
    assert old in FILE
    path = from_file(FILE.replace(old, new))
    with pytest.raises(InputError, match=message) as refused:
        resolve("R", "beauty", PROFILE, "v")
    assert f"{path}:{line}" in str(refused.value)


def test_settings_for_a_profile_that_does_not_exist_are_refused(monkeypatch, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    text = FILE.replace("      quick:", "      quik:").replace("  tiny:", "  ci:")
    (models / "r.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "order.yaml").write_text("[]", encoding="utf-8")
    profiles = registry.profiles()
    monkeypatch.setattr(registry, "CONFIGS", tmp_path)
    monkeypatch.setattr(registry, "profiles", lambda: profiles)
    with pytest.raises(InputError, match=r"r\.yaml:16: no profile is called 'quik'; did you mean"):
        registry.methods.__wrapped__()
    (models / "s.yaml").write_text(text, encoding="utf-8")
    (models / "r.yaml").write_text(text.replace("quik", "quick"), encoding="utf-8")
    with pytest.raises(InputError, match=r"s\.yaml:1: the name 'R' is taken by .*r\.yaml:1"):
        registry.methods.__wrapped__()


def test_values_that_do_not_go_together_are_named_with_their_lines(from_file):
    released = FILE.replace("baselines.sasrec:SASRec", "findrec.released:ReleasedFindRec")
    path = from_file(released.replace("{dropout: 0.05}", "{heads: 5}"))
    with pytest.raises(InputError, match="align_dim 9 does not divide into 5 heads") as refused:
        resolve("R", "beauty", PROFILE)
    assert f"heads = 5 ({path}:4)" in str(refused.value)
