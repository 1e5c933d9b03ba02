"""Bundles: counts, numbering, checksums, hashes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.data.bundle import (
    Bundle,
    attach_features,
    build_bundle,
    load_bundle,
)
from benchmark.data.config import Counts, dataset_config, dataset_names
from benchmark.data.content import data_hash, encode_attribute
from benchmark.data.features import own_features, read_features
from benchmark.data.own import import_dataset
from benchmark.errors import InputError


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    """Three users, four items, written to tmp_path/data/small."""
    csv = tmp_path / "small.csv"
    rows = ["b,x,3", "a,y,1", "b,z,1", "a,x,2", "c,x,1", "c,w,1", "b,y,2", "a,z,3", "c,z,1"]
    csv.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    items = tmp_path / "items.csv"
    items.write_text("id,title,colour\nx,Ex,red|blue\ny,Why,\nz,Zed,blue\nq,unused,green\n")
    return import_dataset("small", csv, items=items, core=None, root=tmp_path / "data")


def test_numbering_and_order(small: Bundle) -> None:
    """Numbers follow first appearance; ties (user c) keep the file's order."""
    assert small.items["id"].tolist() == ["x", "y", "z", "w"]
    items, offsets = small.sequences()
    assert offsets.tolist() == [0, 3, 6, 9]
    assert items.tolist() == [3, 2, 1, 2, 1, 3, 1, 4, 3]
    assert small.interactions["position"].tolist() == [0, 1, 2] * 3


def test_attributes_have_numbers_and_missing_ones_none(small: Bundle) -> None:
    """Values in alphabetical order from 1; an item without a value, or undescribed, has zeros."""
    colour = small.catalogue().attributes["colour"]
    assert colour.size == 2  # the unused item's green is not part of the dataset
    assert colour.values.tolist() == [[0, 0], [2, 1], [0, 0], [1, 0], [0, 0]]
    assert encode_attribute(pd.Series(["", ""])).size == 0


@pytest.mark.parametrize("name", dataset_names())
def test_configurations_are_valid(name: str) -> None:
    config = dataset_config(name)
    assert config.interactions
    assert config.licence
    assert config.expected is not None


def test_counts_of_the_papers_datasets(beauty: Bundle, ml_100k: Bundle) -> None:
    assert beauty.meta.counts == Counts(users=4_322, items=2_423, interactions=60_276)
    assert ml_100k.meta.counts == Counts(users=943, items=1_349, interactions=99_287)
    for bundle, k in ((beauty, 7), (ml_100k, 5)):
        assert bundle.interactions.groupby("user").size().min() >= k
        assert bundle.interactions.groupby("item").size().min() >= k
        assert sorted(bundle.interactions["item"].unique()) == list(range(1, bundle.n_items + 1))


def test_movielens_1m_is_complete(ml_1m: Bundle) -> None:
    """Every movie has a text and a poster; nobody's ratings of the others are left."""
    assert ml_1m.meta.counts == Counts(users=5_867, items=1_462, interactions=485_869)
    assert ml_1m.interactions.groupby("user").size().min() == 5
    assert ml_1m.interactions.groupby("item").size().min() >= 5
    assert ml_1m.text is not None
    assert ml_1m.image is not None
    assert ml_1m.text.present[1:].all()
    assert ml_1m.image.present[1:].all()
    assert (ml_1m.items["text"] != "").all()
    assert (ml_1m.items["genre"] != "").all()
    assert any("1,000,209 interactions with 3,706 items" in r for r in ml_1m.meta.remarks)


def test_movielens_1m_as_shipped_is_that_of_the_raw_folder(
    ml_1m: Bundle, raw: Path, tmp_path: Path
) -> None:
    """Raw: the plots of MovieLens-100k's movies. The ratings are those that are here already."""
    folder = tmp_path / "raw" / "ml-1m"
    folder.mkdir(parents=True)
    (folder / "ml-1m.inter").symlink_to(ml_1m.path.parent / "raw" / "ml-1m" / "ml-1m.inter")
    built = build_bundle("ml-1m", root=tmp_path, raw=raw)
    assert "ml-100k/items.csv" in built.meta.inputs
    assert built.meta.data_hash == ml_1m.meta.data_hash
    pd.testing.assert_frame_equal(built.items, ml_1m.items)


