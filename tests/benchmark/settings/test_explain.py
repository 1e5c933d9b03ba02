"""Explanations: every field with its line, what the tuning log chose, and text of 80 columns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.runs.spec import RunSpec
from benchmark.settings.explain import as_text, explanation
from benchmark.settings.registry import get_profile, methods
from benchmark.settings.resolve import resolve, sources_in_files

ROOT = Path(__file__).resolve().parents[3]
QUICK = get_profile("quick")

LOG = """\
dataset,model,lr,dropout,steps,validation_kept,validation_left_out,seed,seconds,status,code,chosen
beauty,NOVA,0.002,0.2,800,0.0501,0.0601,1000,9.0,complete,abc,False
ml-100k,SASRec,0.002,0.2,400,0.0599,0.0901,1000,9.0,complete,abc,False
ml-100k,NOVA,0.002,0.2,1200,0.0561,0.0801,1000,9.0,complete,abc,False
ml-100k,NOVA,0.002,0.1,4800,0.0572,0.0803,1000,9.0,complete,abc,True
ml-100k,NOVA,0.005,0.1,4800,0.0541,0.0733,1000,9.0,complete,abc,False
"""
"""Lines as `tune` writes them."""


@pytest.fixture(autouse=True)
def _logs(tmp_path_factory, monkeypatch):
    """A results folder with that log, where this module looks for it."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "tuning").mkdir()
    (folder / "tuning" / "quick.csv").write_text(LOG, encoding="utf-8")
    monkeypatch.setattr("benchmark.cli.explain.RESULTS", folder)
    monkeypatch.setitem(globals(), "LOGS", folder / "tuning")


LOGS = Path()
"""Set for every test."""


def explained(model, dataset, profile=QUICK, variant="base", logs=None):
    logs = LOGS if logs is None else logs
    resolved = resolve(model, dataset, profile, variant)
    return explanation(resolved.spec, resolved.sources, logs)


def field(found, name):
    (one,) = [f for f in found["fields"] if f"{f['part']}.{f['name']}" == name]
    return one


def line(path, number):
    return (ROOT / path).read_text(encoding="utf-8").splitlines()[number - 1]


def test_what_rate_does_nova_use_on_ml_100k_and_why():
    found = explained("NOVA", "ml-100k")
    rate = field(found, "training.lr")
    assert rate["value"] == 0.002
    assert "training: {lr: 0.002, " in line(rate["file"], rate["line"])
    assert [older["value"] for older in rate["overrode"]] == [0.005, 0.002], (
        "the row's on other datasets, and the profile's, which it equals"
    )
    tuned = rate["tuned"]
    assert tuned["value"] == 0.002
    logged = (LOGS / "quick.csv").read_text(encoding="utf-8").splitlines()[tuned["line"] - 1]
    assert logged.startswith(f"ml-100k,NOVA,0.002,0.1,4800,{tuned['validation']}")
    assert logged.endswith("True")
    assert [trial["chosen"] for trial in found["tuning"]["trials"]].count(True) == 1
    assert len(found["tuning"]["trials"]) == 3


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (b"ml-100k,NOVA,0.00\n", "7: has other columns"),
        (b"ml-100k,NOVA,0.1,0.1,9,x,0.1,1000,9.0,complete,abc,False\n", "7: validation_kept 'x'"),
        (b"\xff\n", "7: not UTF-8"),
    ],
)
def test_a_damaged_line_of_the_log_is_named(tmp_path, added, said):
    (tmp_path / "quick.csv").write_bytes(LOG.encode() + added)
    with pytest.raises(InputError, match=f"quick.csv:{said}"):
        explained("NOVA", "ml-100k", logs=tmp_path)


def test_older_values_come_newest_first_with_their_lines():
    found = explained("NOVA", "ml-100k")
    steps = field(found, "training.steps")
    chain = [steps, *steps["overrode"]]
    values = [entry["value"] for entry in chain]
    assert (values[0], values[2:]) == (4800, [800, 600]), (
        "between them the row's own on any dataset"
    )
    for entry in chain:
        assert f"steps: {entry['value']}" in line(entry["file"], entry["line"])


def test_every_setting_of_every_method_is_explained_in_plain_data():
    for name, method in methods().items():
        for variant in ("base", *method.variants):
            spec = resolve(name, "ml-100k", QUICK, variant).spec
            found = explained(name, "ml-100k", variant=variant)
            values = {
                f"{part}.{key}": value
                for part in ("training", "config", "protocol")
                for key, value in (spec.model_dump()[part] or {}).items()
            }
            shown = {f"{f['part']}.{f['name']}": f["value"] for f in found["fields"]}
            assert shown == values
            assert not [f for f in found["fields"] if "now" in f]
            assert json.loads(json.dumps(found))["model"] == name
            text = as_text(found).replace(str(LOGS.parent), "results")
            assert max(map(len, text.splitlines())) <= 80, text


