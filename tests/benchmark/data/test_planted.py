"""Planted truth: chances against loops, oracles against closed forms and the suite's evaluation."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

from baselines.controls import Popularity
from benchmark.cli import app
from benchmark.core import split
from benchmark.data.bundle import load_bundle
from benchmark.data.planted.dataset import item_id, read_truth, write_planted
from benchmark.data.planted.truth import gains_of
from benchmark.data.planted.world import PlantedConfig, Shares, draw_sequences, world_of
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.evaluate.ranking import rank_targets
from benchmark.runs.spec import Protocol

SMALL = {"users": 400, "items": 150, "mean_length": 9.0}
ROLES = ("copy", "noise", "complement")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """role -> (bundle, truth)"""
    root = tmp_path_factory.mktemp("data")
    return {
        role: write_planted(PlantedConfig(image=role, **SMALL), root=root)  # type: ignore[arg-type]
        for role in ROLES
    }


# ---- chances -------------------------------------------------------------------------------------


def slow_chances(world, history, text, image):
    """p of one history by loops over the docstring's formulas, of one who knows M."""
    c, n = world.config, len(world.popularity)
    left = [i for i in range(n) if i not in set(history)]
    popularity = {i: world.popularity[i] for i in left}

    def normal(weights):
        total = math.fsum(weights.values())
        return {i: w / total for i, w in weights.items()}

    def by_content(factors):
        if factors is None:
            return normal({i: world.unknown[i] for i in left})
        u = np.zeros(c.factors)
        for age, item in enumerate(reversed(history)):
            u += c.memory**age * factors[item]
        return normal(
            {
                i: popularity[i]
                * math.exp(c.sharpness * (factors[i] @ u) / math.sqrt(float(u @ u)))
                for i in left
            }
        )

    last = history[-1]
    chain = {
        int(i): w
        for i, w in zip(world.successors[last], world.successor_chances[last], strict=True)
        if i in popularity
    }
    chosen = [
        (c.shares.popularity, normal(popularity)),
        (c.shares.id, normal(chain if chain else popularity)),
        (c.shares.text, by_content(text)),
        (c.shares.image, by_content(image)),
    ]
    p = np.zeros(n)
    for share, chances in chosen:
        for i, chance in chances.items():
            p[i] += share * chance
    return p


@pytest.mark.parametrize("known", ["both", "text", "neither"])
def test_chances_by_loops(known):
    """float64 rounding; one history has taken all successors of its last item."""
    world = world_of(PlantedConfig(image="noise", users=2, items=90, mean_length=8.0))
    text = None if known == "neither" else world.text
    image = world.image if known == "both" else None
    rng = np.random.default_rng(0)
    histories = [rng.permutation(90)[:size] for size in (1, 2, 7, 30)]
    histories.append(np.append(world.successors[3], 3))
    found = world.chances(histories, text, image)
    for row, history in zip(found, histories, strict=True):
        np.testing.assert_allclose(
            row, slow_chances(world, history.tolist(), text, image), rtol=1e-10, atol=1e-15
        )
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


def test_without_the_chain_a_choice_is_one_by_popularity():
    world = world_of(PlantedConfig(image="noise", users=2, items=90, mean_length=8.0))
    history = [np.array([4, 8])]
    found = world.chances(history, None, None, markov=False)[0]
    left = np.ones(90, dtype=bool)
    left[[4, 8]] = False
    s = world.config.shares
    expected = (s.popularity + s.id) * world.popularity / world.popularity[left].sum()
    expected += (s.text + s.image) * world.unknown / world.unknown[left].sum()
    np.testing.assert_allclose(found, np.where(left, expected, 0), rtol=1e-12)


def test_unknown_factors_are_taken_in_expectation():
    """The mean of Q over 3,000 worlds, groups of items of like popularity: the closed expectation
    within 3 %, some three standard errors; popularity itself is off by more than a tenth for the
    first ten."""
    world = world_of(PlantedConfig(image="noise", users=2, items=200, mean_length=8.0))
    sharpness = world.config.sharpness
    rng = np.random.default_rng(1)
    mean = np.zeros(200)
    for _ in range(3000):
        factors = rng.normal(size=(200, world.config.factors))
        factors /= np.linalg.norm(factors, axis=1, keepdims=True)
        u = rng.normal(size=world.config.factors)
        weight = world.popularity * np.exp(sharpness * factors @ u / np.linalg.norm(u))
        mean += weight / weight.sum() / 3000
    groups = [slice(0, 10), slice(10, 30), slice(30, 80), slice(80, 200)]
    sums = [[p[g].sum() for g in groups] for p in (mean, world.unknown, world.popularity)]
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.03)
    assert sums[2][0] > 1.1 * sums[1][0]


