"""Generated data, the fits, and the measurements at their smallest sizes."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from benchmark.errors import InputError
from benchmark.scale import gpu
from benchmark.scale.fit import fit, power_law
from benchmark.scale.generated import SHORTEST, ZIPF, sequences, write_generated
from benchmark.scale.lines import LEAST_MB, fits, size_of
from benchmark.scale.measure import PARTS, Cost, Point
from benchmark.scale.page import write_page
from benchmark.scale.run import expected_seconds, measure, measured, points
from benchmark.scale.targets import HOST_MB, PASSES, TARGETS, demands, on_cpu, on_gpu

ROOT = Path(__file__).resolve().parents[2]


def test_a_power_law_is_found_exactly():
    sizes = [10.0, 100.0, 1000.0]
    law = power_law(sizes, [3 * size**1.25 for size in sizes])
    assert (law.a, law.b) == pytest.approx((3, 1.25))
    assert (law.low, law.high) == pytest.approx((1.25, 1.25))
    assert law(50.0) == pytest.approx(3 * 50**1.25)
    assert law.size_at(law(70.0)) == pytest.approx(70)
    with pytest.raises(ValueError, match="two sizes"):
        power_law([10.0, 10.0], [1.0, 2.0])
    assert math.isinf(power_law([1.0, 10.0], [1.0, 2.0]).high)
    assert math.isinf(power_law([1.0, 10.0], [2.0, 1.0]).size_at(5.0))


def test_the_interval_of_the_exponent_is_the_textbooks():
    """SciPy's standard error of a slope; and over 2,000 draws with noise of 10 % it holds the true
    exponent in 95 %, within four standard errors of a share (0.005)."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.arange(2, 7)
    held = 0
    for _ in range(2_000):
        costs = 2 * sizes**0.8 * np.exp(0.1 * rng.normal(size=5))
        law = power_law(sizes.tolist(), costs.tolist())
        held += law.low < 0.8 < law.high
    line = stats.linregress(np.log(sizes), np.log(costs))
    half = stats.t.ppf(0.975, 3) * line.stderr
    assert (law.b, law.low, law.high) == pytest.approx(
        (line.slope, line.slope - half, line.slope + half)
    )
    assert abs(held / 2_000 - 0.95) < 0.02


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_fixed_cost_is_told_from_growth(exponent):
    """7 + size^b / 1000, without noise: to 1e-4, which the tolerances of the search allow for."""
    sizes = [10.0**k for k in range(3, 8)]
    costs = [7 + size**exponent / 1000 for size in sizes]
    law = fit(sizes, costs)
    assert (law.fixed, law.a, law.b) == pytest.approx((7, 1e-3, exponent), rel=1e-4)
    assert law.low <= law.b <= law.high
    assert law(1e9) == pytest.approx(7 + 1e9**exponent / 1000, rel=1e-3)
    assert law.size_at(law(5e5)) == pytest.approx(5e5)
    assert law.size_at(3.0) == 0
    assert abs(law.b - exponent) < abs(power_law(sizes, costs).b - exponent)


def test_the_interval_knows_of_the_fixed_cost():
    """SciPy's own curve_fit on logarithms gives the same standard error, to the 1 % that its
    numerical derivatives differ by; a law without a fixed cost keeps its narrower interval."""
    rng = np.random.default_rng(1)
    sizes = 10.0 ** np.arange(2, 9) / 3
    costs = (5 + 0.02 * sizes) * np.exp(0.05 * rng.normal(size=7))
    law = fit(sizes.tolist(), costs.tolist())

    def model(size, fixed, log_a, b):
        return np.log(fixed + np.exp(log_a) * size**b)

    _, spread = optimize.curve_fit(model, sizes, np.log(costs), (5, math.log(0.02), 1))
    half = stats.t.ppf(0.975, 4) * math.sqrt(spread[2, 2])
    assert (law.high - law.low) / 2 == pytest.approx(half, rel=0.01)
    plain = [2 * size**0.8 for size in sizes.tolist()]
    assert fit(sizes.tolist(), plain).fixed == pytest.approx(0, abs=1e-3)
    assert fit(sizes.tolist()[:3], costs.tolist()[:3]).fixed == 0


def test_generated_data_have_the_size_and_popularity_asked_for():
    """200,000 draws: the first item's share within 5 standard deviations of Zipf's; the number of
    interactions within 2 % of the mean's, of which the rounded-up short sequences take half."""
    items, lengths = sequences(200_000, 500, 20.0)
    assert lengths.min() >= SHORTEST
    assert len(items) == lengths.sum() == pytest.approx(200_000, rel=0.02)
    chance = np.arange(1, 501) ** -ZIPF
    share = chance[0] / chance.sum()
    assert abs((items == 0).mean() - share) < 5 * np.sqrt(share / len(items))
    again, _ = sequences(200_000, 500, 20.0)
    assert np.array_equal(items, again)