def test_a_value_that_the_log_did_not_choose_is_said(tmp_path):
    lines = (LOGS / "quick.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    swapped = [
        text.replace(",True", ",False") if text.startswith("ml-100k,NOVA,0.002,0.1,4800")
        else text.replace(",False\n", ",True\n") if text.startswith("ml-100k,NOVA,0.005,0.1,")
        else text
        for text in lines
    ]  # fmt: skip
    (tmp_path / "quick.csv").write_text("".join(swapped), encoding="utf-8")
    found = explained("NOVA", "ml-100k", logs=tmp_path)
    rate = field(found, "training.lr")
    assert (rate["value"], rate["tuned"]["value"]) == (0.002, 0.005)
    text = as_text(found)
    assert "NOT what is used: lr is 0.002 here, the log chose 0.005." in text
    assert "tuning chose 0.005: " in text


@pytest.mark.parametrize(
    ("method", "dataset", "profile", "said"),
    [
        ("NOVA", "beauty-5core", "quick", "has trials on beauty, ml-100k, but none of NOVA on"),
        ("NOVA", "beauty", "paper", "there are no trials of NOVA in"),
    ],
)
def test_what_was_not_tuned_is_said(method, dataset, profile, said):
    found = explained(method, dataset, get_profile(profile))
    assert said in " ".join(as_text(found).split())
    assert field(found, "training.lr")["tuned"] is None


def test_a_spec_of_other_days_is_shown_beside_what_the_files_say_now():
    resolved = resolve("SASRec", "beauty", QUICK)
    spec = resolved.spec.with_training(lr=0.125, batch_size=64)
    found = explanation(spec, resolved.sources, LOGS)
    rate = field(found, "training.lr")
    assert (rate["value"], rate["now"]) == (0.125, 0.002)
    assert "now" not in field(found, "training.steps")
    assert "as the run was made; the files now say 0.002" in " ".join(as_text(found).split())


def test_the_command_answers_on_its_first_screen():
    result = CliRunner().invoke(app, ["explain", "nova", "ML-100K", "--profile", "Quick"])
    assert result.exit_code == 0, result.output
    first = result.output.splitlines()[:24]
    assert first[0] == "NOVA on ml-100k, profile quick, variant base"
    shown = " ".join(" ".join(first).split())
    rate = field(explained("NOVA", "ml-100k"), "training.lr")
    assert f"lr = 0.002 {rate['file']}:{rate['line']}" in shown
    assert f"line {rate['tuned']['line']} lr 0.002 dropout 0.1 steps 4800 seed 1000 0.0572" in shown
    assert "Convergence of the budget: gaining" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NOVAA", "beauty"], "did you mean 'NOVA'"),
        (["NOVA", "beatuy"], "did you mean 'beauty'"),
        (["NOVA", "beauty", "--profile", "quik"], "did you mean 'quick'"),
        (["NOVA", "beauty", "--variant", "ad"], "did you mean 'add'"),
    ],
)
def test_unknown_names_get_the_nearest(arguments, message):
    result = CliRunner().invoke(app, ["explain", *arguments])
    assert message in str(result.exception)


def test_files_alone_say_the_same_of_a_spec_but_for_the_lines_of_the_classes():
    for name, method in methods().items():
        for variant in ("base", *method.variants):
            resolved = resolve(name, "ml-100k", QUICK, variant)
            stored = RunSpec.model_validate_json(resolved.spec.model_dump_json())
            found = explanation(stored, sources_in_files(stored), LOGS)
            assert not [f for f in found["fields"] if "now" in f]
            full = explanation(resolved.spec, resolved.sources, LOGS)
            for ours, theirs in zip(found["fields"], full["fields"], strict=True):
                if (theirs["file"] or "").endswith(".yaml"):
                    assert (ours["file"], ours["line"]) == (theirs["file"], theirs["line"])
                older = [o for o in theirs["overrode"] if (o["file"] or "").endswith(".yaml")]
                ours_older = [o for o in ours["overrode"] if (o["file"] or "").endswith(".yaml")]
                assert ours_older == older


def test_files_alone_need_no_model_and_no_torch():
    program = (
        "import sys; from benchmark.runs.spec import RunSpec;"
        "from benchmark.settings.explain import explanation;"
        "from benchmark.settings.resolve import sources_in_files;"
        "spec = RunSpec.model_validate_json(sys.stdin.read());"
        "found = explanation(spec, sources_in_files(spec));"
        "print(len(found['fields']), 'torch' in sys.modules)"
    )
    spec = resolve("FindRec", "ml-100k", QUICK).spec
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=spec.model_dump_json(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    fields = len(spec.config) + len(spec.training.model_dump()) + len(spec.protocol.model_dump())
    assert done.stdout.split() == [str(fields), "False"]