def test_features_of_the_papers_datasets(beauty: Bundle, ml_100k: Bundle) -> None:
    """Every modality has three layers; Beauty has no pictures, seven of ML-100k's movies none."""
    assert beauty.image is None
    assert beauty.text is not None
    assert ml_100k.text is not None
    assert ml_100k.image is not None
    for bundle, features, width, wide in (
        (beauty, beauty.text, 384, 384),
        (ml_100k, ml_100k.text, 384, 384),
        (ml_100k, ml_100k.image, 1280, 320),
    ):
        assert features.values.shape == (bundle.n_items + 1, width)
        assert features.layers is not None
        assert features.layers.shape == (bundle.n_items + 1, 3, wide)
        assert features.values.dtype == features.layers.dtype == torch.float32
        assert not features.present[0]
        assert not features.values[~features.present].any()
        assert not features.layers[~features.present].any()
    assert int(ml_100k.image.present.sum()) == 1_342
    assert ml_100k.text.present[1:].all()
    assert beauty.text.present[1:].all()


def test_shipped_text_features_are_unit_vectors(beauty: Bundle) -> None:
    """all-MiniLM-L6-v2 is normalised; float16 rounds 384 entries by 2^-11 each at most."""
    assert beauty.text is not None
    assert torch.allclose(beauty.text.raw().values[1:].norm(dim=1), torch.ones(2_423), atol=2**-11)


def test_nearest_neighbours_share_attributes(beauty: Bundle, ml_100k: Bundle) -> None:
    """The features mean something: nearest neighbours' attributes overlap (mean Jaccard) far more
    than random pairs' do. Measured: 0.77 against 0.08 for Beauty's categories, 0.43 (text) and 0.27
    (image) against 0.16 for ML-100k's genres."""
    generator = np.random.default_rng(0)
    for bundle, modality, attribute, factor in (
        (beauty, "text", "category", 8),
        (ml_100k, "text", "genre", 2),
        (ml_100k, "image", "genre", 1.4),
    ):
        features = bundle.catalogue().features(modality)  # type: ignore[arg-type]
        assert features is not None
        rows = features.present.nonzero().squeeze(1)
        unit = torch.nn.functional.normalize(features.values[rows], dim=1)
        nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(1).numpy()
        sets = [set(bundle.items[attribute].iloc[int(row) - 1].split("|")) for row in rows]
        random = generator.permutation(len(sets))

        def overlap(other: np.ndarray, sets: list[set[str]] = sets) -> float:
            pairs = [(a, sets[j]) for a, j in zip(sets, other, strict=True)]
            return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))

        assert overlap(nearest) > factor * overlap(random)


def test_the_hash_is_of_what_models_see(small: Bundle, tmp_path: Path) -> None:
    """Paths, names, titles and the unit of time are not seen; order, attributes, features are."""
    again = import_dataset(
        "other",
        _rewritten(tmp_path, "timestamp", lambda t: t * 1000),
        items=_items(tmp_path, "Ex", "Another title"),
        core=None,
        root=tmp_path / "elsewhere",
    )
    assert again.meta.data_hash == small.meta.data_hash
    reordered = _rewritten(tmp_path, "timestamp", lambda t: -t)
    recoloured = _items(tmp_path, "red", "pink")
    for csv, items in ((reordered, tmp_path / "items.csv"), (tmp_path / "small.csv", recoloured)):
        other = import_dataset("third", csv, items=items, core=None, root=tmp_path / "elsewhere")
        # `red` sorts after `blue`, as `pink` does: equal numbers, and the model sees numbers
        expected = items == recoloured
        assert (other.meta.data_hash == small.meta.data_hash) is expected
    values = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "text.npy", values)
    table = own_features(tmp_path / "text.npy", list(small.items["id"]))
    attached = attach_features(small, "text", table)
    assert attached.meta.data_hash != small.meta.data_hash
    assert load_bundle("small", root=tmp_path / "data").meta == attached.meta


