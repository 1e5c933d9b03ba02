"""One spec from bundle to store: what it sees, what it keeps, how it fails and how it goes on."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import benchmark.core
import benchmark.run
from baselines.sasrec import SASRec, SASRecConfig
from benchmark.analyse.rules import RULES_HASH
from benchmark.data.bundle import load_bundle
from benchmark.data.content import Bundle
from benchmark.data.sequences import Histories, hold_out
from benchmark.errors import InputError
from benchmark.feature_controls import apply_feature_control
from benchmark.plan import plan, spec_of
from benchmark.run import run_seeds
from benchmark.runs.identity import hashes, identity
from benchmark.runs.ranks import Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from benchmark.train.engine import Trained
from findrec.recommender import Attribute, Batch, Catalogue, Features, FeatureScaling, Output

SMOKE = get_profile("smoke")
ROOT = Path(__file__).resolve().parents[2]
USERS, STEPS = 150, 12


def smoke(model: str, dataset: str = "beauty", variant: str = "base", **training: Any) -> RunSpec:
    spec = spec_of(model, dataset, SMOKE, variant)
    return spec if spec.training is None else spec.with_training(**training)


def run(spec: RunSpec, seeds: list[int], folder: Path, **options: Any) -> list[RunResult]:
    """What the store gives back."""
    store = Store(folder)
    run_seeds(spec, seeds, store, **options)
    return [store.read(spec.key, seed) for seed in seeds]


def equal(left: Ranks | None, right: Ranks | None) -> bool:
    """To the bit, in every field."""
    assert left is not None
    assert right is not None
    return all(
        np.array_equal(getattr(left, field.name), getattr(right, field.name))
        for field in dataclasses.fields(Ranks)
    )


# ---- what is kept -------------------------------------------------------------------------------


def test_the_record_tells_how_the_run_came_to_be(tmp_path):
    before = datetime.now(UTC)
    spec = smoke("SASRec", eval_every=4)
    results = run(spec, [0, 4], tmp_path)
    bundle = load_bundle("beauty", root=None)
    split = hold_out(bundle, 20, stride=10).first_users(USERS)
    parts = hashes(spec, bundle.meta.data_hash)
    model = SASRec(SASRecConfig(**spec.config), Catalogue(bundle.n_items))
    for seed, result in zip([0, 4], results, strict=True):
        record = result.record
        assert (record.spec, record.seed, record.status, record.message) == (spec, seed, "ok", "")
        assert record.hashes == parts.model_copy(update={"spec": None})
        assert record.identity == identity(parts, seed)
        assert record.rules == RULES_HASH
        assert record.parameters == sum(p.numel() for p in model.parameters())
        assert before <= record.started <= datetime.now(UTC)
        assert record.environment.device == "cpu"
        assert record.environment.threads == torch.get_num_threads()
        assert record.environment.execution == "op by op"
        assert record.environment.packages["numpy"] == np.__version__
        assert record.curves.validation_steps == record.curves.loss_steps == [4, 8, 12]
        values = record.curves.validation
        assert record.steps == STEPS
        assert len(record.curves.losses["recommendation"]) == 3
        per_step = 64 * split.train.counts.sum() / len(split.train.items)
        assert record.targets_seen == round(STEPS * per_step)
        assert record.timings.training > 0
        assert record.timings.evaluation > 0
        assert record.peak_memory is not None
        assert result.validation is not None
        assert result.test is not None
        assert len(result.validation) == len(result.test) == USERS
        assert result.validation.top is None
        assert result.test.top is not None
        assert np.array_equal(result.length, split.test.length)
        # The curve ends with the ranks' own values; 1e-12: float64 means in two orders of users.
        gain = np.where(result.validation.above < 10, 1 / np.log2(result.validation.above + 2), 0)
        assert not result.validation.equal.any()
        assert values[-1] == pytest.approx(gain.mean(), abs=1e-12)
    assert not equal(results[0].test, results[1].test)
    assert not list((tmp_path / ".checkpoints").glob("*"))


def test_a_control_has_one_result_for_all_seeds(tmp_path):
    """Popularity by hand: the items that were consumed more often, and of them those outside the
    whole history."""
    spec = smoke("Popularity")
    first, second = run(spec, [0, 1], tmp_path)
    split = hold_out(load_bundle("beauty", root=None), 20, stride=10).first_users(USERS)
    counts = np.bincount(split.validation.seen_items, minlength=2424)[1:]
    for queries, ranks in ((split.validation, first.validation), (split.test, first.test)):
        assert ranks is not None
        scores = np.tile(counts.astype(float), (USERS, 1))
        own = scores[np.arange(USERS), queries.target - 1][:, None]
        assert np.array_equal(ranks.above, (scores > own).sum(1))
        assert np.array_equal(ranks.equal, (scores == own).sum(1) - 1)
        users = np.repeat(np.arange(USERS), np.diff(queries.seen_offsets))
        scores[users, queries.seen_items - 1] = -np.inf
        scores[np.arange(USERS), queries.target - 1] = own[:, 0]
        assert np.array_equal(ranks.above_masked, (scores > own).sum(1))
        assert np.array_equal(ranks.equal_masked, (scores == own).sum(1) - 1)
    assert equal(first.validation, second.validation)
    assert equal(first.test, second.test)
    assert first.record.identity != second.record.identity


# ---- what it sees -------------------------------------------------------------------------------


def with_other_test_items(bundle: Bundle) -> Bundle:
    """The bundle in which every user's last item is another user's."""
    interactions = bundle.interactions.copy()
    last = interactions.groupby("user").tail(1).index
    order = np.random.default_rng(0).permutation(len(last))
    interactions.loc[last, "item"] = interactions.loc[last, "item"].to_numpy()[order]
    return dataclasses.replace(bundle, interactions=interactions)


@pytest.mark.parametrize(
    ("model", "dataset"), [("SASRec", "beauty"), ("BERT4Rec", "ml-100k"), ("EASE", "ml-100k")]
)
def test_selection_sees_validation_alone(model, dataset, tmp_path, monkeypatch):
    """With every test target changed, training, selection and validation stay as they are, to the
    bit, and test ranks do not."""
    real = load_bundle(dataset, root=None)
    trained: list[Trained] = []

    train_as_it_is = benchmark.core.train

    @functools.wraps(train_as_it_is)
    def train(*args: Any, **options: Any) -> Trained:
        trained.append(train_as_it_is(*args, **options))
        return trained[-1]

    monkeypatch.setattr(benchmark.core, "train", train)
    results = []
    for name, bundle in (("real", real), ("other", with_other_test_items(real))):
        monkeypatch.setattr(benchmark.run, "load_bundle", lambda *_, bundle=bundle, **__: bundle)
        results.append(run(smoke(model, dataset, steps=6, eval_every=3), [0, 1], tmp_path / name))
    targets = [hold_out(bundle, 20).test.target for bundle in (real, with_other_test_items(real))]
    assert (targets[0] != targets[1]).mean() > 0.9
    for left, right in zip(*results, strict=True):
        assert left.record.status == right.record.status == "ok"
        assert left.record.curves == right.record.curves
        assert equal(left.validation, right.validation)
        assert not np.array_equal(left.test.above, right.test.above)
    assert len(trained) == (0 if model == "EASE" else 2)
    if trained:
        left, right = (t.parameters for t in trained)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def numbered(items: int = 24) -> Catalogue:
    """A catalogue whose every value tells its item."""
    number = torch.arange(items + 1)
    values = number.float().unsqueeze(1)
    present = number % 3 > 0
    return Catalogue(
        items,
        Features(values, present, values.unsqueeze(1).repeat(1, 2, 1)),
        Features(10 * values, present.roll(1) & (number > 0)),
        {"genre": Attribute(number.unsqueeze(1), items), "brand": Attribute(number[:, None], 99)},
    )


def fed(
    features: str,
    *modalities: str,
    catalogue: Catalogue | None = None,
    often: Histories | None = None,
    seed: int = 0,
    permuted_share: float = 1.0,
) -> Catalogue:
    """often: what is trained on; each item once if not given."""
    catalogue = catalogue or numbered()
    n = catalogue.items
    often = often or Histories(np.arange(1, n + 1), np.array([0, n]))
    spec = RunSpec(
        dataset="toy", model="Toy", profile="smoke", implementation="baselines.sasrec:SASRec",
        modalities=modalities, protocol={
            "max_length": 50, "stride": 25, "features": features, "permuted_share": permuted_share,
        },
    )  # fmt: skip
    return apply_feature_control(catalogue, spec, often, seed)


def test_a_row_is_fed_its_own_modalities():
    whole = numbered()
    both, text, image = fed("real", "text", "image"), fed("real", "text"), fed("real", "image")
    for catalogue in (both, text):
        assert torch.equal(catalogue.text.values, whole.text.values)
        assert torch.equal(catalogue.text.layers, whole.text.layers)
    for catalogue in (both, image):
        assert torch.equal(catalogue.image.values, whole.image.values)
    assert text.image is None
    assert image.text is None
    for catalogue in (both, text, image):
        assert catalogue.items == whole.items
        assert catalogue.attributes.keys() == {"genre", "brand"}


def test_raw_features_are_as_the_encoder_made_them():
    """Values and layers of those that have the modality, by hand; attributes as they are."""
    whole = numbered()
    present = whole.text.present
    scaling = FeatureScaling(torch.tensor([7.0]).double(), torch.tensor([2.0]).double())
    layers = FeatureScaling(
        torch.tensor([[1.0], [5]]).double(), torch.tensor([[3.0], [4]]).double()
    )
    scaled = dataclasses.replace(whole.text, scaling=scaling, layer_scaling=layers)
    catalogue = dataclasses.replace(whole, text=scaled)
    raw = fed("raw", "text", catalogue=catalogue)
    number = torch.arange(25.0).unsqueeze(1)
    there = present.unsqueeze(1)
    assert torch.equal(raw.text.values, torch.where(there, 2 * number + 7, 0))
    assert torch.equal(raw.text.layers[:, 0], torch.where(there, 3 * number + 1, 0))
    assert torch.equal(raw.text.layers[:, 1], torch.where(there, 4 * number + 5, 0))
    assert torch.equal(raw.text.present, present)
    assert raw.image is None
    assert raw.attributes.keys() == {"genre", "brand"}
    # what has never been scaled is raw as it is
    assert torch.equal(fed("raw", "image").image.values, whole.image.values)


def test_without_features_nothing_is_left():
    assert fed("none", "text", "image") == Catalogue(24)


def test_permuted_features_are_a_permutation_of_the_items():
    """The same items' texts, layers, images, presence and attributes, under other ids; of every
    seed another one."""
    whole, permuted = numbered(240), fed("permuted", "text", "image", catalogue=numbered(240))
    order = permuted.text.values[:, 0].long()
    assert order[0] == 0
    assert sorted(order.tolist()) == list(range(241))
    assert (order[1:] != torch.arange(1, 241)).sum() > 120
    for name in ("text", "image"):
        left, right = permuted.features(name), whole.features(name)
        assert torch.equal(left.values, right.values[order])
        assert torch.equal(left.present, right.present[order])
    assert torch.equal(permuted.text.layers, whole.text.layers[order])
    assert permuted.image.layers is None
    for name, attribute in permuted.attributes.items():
        assert torch.equal(attribute.values, whole.attributes[name].values[order])
        assert attribute.size == whole.attributes[name].size
    torch.manual_seed(1)  # the global generator plays no part
    again = fed("permuted", "text", "image", catalogue=numbered(240))
    assert torch.equal(again.text.values[:, 0].long(), order)
    other = fed("permuted", "text", "image", catalogue=numbered(240), seed=1)
    assert not torch.equal(other.text.values[:, 0].long(), order)
    assert fed("permuted", "text").image is None


def test_permuted_images_leave_the_rest_where_it_is():
    whole, permuted = (
        numbered(240),
        fed("permuted-images", "text", "image", catalogue=numbered(240)),
    )
    assert torch.equal(permuted.text.values, whole.text.values)
    assert torch.equal(permuted.text.layers, whole.text.layers)
    for name, attribute in permuted.attributes.items():
        assert torch.equal(attribute.values, whole.attributes[name].values)
    order = (permuted.image.values[:, 0] / 10).long()
    assert sorted(order.tolist()) == list(range(241))
    assert (order[1:] != torch.arange(1, 241)).sum() > 120
    assert torch.equal(permuted.image.present, whole.image.present[order])


@pytest.mark.parametrize("features", ["permuted", "permuted-images"])
@pytest.mark.parametrize("seed", [0, 1])
def test_features_move_among_items_of_like_frequency_that_lack_the_same(features, seed):
    """By their definition: deciles of the rank by frequency, and what of text and image is there.
    The frequencies are skewed, with ties."""
    whole = numbered(240)
    drawn = np.random.default_rng(3).zipf(1.5, size=3000) % 240 + 1
    often = Histories(drawn, np.array([0, 3000]))
    permuted = fed(features, "text", "image", catalogue=whole, often=often, seed=seed)
    source = (permuted.image.values[1:, 0] / 10).long().numpy()
    count = np.bincount(drawn, minlength=241)[1:]
    rank = np.empty(240, np.int64)
    rank[np.argsort(count, kind="stable")] = np.arange(240)
    assert np.array_equal(rank * 10 // 240, (rank * 10 // 240)[source - 1])
    for name in ("text", "image"):
        present = whole.features(name).present[1:].numpy()
        assert np.array_equal(present, present[source - 1])
    assert (source != np.arange(1, 241)).mean() > 0.5


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_items_has_other_features(share):
    """No more than the share is moved, all within their stratum; of the others nothing changes."""
    whole = numbered(400)
    noisy = fed("permuted", "text", "image", catalogue=whole, permuted_share=share)
    source = (noisy.image.values[1:, 0] / 10).long()
    moved = source != torch.arange(1, 401)
    assert 0.6 * share < moved.double().mean() <= share
    assert sorted(source.tolist()) == list(range(1, 401))
    for name in ("text", "image"):
        present = whole.features(name).present[1:]
        assert torch.equal(present, present[source - 1])


def test_constant_features_tell_nothing_of_an_item():
    constant, whole = fed("constant", "text", "image"), numbered()
    for name in ("text", "image"):
        features = constant.features(name)
        assert features.values.shape == whole.features(name).values.shape
        assert not features.values[0].any()
        assert (features.values[1:] == 1).all()
        assert features.present.tolist() == [False] + [True] * whole.items
    assert (constant.text.layers[1:] == 1).all()
    assert not constant.attributes


def test_every_seed_is_fed_its_own_permutation(tmp_path, monkeypatch):
    """The features that the models of one call were built from."""
    seen = []

    train_as_it_is = benchmark.core.train

    @functools.wraps(train_as_it_is)
    def train(make: Any, *args: Any, **options: Any) -> Trained:
        seen.append(dict(make().named_buffers()))
        return train_as_it_is(make, *args, **options)

    monkeypatch.setattr(benchmark.core, "train", train)
    spec = smoke("SASRec (MM)", "ml-100k", "permuted-features", steps=1)
    for result in run(spec, [0, 5], tmp_path):
        assert result.record.status == "ok"
    real = load_bundle("ml-100k", root=None).text.values
    first, second = (next(b for b in buffers.values() if b.shape == real.shape) for buffers in seen)
    assert not torch.equal(first, real)
    assert not torch.equal(first, second)
    for table in (first, second):
        assert torch.equal(table.sort(0).values, real.sort(0).values)


# ---- how it fails -------------------------------------------------------------------------------


def test_a_model_that_cannot_be_built_is_a_failed_run(tmp_path, monkeypatch):
    """IISAN reads an encoder's layers; here are texts without them. Its next try is the whole."""
    real = load_bundle("beauty", root=None)
    bare = dataclasses.replace(real, text=dataclasses.replace(real.text, layers=None))
    spec, store = smoke("IISAN", steps=1), Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(benchmark.run, "load_bundle", lambda *_, **__: bare)
        records = run_seeds(spec, [0, 1], store)
    for seed, record in enumerate(records):
        stored = store.status(spec.key, seed)
        assert stored.status == record.status == "failed"
        assert stored.problem == record.message
        assert record.message.startswith("ValueError: IISAN adapts the states of an encoder's")
        assert record.identity == identity(hashes(spec, real.meta.data_hash), seed)
        assert store.read(spec.key, seed).test is None
    (planned,) = plan([spec], [0, 1], RunSet(store))
    assert planned.to_run() == [0, 1]
    (record,) = run_seeds(spec, [1], store)
    assert record.status == "ok"
    (planned,) = plan([spec], [0, 1], RunSet(store))
    assert planned.states == {0: "failed", 1: "complete"}