def test_users_draw_by_the_chances():
    """Second items of those of 8,000 users who have one first item: chi-squared over the items
    whose expectation is above 5, p above 1e-4; nobody takes an item twice."""
    config = PlantedConfig(image="noise", users=8_000, items=40, mean_length=4.0, shortest=4)
    world = world_of(config)
    sequences = draw_sequences(world)
    assert all(len(set(s.tolist())) == len(s) == 4 for s in sequences)
    second = np.array([s[1] for s in sequences if s[0] == 0])
    p = world.chances([np.array([0])], world.text, world.image)[0]
    expected = len(second) * p
    seen = np.bincount(second, minlength=40)
    common = expected > 5
    statistic = ((seen - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(statistic, common.sum()) > 1e-4


# ---- oracles -------------------------------------------------------------------------------------


def test_gains_by_hand():
    """Places 1 and 2 earn 1 and 1 / log2(3); of equal scores the earlier item is first."""
    found = gains_of(np.array([[0.2, 0.5, 0.2, *[0.0] * 9]]))[0]
    assert found[:3] == pytest.approx([1 / math.log2(3), 1.0, 0.5])
    assert found[10] == 0.0 or found[11] == 0.0


def test_no_ranking_beats_the_truth(planted):
    """Query by query: the oracle that knows all has the highest expected NDCG@10 of all scores, by
    the rearrangement inequality; equal within rounding where they order alike."""
    _, truth = planted["complement"]
    world = world_of(truth.config)
    histories = [s[:-1] for s in draw_sequences(world)[:60]]
    p = world.chances(histories, world.text, world.image)
    best = (p * gains_of(p)).sum(1)
    rng = np.random.default_rng(0)
    for other in (
        world.chances(histories, world.text, None),
        world.chances(histories, None, None),
        p * rng.uniform(0.5, 2.0, p.shape),
        rng.random(p.shape),
    ):
        assert ((p * gains_of(other)).sum(1) <= best + 1e-12).all()


def test_what_images_add_is_what_is_planted(planted):
    """A copy adds nothing to the text, nor the text to it; noise adds nothing; the complement adds
    about as much as the text, which has the same share of the choices."""
    copy, noise, complement = (planted[role][1] for role in ROLES)
    assert (copy.image_share, copy.text_share) == (0.0, 0.0)
    assert noise.image_share == 0.0
    assert noise.text_share > 0.2
    assert complement.image_share > 0.2
    assert complement.text_share > 0.2
    oracles = complement.oracles
    for better, worse in (
        ("features", "without image"),
        ("features", "without text"),
        ("without image", "without both"),
        ("without both", "popularity"),
        ("without both", "permuted"),
    ):
        assert oracles[better].ndcg > oracles[worse].ndcg + 0.01
        assert oracles[better].information > oracles[worse].information + 0.05
    assert oracles["all"] == oracles["features"]
    for truth in (copy, noise):
        assert truth.oracles["features"] == truth.oracles["without image"]
        assert truth.oracles["all"].ndcg > truth.oracles["features"].ndcg + 0.01
    assert oracles["popularity"].information == 0.0


def test_the_shares_are_those_that_are_asked_for(tmp_path):
    """Information rises with the share of the choices; without any, features tell nothing."""
    found = []
    for share in (0.0, 0.2, 0.6):
        shares = Shares(popularity=0.7 - share, id=0.3, text=0.0, image=share)
        config = PlantedConfig(image="complement", shares=shares, **SMALL)
        _, truth = write_planted(config, f"share{10 * share:.0f}", root=tmp_path)
        whole, rest = (truth.oracles[name].information for name in ("features", "without image"))
        found.append(whole - rest)
        assert truth.text_share == 0.0
    assert found[0] == 0.0
    assert found[0] < 0.05 < found[1] < found[2]


@pytest.mark.parametrize("role", ROLES)
def test_expected_and_realised_agree(planted, role):
    """Over 400 users whose NDCG@10 has an sd below 0.45: four standard errors are 0.09."""
    for oracle in planted[role][1].oracles.values():
        assert oracle.realised == pytest.approx(oracle.ndcg, abs=0.09)


def suite_ndcg(bundle, score, *, masked):
    queries = split(bundle, Protocol(max_length=60, stride=30)).test
    return per_user(rank_targets(score, queries), "NDCG@10", masked=masked).mean()


@pytest.mark.parametrize("masked", [False, True])
def test_the_suite_scores_the_oracle_as_the_truth_says(planted, masked):
    """Ranks and metrics of the suite under both protocols, bundle ids and padding in between; p is
    0 for items of the history, so that both are the same. Float64 rounding, but scores go through
    float64 tensors."""
    bundle, truth = planted["complement"]
    world = world_of(truth.config)
    numbers = [int(i.removeprefix("i")) for i in bundle.items["id"]]
    assert [item_id(k) for k in numbers] == bundle.items["id"].tolist()

    def oracle(text, image):
        def score(history):
            rows = [[numbers[i - 1] for i in row if i] for row in history.tolist()]
            return torch.as_tensor(
                world.chances([np.array(row) for row in rows], text, image)[:, numbers]
            )

        return score

    for name, (text, image) in {
        "all": (world.text, world.image),
        "without image": (world.text, None),
        "without both": (None, None),
    }.items():
        found = suite_ndcg(bundle, oracle(text, image), masked=masked)
        assert found == pytest.approx(truth.oracles[name].realised, abs=1e-9)


def test_oracles_beat_the_suite_s_popularity(planted):
    bundle, truth = planted["complement"]
    control = Popularity()
    queries = split(bundle, Protocol(max_length=60, stride=30)).validation
    control.fit(queries.seen_items, queries.seen_offsets, bundle.catalogue())
    found = suite_ndcg(bundle, lambda h: torch.as_tensor(control.score(h)), masked=True)
    assert truth.oracles["without both"].realised > found + 0.03
    assert truth.oracles["features"].realised > found + 0.1


# ---- bundles -------------------------------------------------------------------------------------


def linear_fit(features, factors):
    """Share of the features' variance that a linear map of the factors explains."""
    x = np.c_[np.ones(len(factors)), factors]
    y = features - features.mean(0)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return 1 - (rest**2).sum() / (y**2).sum()


def test_bundles_of_one_seed_differ_in_their_images_alone(planted):
    """Text features are a map of t, images of what they show: all of the variance to float32, and
    of other factors 8 in 150 by chance."""
    first = planted["copy"][0]
    world = world_of(planted["copy"][1].config)
    numbers = [int(i.removeprefix("i")) for i in first.items["id"]]
    shown = {"copy": world.text, "noise": world.noise, "complement": world.image}
    for role, (bundle, truth) in planted.items():
        pd.testing.assert_frame_equal(bundle.interactions, first.interactions)
        torch.testing.assert_close(bundle.text.values, first.text.values, rtol=0, atol=0)
        assert bundle.meta.counts.items == truth.n_items == len(numbers)
        assert read_truth(bundle.path) == truth
        assert load_bundle(bundle.name, root=bundle.path.parent).meta == bundle.meta
        image, text = (m.values[1:].numpy() for m in (bundle.image, bundle.text))
        assert linear_fit(text, world.text[numbers]) > 0.9999
        for other, factors in shown.items():
            share = linear_fit(image, factors[numbers])
            assert share > 0.9999 if other == role else share < 0.15
    hashes = {bundle.meta.data_hash for bundle, _ in planted.values()}
    assert len(hashes) == 3


def test_long_tail_and_lengths(planted):
    bundle, truth = planted["noise"]
    lengths = bundle.interactions["user"].value_counts()
    assert lengths.min() >= truth.config.shortest
    assert lengths.mean() == pytest.approx(9.0, abs=0.9)  # four standard errors of 400 geometrics
    counts = np.sort(bundle.interactions["item"].value_counts().to_numpy())[::-1]
    assert counts[:15].sum() > 0.2 * counts.sum()
    assert counts[-75:].sum() < 0.35 * counts.sum()


def test_the_same_settings_give_the_same_bytes(tmp_path):
    config = PlantedConfig(image="copy", users=50, items=80, mean_length=6.0)
    for folder in ("a", "b", "b"):  # the second time over what is there
        write_planted(config, "world", root=tmp_path / folder)
    other = config.model_copy(update={"seed": 1})
    write_planted(other, "world", root=tmp_path / "c")
    files = sorted(f.name for f in (tmp_path / "a" / "world").iterdir())
    assert "truth.json" in files
    for name in files:
        a, b, c = ((tmp_path / folder / "world" / name).read_bytes() for folder in "abc")
        assert a == b, name
        assert a != c or name == "users.parquet", name


# ---- the command ---------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["planted", *map(str, arguments)])


def test_the_command_writes_a_dataset_and_its_truth(tmp_path):
    done = invoke(
        *("--image", "complement", "--out", tmp_path, "--users", 60, "--items", 90),
        *("--length", 6, "--shares", "id=0.2,text=0.4,image=0.4", "--seed", 3),
    )
    assert done.exit_code == 0, done.exception
    truth = json.loads((tmp_path / "planted-complement-3" / "truth.json").read_text())
    assert truth["config"]["shares"] == {"popularity": 0, "id": 0.2, "text": 0.4, "image": 0.4}
    assert f"{truth['oracles']['features']['ndcg']:.4f}" in done.output
    assert "table2 --datasets planted-complement-3" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image", "cpy"), "--image: Input should be 'copy', 'noise' or 'complement'"),
        (("--image", "copy", "--users", "1"), "--users: Input should be greater"),
        (("--image", "copy", "--length", "2"), "--length: Input should be greater"),
        (("--image", "copy", "--length", "4"), "mean length 4 is below the shortest, 5"),
        (("--image", "copy", "--items", "60"), "give at least 85 items"),
        (("--image", "copy", "--shares", "id=0.5"), "--shares: the shares sum to 0.5"),
        (("--image", "copy", "--shares", "sound=1"), "--shares: sound: Extra inputs"),
        (("--image", "copy", "--shares", "id"), "write NAME=SHARE"),
        (("--image", "copy", "--name", "beauty"), "'beauty' is a known dataset"),
    ],
)
def test_what_the_command_refuses(tmp_path, arguments, message):
    done = invoke(*arguments, "--out", tmp_path)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_truth_that_is_damaged_says_what_to_do(tmp_path):
    for content in (None, b"{}"):
        if content is not None:
            (tmp_path / "truth.json").write_bytes(content)
        with pytest.raises(InputError, match="make the dataset again"):
            read_truth(tmp_path)
