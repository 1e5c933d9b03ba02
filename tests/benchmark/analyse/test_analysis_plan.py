"""The analysis plan: its seeds follow from its text, and it can be carried out."""

import pytest

from benchmark.analyse.analysis_plan import FILE, analysis_plan, split_arm
from benchmark.errors import InputError
from benchmark.plan import spec_of
from benchmark.settings.registry import get_profile, methods, profiles
from benchmark.tune.grid import read_tuning


def changed(tmp_path, old, new):
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "plan.md"
    path.write_text(text.replace(old, new), encoding="utf-8", newline="")
    return analysis_plan.__wrapped__(path)


def test_seeds_are_those_of_the_text(tmp_path):
    """A changed sentence gives other seeds, an added deviation or other line ends the same."""
    plan = analysis_plan()
    seeds = plan.seeds(10)
    assert len(set(seeds)) == 10
    assert plan.seeds(3) == seeds[:3]
    assert all(0 <= seed < 2**31 for seed in seeds)
    other = changed(tmp_path, "exclude a gain of 1 %", "exclude a gain of 2 %")
    assert not set(other.seeds(10)) & set(seeds)
    end = "otherwise, and why.\n"
    deviated = changed(tmp_path, end, f"{end}\n- 2030-01-01: another machine.\n")
    assert deviated.seeds(10) == seeds
    assert changed(tmp_path, "\n", "\r\n").seeds(10) == seeds
    assert changed(tmp_path, ".\n", ".  \n").seeds(10) == seeds


def test_no_seed_of_the_plan_has_had_a_say_in_a_setting():
    """Nor is any reported elsewhere."""
    used = {*read_tuning().seeds, *range(max(p.seeds for p in profiles().values()))}
    assert not used & set(analysis_plan().seeds(10))


def test_what_the_plan_compares_can_be_run():
    """Every row and variant of the contrasts resolves on every dataset of the plan, and the profile
    that carries it out runs on these datasets."""
    plan, profile = analysis_plan(), get_profile("rolling")
    assert set(plan.datasets) == set(profile.run_on)
    for contrast in plan.contrasts:
        for arm in (*contrast.plus, *contrast.minus):
            row, variant = split_arm(arm, methods())
            for dataset in plan.datasets:
                assert spec_of(row, dataset, profile, variant).model == row
    assert len({c.id for c in plan.contrasts}) == len(plan.contrasts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("## Deviations", "## Changes", "Deviations"),
        ("```yaml", "```", "one block"),
        ("claim: primary", "claim: main", "contrasts"),
        ("minus: [FindRec permuted-images]", "minus: [", "contrasts"),
    ],
)
def test_a_plan_that_cannot_be_read_is_named(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message) as error:
        changed(tmp_path, old, new)
    assert "plan.md" in str(error.value)