def test_settings_that_cannot_work_are_no_failed_run(tmp_path):
    spec = smoke("SASRec")
    absent = spec.model_copy(update={"dataset": "beauti"})
    window = spec.model_copy(
        update={"protocol": spec.protocol.model_copy(update={"max_length": 0})}
    )
    for bad, message in ((absent, "did you mean 'beauty'"), (window, "max_length is 0")):
        with pytest.raises(InputError, match=message):
            run_seeds(bad, [0], Store(tmp_path))
    assert not list(Store(tmp_path).scan())


def test_a_diverged_run_is_a_failed_run_with_its_curve(tmp_path):
    (result,) = run(smoke("SASRec", lr=1e30, clip=None), [0], tmp_path)
    assert result.record.status == "failed"
    assert "stopped being finite by step" in result.record.message
    assert result.record.curves.validation_steps[-1] == result.record.steps
    assert result.validation is None
    assert result.test is None


@dataclass(frozen=True)
class BrittleConfig(SASRecConfig):
    breaks_after: int = 0
    """An item."""


class Brittle(SASRec):
    """Scores NaN after one item, outside of training."""

    Config: ClassVar = BrittleConfig

    def forward(self, batch: Batch) -> Output:
        states = super().forward(batch).states
        broken = (batch.items == self.config.breaks_after).unsqueeze(-1) & (not batch.training)
        return Output(states.masked_fill(broken, torch.nan))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_nan_scores_in_either_split_are_a_failed_run(split, tmp_path):
    """The item ends a history of one split and none of the other."""
    sequences = hold_out(load_bundle("beauty", root=None), 20).first_users(USERS)
    ends = {
        name: set(queries.history[np.arange(USERS), (queries.history > 0).sum(1) - 1].tolist())
        for name, queries in (("validation", sequences.validation), ("test", sequences.test))
    }
    item = min(ends.pop(split) - next(iter(ends.values())))
    spec = smoke("SASRec")
    spec = spec.model_copy(
        update={
            "model": "Brittle",
            "implementation": f"{__name__}:Brittle",
            "config": spec.config | {"breaks_after": item},
        }
    )
    results = run(spec, [0, 1], tmp_path)
    for result in results:
        assert result.record.status == "failed"
        assert result.validation is None
        assert result.test is None
        expected = "scores NaN for" if split == "test" else "stopped being finite by step 6"
        assert expected in result.record.message


