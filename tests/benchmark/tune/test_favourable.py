"""The reading that validation prefers: what is tried, within how many trials, what is chosen, and
that the lines for the config are the reading."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.paper.readings import readings
from benchmark.plan import OWN_MODEL, favourable_reading, spec_of
from benchmark.settings import registry
from benchmark.settings.registry import Method, get_profile, methods
from benchmark.settings.resolve import changes_of
from benchmark.tune.favourable import (
    ReadingSearch,
    ReadingTrial,
    candidates,
    entry,
    fewest_trials,
)
from benchmark.tune.search import Tried
from benchmark.yaml_files import read_model

ROLLING, QUICK = get_profile("rolling"), get_profile("quick")
SEEDS = (1000, 1001, 1002)
FILE = registry.CONFIGS / "models" / "findrec.yaml"


def test_candidates_are_the_readings_section_by_section():
    """All variants called a reading but A's and B's, each once; the first of every section comes
    before the second of any."""
    order = candidates()
    own = {v for v in methods()[OWN_MODEL].variants if v.startswith("reading-")}
    assert order[0] == "base"
    assert set(order[1:]) == own - {"reading-a", "reading-b"}
    assert len(set(order)) == len(order)
    section = {}
    for reading in readings():
        for arm in reading.arms:
            section.setdefault(arm.removeprefix("FindRec "), reading.section)
    seen: dict[str, int] = {}
    turns = []
    for variant in order[1:]:
        seen[section[variant]] = seen.get(section[variant], 0) + 1
        turns.append(seen[section[variant]])
    assert turns == sorted(turns)


def test_the_number_of_trials_is_that_of_the_row_with_fewest(tmp_path):
    """Summed over the profiles whose settings hold; FindRec's own and an arm's do not count."""
    header = "dataset,model\n"
    quick = "ml-1m,SASRec\n" * 12 + "ml-1m,NOVA\n" * 16 + "ml-1m,FindRec\n" * 2
    (tmp_path / "quick.csv").write_text(header + quick + "ml-1m,Late fusion\nbeauty,NOVA\n")
    (tmp_path / "rolling.csv").write_text(header + "ml-1m,SASRec\n" * 3)
    assert fewest_trials("ml-1m", ROLLING, tmp_path) == (15, "SASRec")
    assert fewest_trials("ml-1m", QUICK, tmp_path) == (12, "SASRec")
    with pytest.raises(InputError, match=r"no log of trials on ml-100k .* run `tune`"):
        fewest_trials("ml-100k", ROLLING, tmp_path)
    (tmp_path / "quick.csv").write_text("nothing\n1\n")
    with pytest.raises(InputError, match=r"quick\.csv: not a log of trials"):
        fewest_trials("ml-1m", ROLLING, tmp_path)


def carried_out(trials, scores):
    """The search on given scores, to its end."""
    tried = {}
    search = ReadingSearch(candidates(), SEEDS, trials, tried)
    while search.wanted():
        for trial in search.wanted():
            assert trial not in tried
            score = scores[trial]
            both = {p: np.array([score]) for p in ("kept", "left out")}
            tried[trial] = Tried(both if score else None)
    return search


@pytest.mark.parametrize("trials", [1, 5, 16, 23, 26, 27, 40, 100])
def test_the_search_keeps_to_its_trials_and_takes_the_best(trials):
    """Against the rule worked out anew on random scores."""
    order = candidates()
    rng = np.random.default_rng(trials)
    scores = {ReadingTrial(v, s): rng.uniform(0.05, 0.06) for v in order for s in SEEDS}
    search = carried_out(trials, scores)
    assert len(search.tried) <= trials
    first = sorted(order[:trials], key=lambda v: scores[v, SEEDS[0]], reverse=True)
    again = (trials - len(first)) // 2
    if again > 1:
        best = max(first[:again], key=lambda v: sum(scores[v, s] for s in SEEDS))
        assert len(search.tried) == len(first) + 2 * min(again, len(first))
    else:
        best = first[0]
        assert len(search.tried) == len(first)
    assert search.choice() == best
    assert search.left_out == list(order[trials:])


def test_a_failed_trial_is_never_chosen():
    order = candidates()
    scores = {ReadingTrial(v, s): 0.05 for v in order for s in SEEDS}
    scores[ReadingTrial(order[3], SEEDS[0])] = 0.06
    for seed in SEEDS[1:]:
        scores[ReadingTrial(order[3], seed)] = 0.0
    assert carried_out(len(order), scores).choice() == order[3]
    assert carried_out(3 * len(order), scores).choice() == "base", "equal ones: the default"
    nothing = dict.fromkeys(scores, 0.0)
    assert carried_out(len(order), nothing).choice() is None


@pytest.fixture
def entered(tmp_path, monkeypatch):
    """Enter lines of the log into FindRec's file."""

    def enter(lines):
        whole = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        whole["variants"] |= yaml.safe_load(lines)
        path = Path(tmp_path, "findrec.yaml")
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        monkeypatch.setitem(methods(), OWN_MODEL, read_model(path, Method))

    return enter


@pytest.mark.parametrize("dataset", ["ml-1m", "ml-100k"])
def test_the_lines_for_the_config_are_the_reading(entered, dataset):
    """Entered into FindRec's file they give the spec of the reading, but for its name."""
    for variant in candidates():
        entered(entry(variant, dataset, ROLLING))
        found = spec_of(OWN_MODEL, dataset, ROLLING, "favourable")
        own = spec_of(OWN_MODEL, dataset, ROLLING, variant)
        assert found == own.model_copy(update={"variant": "favourable"})
        assert favourable_reading(dataset) == ("another" if variant != "base" else "base")
        assert favourable_reading("beauty") == "not chosen"
    assert changes_of(OWN_MODEL, dataset, ROLLING, "base") == {}


def test_from_the_command_to_the_log(tmp_path, monkeypatch):
    """Two readings of a few steps, since the row with fewest trials had two."""
    (tmp_path / "smoke.csv").write_text("dataset,model\n" + "ml-100k,SASRec\n" * 2)
    monkeypatch.setattr("benchmark.cli.trial.TUNING", tmp_path)
    monkeypatch.setattr("benchmark.cli.options.RUNS", tmp_path / "runs")
    command = ["favourable", "--profile", "smoke", "--datasets", "ml-100k"]
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    assert (planned.exit_code, planned.output.count("FindRec")) == (0, 2), planned.output
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "smoke-readings-ml-100k.md").read_text(encoding="utf-8")
    assert "At most 2 trials, as many as SASRec had" in page
    assert "Validation prefers: " in page
    assert "favourable:\n  datasets: {ml-100k:" in page
    log = (tmp_path / "smoke-readings-ml-100k.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[1] for line in log[1:]] == list(candidates()[:2])
    assert sum(line.endswith("True") for line in log[1:]) == 1
