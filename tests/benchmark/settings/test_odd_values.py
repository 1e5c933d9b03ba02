"""Values and classes that a settings file can name and no row can have."""

from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.settings import registry, resolve
from benchmark.settings.registry import Method, get_profile, methods
from benchmark.yaml_files import read_model

HEAD = "name: Mine\nclass: baselines.sasrec:SASRec\ncategory: id\n"


def method(folder: Path, text: str) -> Method:
    path = folder / "mine.yaml"
    path.write_text(text)
    return read_model(path, Method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model: {layers: true}", "model.layers is True: Input should be a valid integer"),
        ("model: {dim: '64'}", "model.dim is '64': Input should be a valid integer"),
        ("model: {dim: 64.0}", "model.dim is 64.0: Input should be a valid integer"),
        ("model: {dim: 2014-07-23}", "model.dim is datetime.date"),
        ("model: {dropout: 1e-1}", "'1e-1': .* exponent only with a point and a sign"),
        ("model: {dropout: null}", "model.dropout is None: Input should be a valid number"),
        ("model: {dropout: [0.1]}", "Input should be a valid number"),
        ("model: {dropout: -0.1}", "a dropout is a probability, at least 0 and below 1"),
        ("model: {dropout: 1}", "a dropout is a probability, at least 0 and below 1"),
        ("training: {lr: true}", "training.lr is True: give a finite number"),
        ("training: {steps: true}", "training.steps is True: give a finite number"),
        ("training: {weight_decay: 'inf'}", "training.weight_decay is 'inf': give a finite number"),
    ],
)
def test_values_of_a_wrong_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    """A dataclass takes whatever it is given: the row would fail, or train otherwise than meant."""
    made = method(tmp_path, f"{HEAD}variants:\n  v: {{{change}}}\n")
    monkeypatch.setattr(resolve, "get_method", lambda _: made)
    with pytest.raises(InputError, match=rf"mine.yaml:5: .*{message}"):
        resolve.resolve("Mine", "ml-100k", get_profile("smoke"), "v")


def test_whole_numbers_are_fractions_and_exponents_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = method(
        tmp_path, f"{HEAD}variants: {{v: {{model: {{dropout: 0}}, training: {{lr: 1e-3}}}}}}\n"
    )
    monkeypatch.setattr(resolve, "get_method", lambda _: made)
    found = resolve.resolve("Mine", "ml-100k", get_profile("smoke"), "v")
    assert (found.config.dropout, found.training.lr) == (0, 0.001)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("baselines.sasrec:SASRecConfig", "it has no dataclass `Config`"),
        ("torch.nn:Linear", "it has no dataclass `Config`"),
        ("baselines.sasrec:nn", "it is a module"),
        ("findrec.recommender:Recommender", "it does not define forward, item_table"),
    ],
)
def test_classes_that_are_no_models(tmp_path: Path, path: str, message: str) -> None:
    made = method(tmp_path, HEAD.replace("baselines.sasrec:SASRec", path))
    with pytest.raises(InputError, match=rf"mine.yaml:2: 'Mine': '{path}' is no model: {message}"):
        _ = made.cls


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD.replace("Mine", "sasrec!"),
            "runs of 'sasrec!' would have the folder of those of 'SASR",
        ),
        (HEAD.replace("Mine", '"++"'), r"the name '\+\+' has no letter or digit"),
        (HEAD + "variants: {base: {model: {dim: 8}}}\n", "base is the method without any variant"),
    ],
)
def test_names_that_would_be_passed_over_or_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    """Two rows with one folder were found at the first write, when the training was done."""
    for folder in ("models", "profiles"):
        (tmp_path / folder).mkdir()
    for file in ("order.yaml", "models/sasrec.yaml"):
        (tmp_path / file).write_bytes((registry.CONFIGS / file).read_bytes())
    monkeypatch.setattr(registry, "CONFIGS", tmp_path)
    known = registry.profiles()
    monkeypatch.setattr(registry, "profiles", lambda: known)
    method(tmp_path / "models", text)
    methods.cache_clear()
    try:
        with pytest.raises(InputError, match=rf"mine.yaml:\d: .*{message}"):
            methods()
    finally:
        methods.cache_clear()


@pytest.mark.parametrize(
    ("number", "base"), [("010", 8), ("-0077", 8), ("1:30", 60), ("1:30.5", 60)]
)
def test_numbers_of_another_base(tmp_path: Path, number: str, base: int) -> None:
    with pytest.raises(InputError, match=rf"mine.yaml:5: YAML reads {number} in base {base}"):
        method(tmp_path, f"{HEAD}model:\n  dim: {number}\n")
    method(tmp_path, f"{HEAD}model: {{a: 0, b: 0.5, c: 100, d: '010'}}\n")