# ---- how it goes on -----------------------------------------------------------------------------

KILLED_AT = 7
DRIVER = """
import os, signal, sys
from pathlib import Path
import torch
from benchmark.runs.spec import RunSpec
from benchmark.run import run_seeds
from benchmark.runs.store import Store

torch.set_num_threads(1)

def watch(progress):
    if progress.step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

spec = RunSpec.model_validate_json(sys.stdin.read())
run_seeds(spec, [0, 3], Store(Path(sys.argv[1])), watch=watch)
"""


def test_a_killed_run_goes_on_where_its_checkpoint_was(tmp_path):
    """A process that is killed between its first and second of three evaluations; the first writes
    a checkpoint, since there is none. To the bit, two seeds at once."""
    spec = smoke("SASRec", eval_every=4)
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "killed"), str(KILLED_AT)],
        input=spec.model_dump_json(),
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = Store(tmp_path / "killed")
    assert not list(store.scan())
    (checkpoint,) = (store.root / ".checkpoints").glob("*.pt")
    steps: dict[str, list[int]] = {"killed": [], "whole": []}
    results = {
        name: run(spec, [0, 3], tmp_path / name, watch=lambda p, at=at: at.append(p.step))
        for name, at in steps.items()
    }
    assert steps == {"killed": list(range(5, STEPS + 1)), "whole": list(range(1, STEPS + 1))}
    assert not checkpoint.exists()
    for left, right in zip(*results.values(), strict=True):
        assert left.record.status == "ok"
        assert equal(left.validation, right.validation)
        assert equal(left.test, right.test)
        different = {"started", "timings", "peak_memory", "sha256"}
        kept, whole = (
            json.loads(r.record.model_dump_json(exclude=different)) for r in (left, right)
        )
        assert kept == whole


