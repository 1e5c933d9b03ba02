"""Features centred and scaled: against numpy in float64, and what must not change them."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmark.data.bundle import attach_features, load_bundle
from benchmark.data.content import Bundle, data_hash
from benchmark.data.features import FeatureTable, Provenance, read_features, write_features
from benchmark.data.own import import_dataset
from benchmark.data.scaling import Scaling, fit_scaling
from benchmark.errors import InputError
from findrec.recommender import Features

ABOUT = Provenance(encoder="made-up", model="none", created=date(2026, 1, 2))
RANDOM = np.random.default_rng(0)


def table(*, items: int = 40, missing: int = 3) -> FeatureTable:
    """Values and two layers of other widths, means and sizes; the first items lack the modality."""
    arrays = [
        (size * RANDOM.normal(size=(items, width)) + shift * RANDOM.normal(size=width)).astype(kind)
        for width, size, shift, kind in (
            (6, 17.0, 30.0, np.float16),
            (4, 0.1, 0.0, np.float32),
            (5, 2.0, 9.0, np.float64),
        )
    ]
    return FeatureTable(
        [f"i{k}" for k in range(items)],
        arrays[0],
        np.arange(items) >= missing,
        tuple(arrays[1:]),
        ABOUT,
    )


def arrays_of(features: Features) -> list[tuple[torch.Tensor, int]]:
    """Values and each layer; a layer's width is where its last entry that is not zero stands."""
    found = [(features.values, features.values.shape[1])]
    assert features.layers is not None
    for layer in features.layers.unbind(1):
        found.append((layer, int(layer.any(0).nonzero().max()) + 1))
    return found


def test_every_modality_and_layer_has_mean_0_and_rms_1(beauty: Bundle, ml_100k: Bundle) -> None:
    """Of the real datasets, over the items that have the modality. An entry is rounded to float32
    once, by 2^-24 of its size at most, and the largest are below 16."""
    for features in (beauty.text, ml_100k.text, ml_100k.image):
        assert features is not None
        for array, width in arrays_of(features):
            real = array[features.present, :width].double()
            assert real.mean(0).abs().max() < 16 * 2**-24
            assert abs(float(real.square().mean().sqrt()) - 1) < 2**-24
            assert real.abs().max() < 16
            assert not array[~features.present].any()
            assert not array[:, width:].any()


def test_constants_are_numpys() -> None:
    """Sums of 10^4 numbers in float64: numpy's pairwise ones are good to 1e-14."""
    raw = 3 + 17 * RANDOM.normal(size=(300, 40))
    fitted = fit_scaling(raw)
    assert np.allclose(fitted.mean, raw.mean(0), rtol=1e-13, atol=1e-13)
    assert fitted.scale == pytest.approx((raw - raw.mean(0)).std(), rel=1e-13)
    expected = (raw - raw.mean(0)) / (raw - raw.mean(0)).std()
    assert np.allclose(fitted.apply(raw), expected, rtol=2**-23, atol=0)


def test_missing_items_have_no_say() -> None:
    """Whatever their rows hold, the constants are those of the others, and they are zero."""
    whole = table()
    values = whole.values.copy()
    values[~whole.present] = 999
    other = replace(whole, values=values).fitted()
    assert other.scaling[0].scale == whole.fitted().scaling[0].scale
    features = other.features()
    assert torch.equal(features.values, whole.fitted().features().values)
    assert not features.values[:4].any()
    assert not features.raw().values[:4].any()
    assert features.layers is not None
    assert not features.layers[:4].any()


def test_raw_features_come_back() -> None:
    """Scaled values and the result are rounded to float32 once each: 2^-24 of the largest entries,
    deviation (times the scale) and value."""
    whole = table()
    back = whole.fitted().features().raw()
    plain = whole.features()
    assert back.scaling is None
    assert back.layer_scaling is None
    assert torch.equal(back.present, plain.present)
    assert (back.values - plain.values).abs().max() < 3 * 2**-24 * plain.values.abs().max()
    assert back.layers is not None
    assert plain.layers is not None
    assert back.layers.shape == plain.layers.shape
    for k in range(2):
        error = (back.layers[:, k] - plain.layers[:, k]).abs().max()
        assert error < 3 * 2**-24 * plain.layers[:, k].abs().max()


def test_raw_features_of_the_real_datasets(beauty: Bundle, ml_100k: Bundle) -> None:
    """What the models' raw features are is what the files hold."""
    for bundle, modality in ((beauty, "text"), (ml_100k, "text"), (ml_100k, "image")):
        features = bundle.catalogue().features(modality)  # type: ignore[arg-type]
        assert features is not None
        file = read_features(bundle.path / f"{modality}.safetensors")
        expected = torch.from_numpy(file.values.astype(np.float32))
        error = (features.raw().values[1:] - expected).abs().max()
        assert error < 3 * 2**-24 * expected.abs().max()


def test_the_encoders_units_do_not_matter() -> None:
    """A x + b has the scaled values of x; ratios of distances are the encoder's."""
    raw = RANDOM.normal(size=(50, 8))
    scaled = fit_scaling(raw).apply(raw)
    other = 64 * raw + RANDOM.normal(size=8)
    assert np.allclose(fit_scaling(other).apply(other), scaled, rtol=0, atol=1e-6)

    def distances(rows: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.linalg.norm(rows[1:] - rows[0], axis=1)

    ratio = distances(scaled) / distances(raw)
    assert np.allclose(ratio, ratio[0], rtol=1e-5)


def test_permuting_before_and_after_is_the_same() -> None:
    """To the last bit, since sums are rounded once: constants do not know the items' order."""
    whole = table()
    order = RANDOM.permutation(len(whole.ids))
    permuted = whole.select([whole.ids[k] for k in order])
    for before, after in zip(whole.fitted().scaled(), permuted.fitted().scaled(), strict=True):
        assert np.array_equal(before[order], after)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-30])
