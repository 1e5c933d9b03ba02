"""Generated data, the fits, and the measurements at their smallest sizes."""

import csv

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.scale.generated import SHORTEST, ZIPF, sequences, write_generated
from benchmark.scale.measure import PARTS, Cost, Point
from benchmark.scale.page import power_law, write_page
from benchmark.scale.run import measure, points


def test_a_power_law_is_found_exactly():
    sizes = [10.0, 100.0, 1000.0]
    assert power_law(sizes, [3 * size**1.25 for size in sizes]) == pytest.approx((3, 1.25))
    with pytest.raises(ValueError, match="two sizes"):
        power_law([10.0, 10.0], [1.0, 2.0])


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
    assert "b = 1.00 (all points)" in (tmp_path / "scale.md").read_text()


def test_sizes_stay_within_the_largest():
    assert max(p.interactions for p in points(100_000)) == 100_000
    with pytest.raises(InputError, match="at least 10000"):
        measure(100, print)