class Interrupted(BaseException):
    """Not an Exception, which would be stored as a failed run."""


def interrupted(spec: RunSpec, seed: int, store: Store, at: int) -> Path:
    """Stop a run at a step; its checkpoint."""

    def watch(progress):
        if progress.step == at:
            raise Interrupted

    before = set((store.root / ".checkpoints").glob("*.pt"))
    with pytest.raises(Interrupted):
        run_seeds(spec, [seed], store, watch=watch)
    (path,) = set((store.root / ".checkpoints").glob("*.pt")) - before
    return path


def test_a_damaged_checkpoint_is_named_and_training_starts_anew(tmp_path):
    spec, store, said = smoke("SASRec", eval_every=4), Store(tmp_path / "damaged"), []
    checkpoint = interrupted(spec, 0, store, KILLED_AT)
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[:-100] + bytes([data[-100] ^ 4]) + data[-99:])
    (left,) = run(spec, [0], store.root, note=said.append)
    (right,) = run(spec, [0], tmp_path / "whole")
    assert equal(left.test, right.test)
    (line,) = said
    assert line.startswith(f"{checkpoint}.unusable: a checkpoint that is damaged")


def test_checkpoints_of_runs_that_are_stale_or_finished_are_swept(tmp_path):
    """What is left of a run with other settings and of one that another process has finished."""
    spec, store = smoke("SASRec", eval_every=4), Store(tmp_path)
    other = interrupted(smoke("SASRec", eval_every=3), 0, store, 5)
    assert other.exists()
    finished = interrupted(spec, 0, store, KILLED_AT)
    assert not other.exists()
    kept = finished.read_bytes()
    run(spec, [0], store.root)
    finished.write_bytes(kept)
    unfinished = interrupted(spec, 1, store, KILLED_AT)
    assert not finished.exists()
    run(smoke("GRU4Rec"), [0], store.root)
    assert list(unfinished.parent.iterdir()) == [unfinished]


def test_the_record_of_a_model_that_fails_keeps_its_traceback(tmp_path, monkeypatch):
    """The message is one line, and the traceback names the model's own line."""

    def forward(self, batch):
        raise RuntimeError("first line\nsecond [line]")

    monkeypatch.setattr(SASRec, "forward", forward)
    monkeypatch.setattr(benchmark.run, "_preflight", lambda *_: None)
    (result,) = run(smoke("SASRec"), [0], tmp_path)
    record = result.record
    assert (record.status, record.message) == ("failed", "RuntimeError: first line second [line]")
    assert 'raise RuntimeError("first line\\nsecond [line]")' in record.traceback
    assert f'File "{__file__}"' in record.traceback
    assert run(smoke("GRU4Rec"), [0], tmp_path)[0].record.traceback == ""