@pytest.mark.parametrize("items", [0, 1, 7])
def test_features_that_tell_nothing_are_zero(value: float, items: int) -> None:
    raw = np.full((items, 3), value, dtype=np.float32)
    fitted = fit_scaling(raw)
    assert fitted.scale == 1
    # the mean of seven equal numbers is rounded once, in float64
    assert np.allclose(fitted.apply(raw), 0, rtol=0, atol=2**-50 * abs(value))


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1.0, 3e38])
def test_whatever_float32_can_hold_is_scaled(size: float) -> None:
    raw = (size * RANDOM.uniform(-1, 1, size=(9, 4))).astype(np.float32)
    raw[0], raw[1] = size, -size
    scaled = fit_scaling(raw).apply(raw)
    assert np.isfinite(scaled).all()
    assert np.sqrt(np.square(scaled.astype(np.float64)).mean()) == pytest.approx(1, abs=1e-6)


def test_constants_are_on_disk_beside_raw_values(tmp_path: Path) -> None:
    whole = table().fitted()
    write_features(tmp_path / "x.safetensors", whole)
    tensors = load_file(tmp_path / "x.safetensors")
    assert np.array_equal(tensors["values"], whole.values)
    assert np.array_equal(tensors["layers.1.mean"], whole.scaling[2].mean)
    read = read_features(tmp_path / "x.safetensors")
    for ours, theirs in zip(read.scaling, whole.scaling, strict=True):
        assert np.array_equal(ours.mean, theirs.mean)
        assert ours.scale == theirs.scale
    assert torch.equal(read.features().values, whole.features().values)


@pytest.mark.parametrize(
    "constants",
    [Scaling(np.zeros(6), 0.0), Scaling(np.zeros(6), np.nan), Scaling(np.zeros(5), 1.0)],
)
def test_damaged_constants_are_refused(tmp_path: Path, constants: Scaling) -> None:
    whole = table().fitted()
    broken = replace(whole, scaling=(constants, *whole.scaling[1:]))
    with pytest.raises(InputError, match="constants that values is centred and scaled by are dam"):
        write_features(tmp_path / "x.safetensors", broken)


def test_a_file_that_lacks_a_constant_is_refused(tmp_path: Path) -> None:
    whole = table().fitted()
    with pytest.raises(InputError, match="constants of 3 arrays are expected, and there are 2"):
        write_features(tmp_path / "x.safetensors", replace(whole, scaling=whole.scaling[:2]))


@pytest.fixture
def own(tmp_path: Path) -> Bundle:
    rows = "".join(f"u{u},{i},{10 * u + i}\n" for u in range(4) for i in range(4))
    (tmp_path / "x.csv").write_text("user,item,timestamp\n" + rows)
    values = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 4.0], [np.nan, 9.0]])
    np.savez(tmp_path / "text.npz", values=values, ids=list("0123"), mask=[True, True, True, False])
    return import_dataset(
        "own",
        tmp_path / "x.csv",
        features={"text": tmp_path / "text.npz"},
        core=3,
        root=tmp_path / "data",
    )


def test_a_users_own_features_by_hand(own: Bundle) -> None:
    """Mean (3, 4/3); squares of deviations 4 + 0 + 4 and 16/9 + 16/9 + 64/9 over six entries."""
    scale = np.sqrt((8 + 96 / 9) / 6)
    expected = np.array([[-2, -4 / 3], [0, -4 / 3], [2, 8 / 3], [0, 0]]) / scale
    assert own.text is not None
    assert np.allclose(own.text.values[1:].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_the_hash_is_of_scaled_features(own: Bundle) -> None:
    """Other constants are other data for a model, and shifted features are not."""
    file = read_features(own.path / "text.safetensors")
    for other, same in (
        (file, True),
        (replace(file, scaling=()), False),
        (replace(file, values=4 * file.values + 64).fitted(), True),
        (replace(file, scaling=(Scaling(file.scaling[0].mean, 2.0),)), False),
    ):
        found = data_hash(own.interactions, own.items, {"text": other})
        assert (found == own.meta.data_hash) is same


def test_attached_features_are_scaled_and_kept_so(own: Bundle) -> None:
    values = np.array([[1.0], [2], [3], [6]], dtype=np.float16)
    about = Provenance(encoder="e", model="m", packages={"x": "1"}, created=date(2026, 1, 2))
    given = FeatureTable(list("0123"), values, np.ones(4, bool), (), about)
    attached = attach_features(own, "image", given)
    expected = torch.tensor([[-2.0], [-1], [0], [3]]) / (14 / 4) ** 0.5
    for bundle in (attached, load_bundle("own", root=own.path.parent)):
        assert bundle.image is not None
        assert torch.allclose(bundle.image.values[1:], expected, rtol=1e-6)


def test_own_data_of_an_older_format_are_to_be_imported_again(own: Bundle) -> None:
    path = own.path / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(InputError, match=r"of format 2, .* reads format 3; .*import your files ag"):
        load_bundle("own", root=own.path.parent)