def test_a_generated_bundle_is_one_like_any_other(tmp_path):
    bundle = write_generated(tmp_path, 2_000, 100, 10.0, 8)
    taken, lengths = sequences(2_000, 100, 10.0)
    assert bundle.meta.counts.interactions == len(taken)
    assert bundle.meta.counts.users == len(lengths)
    assert bundle.text is not None
    assert bundle.text.values.shape == (bundle.n_items + 1, 8)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_runs(part):
    sizes = {"interactions": 2_000, "items": 100, "width": 4, "window": 8, "negatives": 16}
    PARTS[part](Point.model_validate({"part": part, "varies": "items"} | sizes))()


def test_the_page_has_every_measurement(tmp_path):
    costs = [
        Cost(
            point=Point(part="bundle", varies="interactions", interactions=n),
            cpu_seconds=n / 1000,
            wall_seconds=1,
            peak_mb=500,
        )
        for n in (1_000, 10_000)
    ]
    write_page(costs, tmp_path)
    rows = list(csv.DictReader((tmp_path / "scale.csv").open()))
    assert [row["interactions"] for row in rows] == ["1000", "10000"]
    assert "| 2 | 0 | 1.00 | none |" in (tmp_path / "scale.md").read_text()
    assert (tmp_path / "scale.svg").stat().st_size > 1_000


BASE = 400.0


def exact(largest=10**7):
    """All points with costs by exact laws: seconds size^1.1 / 1000, own memory 2 sqrt(size) MB."""
    costs = []
    for point in points(largest):
        cost = Cost(point=point, cpu_seconds=1, wall_seconds=1, peak_mb=BASE, base_mb=BASE)
        size = size_of(cost)
        own = {"cpu_seconds": size**1.1 / 1_000, "peak_mb": BASE + 2 * math.sqrt(size)}
        costs.append(cost.model_copy(update=own))
    return costs


def test_every_line_has_its_law():
    """Memory below what a fit takes is left out of it: 2 sqrt(size) is more from 100 on."""
    costs = exact()
    time, memory = fits(costs, "CPU s"), fits(costs, "own MB")
    assert {(c.point.part, c.point.varies) for c in costs} == set(time)
    assert [law.b for law in time.values()] == pytest.approx([1.1] * len(time))
    assert [law.a for law in memory.values()] == pytest.approx([2.0] * len(memory))
    assert [law.b for law in memory.values()] == pytest.approx([0.5] * len(memory))
    small = {("step", "seeds"), ("step", "window")}  # of these one point at most is above it
    assert LEAST_MB == 20
    assert set(time) - set(memory) == small


def test_what_breaks_first_follows_from_the_laws():
    """By hand: 2 sqrt(n) MB reach 8 GB at n = 4000^2; ten interactions are a user."""
    found = demands(fits(exact(), "own MB"))
    limits = {demand.part: demand.limit for demand in found}
    assert limits["building a bundle"] == pytest.approx((HOST_MB / 2) ** 2)
    assert limits["ranks and top lists"] == pytest.approx((HOST_MB / 2) ** 2 / 10)
    bundle = next(demand for demand in found if demand.part == "building a bundle")
    assert bundle.megabytes["MicroLens-1M"] == pytest.approx(2 * math.sqrt(9_095_620))
    room = [HOST_MB / demand.megabytes["MicroLens-1M"] for demand in found]
    assert room == sorted(room)


def test_hours_of_a_cpu_by_hand():
    """MicroLens-1M: 52.2 passes over 10^6 windows in steps of 128, of which a cost holds two; its
    ranking is that of 10^7 interactions with 1,000 items, times (91,402 / 1,000)^1.1, twice."""
    time = fits(exact(), "CPU s")
    (first, *_) = on_cpu(time)
    assert first.bundle * 3600 == pytest.approx(9_095_620**1.1 / 1_000)
    assert first.training * 3600 == pytest.approx(
        20_000 * 256 / 98_129 * 1e6 / 128 / 2 * 91_402**1.1 / 1_000
    )
    assert first.ranking * 3600 == pytest.approx(2 * (1e7 * 91.402) ** 1.1 / 1_000)
    del time["step", "items"]
    assert on_cpu(time) == []