def _rewritten(folder: Path, column: str, change: object) -> Path:
    frame = pd.read_csv(folder / "small.csv")
    frame[column] = frame[column].map(change)
    frame.to_csv(folder / f"changed-{column}.csv", index=False)
    return folder / f"changed-{column}.csv"


def _items(folder: Path, old: str, new: str) -> Path:
    path = folder / f"items-{new}.csv".replace(" ", "-")
    path.write_text((folder / "items.csv").read_text().replace(old, new))
    return path


def test_the_stored_hash_can_be_recomputed(ml_100k: Bundle) -> None:
    tables = {m: read_features(ml_100k.path / f"{m}.safetensors") for m in ("text", "image")}
    found = data_hash(ml_100k.interactions, ml_100k.items, tables)  # type: ignore[arg-type]
    assert found == ml_100k.meta.data_hash


@pytest.mark.parametrize("file", ["interactions.parquet", "items.parquet"])
def test_a_damaged_file_is_named(small: Bundle, file: str) -> None:
    path = small.path / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{file}: missing or damaged.*delete the folder"):
        load_bundle("small", root=small.path.parent)


def test_damaged_metadata_are_named(small: Bundle) -> None:
    (small.path / "bundle.json").write_text("{")
    with pytest.raises(InputError, match=r"bundle.json: damaged"):
        load_bundle("small", root=small.path.parent)


def test_a_bundle_of_an_older_recipe_is_built_again(tmp_path: Path) -> None:
    built = build_bundle("beauty", root=tmp_path)
    meta = json.loads((built.path / "bundle.json").read_text())
    for key, value in (("order", "exact"), ("filter", "none"), ("version", 0)):
        (built.path / "bundle.json").write_text(json.dumps({**meta, key: value}))
        again = load_bundle("beauty", root=tmp_path).meta
        assert getattr(again, key) == getattr(built.meta, key)
        assert again.data_hash == built.meta.data_hash


def test_those_who_come_together_build_once(tmp_path: Path) -> None:
    def load(_: int) -> int:
        bundle = load_bundle("beauty", root=tmp_path)
        return (bundle.path / "bundle.json").stat().st_ino

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load, range(4)))) == 1


def test_unknown_dataset_has_its_nearest_name(small: Bundle) -> None:
    with pytest.raises(InputError, match="'beuaty'; did you mean 'beauty'"):
        load_bundle("beuaty", root=small.path.parent)
    with pytest.raises(InputError, match="'smal'; did you mean 'small'"):
        load_bundle("smal", root=small.path.parent)
    with pytest.raises(InputError, match="unknown dataset 'ml100k'"):
        build_bundle("ml100k", root=small.path.parent)


def test_a_source_with_other_counts_is_refused(tmp_path: Path) -> None:
    """A raw file that lost its second half still parses; the counts tell."""
    folder = tmp_path / "raw" / "microlens-50k"
    folder.mkdir(parents=True)
    (folder / "MicroLens-50k_pairs.tsv").write_text("1\t5 6 7\n2\t5 6 8\n")
    with pytest.raises(InputError, match=r"2 users, 4 items, 6 interactions, expected 50,000"):
        build_bundle("microlens-50k", root=tmp_path / "data", raw=tmp_path / "raw")


@pytest.mark.parametrize(
    ("name", "counts"),
    [("beauty-5core", (22_363, 12_101, 198_502)), ("microlens-50k", (46_420, 14_079, 332_730))],
)
def test_datasets_of_the_raw_folder(
    raw: Path, tmp_path: Path, name: str, counts: tuple[int, int, int]
) -> None:
    bundle = build_bundle(name, root=tmp_path, raw=raw)
    users, items, interactions = counts
    assert bundle.meta.counts == Counts(users=users, items=items, interactions=interactions)
    assert (bundle.items["text"] != "").mean() > 0.999
