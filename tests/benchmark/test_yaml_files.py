"""YAML with lines: where a value stands, and what a fault is answered with."""

import pytest
import yaml
from pydantic import BaseModel

from benchmark.errors import InputError
from benchmark.yaml_files import ROOT, FromFile, Location, read_model, read_yaml

TEXT = """\
name: x            # line 1
model:
  dim: 8
  widths: [1, 2]
flow: {a: 1, b: {c: 2}}
rows:
  - one
  - two: 3
"""


def write(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_has_its_line_and_data_are_yamls_own(tmp_path):
    file = read_yaml(write(tmp_path, TEXT))
    assert file.data == yaml.safe_load(TEXT)
    expected = {
        ("name",): 1,
        ("model",): 2,
        ("model", "dim"): 3,
        ("model", "widths"): 4,
        ("model", "widths", 0): 4,
        ("model", "widths", 1): 4,
        ("flow",): 5,
        ("flow", "a"): 5,
        ("flow", "b"): 5,
        ("flow", "b", "c"): 5,
        ("rows",): 6,
        ("rows", 0): 7,
        ("rows", 1): 8,
        ("rows", 1, "two"): 8,
    }
    assert file.lines == expected
    assert str(file.where("model", "dim")) == f"{file.path}:3"
    assert str(file.where("model", "lacks")) == f"{file.path}:2"
    assert str(file.where("lacks")) == str(file.path)


def test_files_of_the_repository_are_named_from_its_root():
    assert str(Location.of(ROOT / "benchmark" / "x.yaml", 4)) == "benchmark/x.yaml:4"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: {c: 1}\na: 2\n", 3, "'a' stands here a second time, after line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 1\n", 4, "'b' stands here a second time, after line 2"),
        ("a: {b: 1, b: 2}\n", 1, "'b' stands here a second time, after line 1"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "unhashable key"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as refused:
        read_yaml(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("text", ["2024-13-45", "0x_", "!!int foo", "!!float foo"])
def test_a_value_that_looks_like_another_is_refused(tmp_path, text):
    path = write(tmp_path, f"a: {text}\n")
    with pytest.raises(InputError, match="quote the value that is meant") as refused:
        read_yaml(path)
    assert str(refused.value).startswith(f"{path}:")


def test_an_empty_file_holds_nothing(tmp_path):
    file = read_yaml(write(tmp_path, "# nothing\n"))
    assert file.data is None
    assert file.lines == {}


class Inner(BaseModel, extra="forbid"):
    seeds: int


class Outer(FromFile, extra="forbid"):
    name: str
    inner: Inner


def test_faults_of_a_model_name_their_lines(tmp_path):
    path = write(tmp_path, "name: x\ninner:\n  seeds: many\n  sed: 3\n")
    with pytest.raises(InputError) as refused:
        read_model(path, Outer)
    seeds, extra = str(refused.value).split("; ")
    assert seeds.startswith(f"{path}:3: inner.seeds: Input should be a valid integer")
    assert extra.startswith(f"{path}:4: inner.sed: Extra inputs")


def test_a_model_knows_its_file(tmp_path):
    path = write(tmp_path, "name: x\ninner: {seeds: 3}\n")
    model = read_model(path, Outer)
    assert str(model.where("inner", "seeds")) == f"{path}:2"
    assert Outer(name="x", inner=Inner(seeds=3)).where("name") is None
