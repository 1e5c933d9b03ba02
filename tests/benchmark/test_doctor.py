"""What `doctor` finds on installations that are sound, and on ones that were damaged on purpose."""

import shutil
from pathlib import Path

import pytest
import torch

from benchmark import doctor
from benchmark.data.bundle import build_bundle, load_bundle
from tests.commands import call

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path):
    """A folder with one dataset that is built."""
    built = load_bundle("beauty").path
    shutil.copytree(built, tmp_path / "data" / "beauty")
    return tmp_path / "data"


def problems(checks):
    return [check for check in checks if check.remedy]


def test_a_sound_installation_has_no_problem_and_fits_a_screen(data, tmp_path):
    """Every topic is shown. Other versions than the locked ones would be a problem, and the one."""
    done = call(tmp_path, "doctor", "--data", str(data), COLUMNS="80")
    unlocked = problems(doctor.check_packages(doctor.LOCK, doctor.installed_packages()))
    assert done.returncode == len(unlocked), done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    topics = {line.split()[0] for line in lines if line[0] != " "}
    assert topics >= {
        "python",
        "packages",
        "devices",
        "scan",
        "datasets",
        "encoders",
        "disk",
        "store",
    }
    assert "beauty: 4,322 users, 2,423 items, 60,276 interactions" in done.stdout
    assert lines[-1] == ("1 problem" if unlocked else "no problems")
    assert not (tmp_path / "runs").exists(), "looking at the store made it"


def test_a_damaged_dataset_is_a_problem_with_its_remedy(data, tmp_path):
    file = data / "beauty" / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    done = call(tmp_path, "doctor", "--data", str(data), COLUMNS="80")
    assert done.returncode == 1
    assert "beauty: damaged" in done.stdout
    assert f"delete the folder {data / 'beauty'}" in done.stdout
    assert "1 problem" in done.stdout


def test_an_unknown_scan_backend_is_a_problem(data, tmp_path):
    done = call(tmp_path, "doctor", "--data", str(data), COLUMNS="80", FINDREC_SCAN="fastest")
    assert done.returncode == 1
    assert "'fastest' does not run on cpu: choose one of" in done.stdout
    assert "unset FINDREC_SCAN" in done.stdout


def test_versions_are_compared_with_the_lock_file(tmp_path):
    """Names that are not installed or not locked are no matter, nor is a local part."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("# pins\ntorch==2.13.0\nnumpy==2.4.6\ntransformers==5.0\n")
    sound = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "mamba-ssm": "2.2"}
    assert problems(doctor.check_packages(lock, sound)) == []
    (problem,) = problems(doctor.check_packages(lock, {**sound, "numpy": "2.4.7"}))
    assert "numpy" in problem.found
    assert "torch" not in problem.found
    assert problem.remedy == "pip install numpy==2.4.6"
    assert problems(doctor.check_packages(tmp_path / "none", {"numpy": "1.0"})) == []


def test_the_installed_packages_are_those_that_import():
    installed = doctor.installed_packages()
    assert installed["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert "numpy" in installed


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees the GPU here")
def test_a_gpu_that_torch_does_not_see_is_a_problem(tmp_path):
    (tmp_path / "nvidiactl").touch()
    assert problems(doctor.check_devices(tmp_path)) == []
    (tmp_path / "nvidia0").touch()
    (problem,) = problems(doctor.check_devices(tmp_path))
    assert torch.__version__ in problem.found
    assert "install" in problem.remedy


def test_a_scan_backend_that_computes_something_else_is_found(monkeypatch):
    """The real loops, fed a decay of twice the size."""
    from findrec.ops import scan

    assert problems(doctor.check_scan()) == []
    loops = scan._BACKENDS["cpu"].scan

    def wrong(u, delta, A, *rest):
        return loops(u, delta, 2 * A, *rest)

    monkeypatch.setitem(scan._BACKENDS, "cpu", scan._BACKENDS["cpu"]._replace(scan=wrong))
    (problem,) = problems(doctor.check_scan())
    assert "off by" in problem.found
    assert problem.remedy == "FINDREC_SCAN=reference avoids it"


def test_how_steps_run_is_said(monkeypatch):
    monkeypatch.delenv("FINDREC_GRAPH", raising=False)
    assert "as always on a CPU" in doctor.check_graphs(cuda=False).found
    assert doctor.check_graphs(cuda=True).found.startswith("captured as CUDA graphs")
    monkeypatch.setenv("FINDREC_GRAPH", "off")
    assert doctor.check_graphs(cuda=True).found.startswith("op by op")
    monkeypatch.setenv("FINDREC_GRAPH", "never")
    (problem,) = problems([doctor.check_graphs(cuda=False)])
    assert problem.remedy == "unset FINDREC_GRAPH"


def test_datasets_that_are_not_built_say_where_they_would_come_from(tmp_path):
    checks = list(doctor.check_datasets(tmp_path, None))
    assert problems(checks) == []
    (check,) = checks
    assert "beauty (files at hand)" in check.found
    assert "ml-100k (from recbole==1.2.1" in check.found
    raw = tmp_path / "raw" / "ml-100k"
    raw.mkdir(parents=True)
    (raw / "ml-100k.inter").touch()
    (check,) = doctor.check_datasets(tmp_path, None)
    assert "ml-100k (files at hand)" in check.found


def test_a_dataset_of_another_recipe_is_one_to_build(data):
    """As `load_bundle` would treat it."""
    meta = data / "beauty" / "bundle.json"
    text = meta.read_text()
    meta.write_text(text.replace("iterative 7-core", "iterative 6-core"))
    assert meta.read_text() != text
    (check,) = doctor.check_datasets(data, None)
    assert "beauty (files at hand)" in check.found
    build_bundle("beauty", root=data)
    build_bundle("beauty", root=data.parent / "anew")
    assert meta.read_text() == (data.parent / "anew" / "beauty" / "bundle.json").read_text()
    again = doctor.check_datasets(data, None)
    assert not any("beauty (files at hand)" in check.found for check in again)


def test_every_encoder_has_its_packages_named():
    assert set(doctor.ENCODER_PACKAGES) == set(doctor.ENCODERS) >= set(doctor.FROM_HUB)


def test_a_store_that_cannot_be_written_is_a_problem(tmp_path):
    """A file where the folder should be; permissions would not stop an administrator."""
    (tmp_path / "runs").touch()
    check = doctor.check_store(tmp_path / "runs")
    assert "cannot be written" in check.found
    assert check.remedy
    assert not doctor.check_store(tmp_path / "other" / "runs").remedy


def test_too_little_space_is_a_problem(tmp_path, monkeypatch):
    assert not doctor.check_disk(tmp_path).remedy
    monkeypatch.setattr(doctor, "LEAST_SPACE", 10**18)
    assert "free some" in doctor.check_disk(tmp_path).remedy


def test_a_checkout_whose_code_is_not_what_runs_is_a_problem(tmp_path):
    assert problems(doctor.check_code(ROOT)) == []
    assert problems(doctor.check_code(tmp_path)) == []
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__init__.py").touch()
    (problem,) = problems(doctor.check_code(tmp_path))
    assert str(tmp_path) in problem.found