def test_the_cost_model_of_a_gpu_is_that_of_the_page_on_performance():
    """At Beauty's catalogue a step is the table's row there: 0.5 and 5.9 ms of memory, 0.1 and
    4.3 ms of products for one seed, 1.1 and 4.0 ms of kernels. Per item, a full softmax adds 13
    passes over one logit of every position and three products of the width; a sampled one adds
    AdamW's passes over the table alone."""
    sasrec, findrec = gpu.ROWS
    for row, memory, products, kernels in ((sasrec, 0.5, 0.1, 1.1), (findrec, 5.9, 4.3, 4.0)):
        step = gpu.step(row, gpu.BEAUTY_ITEMS, 1)
        rounded = [round(1e3 * s, 1) for s in (step.memory, step.products, step.kernels)]
        assert rounded == [memory, products, kernels]
        assert step.least == max(step.memory, step.products, step.kernels)
        assert step.most == step.memory + step.products + step.kernels
    more, less = (gpu.step(sasrec, items, 1) for items in (20_000, 10_000))
    assert (more.memory - less.memory) * gpu.BANDWIDTH == pytest.approx(
        10_000 * 4 * (13 * 5_317 + 9 * 64)
    )
    assert (more.products - less.products) * gpu.FLOPS == pytest.approx(6 * 5_317 * 10_000 * 64)
    more, less = (gpu.step(sasrec, items, 1, negatives=512) for items in (20_000, 10_000))
    assert (more.memory - less.memory) * gpu.BANDWIDTH == pytest.approx(10_000 * 4 * 9 * 64)
    assert more.products == less.products


def test_seeds_that_do_not_fit_a_gpu_are_trained_in_stacks():
    """48.19 million items of width 64 take 49.3 GB a seed: one at a time, ten times the steps."""
    row, (small, _, large) = gpu.ROWS[0], TARGETS
    assert on_gpu(row, small).seeds_at_once == 10
    found = on_gpu(row, large)
    assert found.seeds_at_once == 1
    ranking = gpu.ranking(row, int(large.items), 2 * int(large.users), 10)
    step = gpu.step(row, int(large.items), 1, large.negatives)
    steps = PASSES * large.users / 256
    assert found.hours[0] * 3600 == pytest.approx(10 * steps * step.least + ranking)
    assert on_gpu(gpu.Row("wide", 256, 1, 1, 1), large).seeds_at_once == 0


REPORT = """
import json, resource, sys
from dataclasses import replace
from pathlib import Path
from benchmark.render.experiment import render
from benchmark.render.report.page import write_report
from benchmark.render.selection import Selection
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile

root = Path(sys.argv[1])
profile, store = get_profile("quick"), Store(root / "runs")
report = write_report(profile, root / "results", RunSet(store), as_stored=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak_mb": peak, "page": str(report)}))
"""

FILL = """
import sys
from pathlib import Path
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import fill

fill(Store(Path(sys.argv[1])), ["table2"], get_profile("quick"), seeds=6, users=int(sys.argv[2]),
     datasets=["beauty"], models=["SASRec", "FindRec"])
"""


@pytest.mark.slow  # seven minutes at the larger size
@pytest.mark.parametrize("interactions", [10**6, 10**7])
def test_evaluation_and_report_stay_within_8_gb(tmp_path, interactions):
    """A bundle of so many interactions, the ranking of a tenth as many users (among 2,000 items;
    memory against items is bounded by batches and measured by `scale`), and the report on twelve
    runs of them. Each in a process of its own, by the peak of its resident memory."""
    for point in (
        Point(part="bundle", varies="", interactions=interactions, items=interactions // 10),
        Point(part="evaluation", varies="", interactions=interactions, items=2_000),
        Point(part="metrics", varies="", interactions=interactions),
    ):
        cost = measured(point)
        assert not isinstance(cost, str), cost
        print(point.part, round(cost.peak_mb), "MB")
        assert cost.peak_mb < HOST_MB
    for program, last in ((FILL, [str(tmp_path / "runs"), str(interactions // 10)]), (REPORT, [])):
        ran = subprocess.run(
            [sys.executable, "-c", program, *(last or [str(tmp_path)])],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    print("report", round(told["peak_mb"]), "MB")
    assert told["peak_mb"] < HOST_MB
    assert Path(told["page"]).exists()


def test_sizes_stay_within_the_largest():
    assert max(p.interactions for p in points(100_000)) == 100_000
    for largest in (10**4, 10**7):  # minutes, of two quiet cores
        assert sum(map(expected_seconds, points(largest))) / 60 < 12
    with pytest.raises(InputError, match="at least 10000"):
        measure(100, print)
