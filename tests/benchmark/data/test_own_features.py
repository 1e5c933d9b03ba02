"""A user's own feature arrays: which item a row belongs to, every dtype read right or refused."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.data.bundle import load_bundle
from benchmark.data.content import Bundle
from benchmark.data.features import own_features, read_features, write_features
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
from findrec.recommender import Features

IDS = [f"{k}" for k in range(5, 11)]
VALUES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "x.csv"
    rows = [f"u{u},{i},{10 * u + k}" for u in range(4) for k, i in enumerate(IDS)]
    path.write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    return path


def load(csv: Path, image: Path, items: Path | None = None) -> Bundle:
    root = csv.parent / "data"
    return import_dataset("own", csv, items=items, features={"image": image}, core=3, root=root)


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "x.npz", **arrays)  # type: ignore[arg-type]
    return folder / "x.npz"


def image(bundle: Bundle) -> Features:
    assert bundle.image is not None
    return bundle.image


def test_ids_of_the_file_need_no_items(csv: Path) -> None:
    order = np.random.default_rng(1).permutation(6)
    path = npz(csv.parent, values=VALUES[order], ids=np.array(IDS)[order])
    features = image(load(csv, path))
    assert features.present.tolist() == [False] + [True] * 6
    file = csv.parent / "data" / "own" / "image.safetensors"
    assert np.array_equal(read_features(file).values, VALUES)
    # float32 rounds the scaled values and the result once each
    assert torch.allclose(features.raw().values[1:], torch.from_numpy(VALUES), rtol=0, atol=4e-7)


def test_features_of_items_that_are_not_described(csv: Path) -> None:
    """The file's own ids count, not those of the descriptions."""
    (csv.parent / "items.csv").write_text("id,title\n5,Five\n")
    path = npz(csv.parent, values=VALUES, ids=np.array(IDS))
    assert image(load(csv, path, csv.parent / "items.csv")).present.sum() == 6


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([float(i) for i in IDS]), r"`ids` has shape \(6,\) and type float64"),
        (np.array([i.encode() for i in IDS]), r"`ids` has shape \(6,\) and type \|S2"),
        (np.array([f"{i}.jpg" for i in IDS]), r"6 of 6 ids match only if file endings"),
        (np.array([f"{i}.0" for i in IDS]), r"6 of 6 ids match only if decimal places"),
        (np.array(IDS)[:, None], r"`ids` has shape \(6, 1\)"),
        (np.array([*IDS[:-1], IDS[0]]), r"id '5' has several rows; keep one row an item"),
        (np.array(["a", "b", "c", "d", "e", "f"]), r"none of its 6 ids occurs"),
        (np.array(IDS[:-1]), r"values has 6 rows for 5 items"),
        (np.array(IDS, dtype=object), r"it holds Python objects, which are not loaded"),
    ],
)
def test_ids_that_are_refused(csv: Path, ids: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=rf"x.npz: .*{message}"):
        load(csv, npz(csv.parent, values=VALUES, ids=ids))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floating_point_of_every_kind(tmp_path: Path, dtype: str, order: str) -> None:
    """Byte order and memory order are undone, on disk as well; float16 rounds by 2^-11 at most."""
    values = np.asarray(VALUES.astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "x.npy", values)
    table = own_features(tmp_path / "x.npy", IDS)
    write_features(tmp_path / "x.safetensors", table)
    read = read_features(tmp_path / "x.safetensors").features().values[1:]
    tolerance = 2**-11 if "f2" in dtype else 0
    assert torch.allclose(read, torch.from_numpy(VALUES), rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float16])
def test_short_floats_of_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    short = torch.from_numpy(VALUES).to(dtype)
    save_file({"values": short}, tmp_path / "x.safetensors")
    table = own_features(tmp_path / "x.safetensors", IDS)
    assert torch.equal(table.features().values[1:], short.float())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES.astype(np.int64), "type int64"),
        (VALUES.astype(complex), "type complex128"),
        (VALUES.astype(np.longdouble), f"type {np.dtype(np.longdouble)}"),
        (VALUES.astype(object), "it holds Python objects, which are not loaded"),
        (VALUES.astype(str), "type <U"),
        (VALUES.astype(np.float16).view("V2"), r"type \|V2"),  # bfloat16, as numpy keeps it
        (np.zeros((6, 3), [("a", "f4")]), "type .*'a'"),
        (np.zeros((6, 0), np.float32), r"shape \(6, 0\)"),
        (np.zeros((0, 3), np.float32), "has 0 rows for 6 items"),
        (np.float32(3), r"shape \(\)"),
        (np.where(np.arange(18).reshape(6, 3) == 7, 1e39, 0), r"row 2 .*holds 1e\+39, beyond the"),
        (np.where(np.arange(18).reshape(6, 3) == 7, np.nan, 0), r"row 2 \(item '7'\) holds NaN"),
        (np.where(np.arange(18).reshape(6, 3) == 7, -np.inf, 0), r"row 2 \(item '7'\) holds NaN"),
    ],
)
def test_values_that_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match=rf"x.npy: .*{message}"):
        own_features(tmp_path / "x.npy", IDS)


def test_what_the_mask_leaves_out_is_not_read(csv: Path) -> None:
    values = VALUES.copy()
    values[2] = np.nan
    values[3] = np.inf
    mask = np.array([1, 1, 0, 0, 1, 1])
    features = image(load(csv, npz(csv.parent, values=values, ids=np.array(IDS), mask=mask)))
    assert features.present.tolist() == [False, *mask.astype(bool)]
    assert torch.isfinite(features.values).all()
    assert not features.values[[3, 4]].any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(6, bool), "the mask leaves out every row"),
        (np.ones(5, bool), r"the mask has shape \(5,\)"),
        (np.ones((6, 1), bool), r"the mask has shape \(6, 1\)"),
        (np.array([1, 0, np.nan, 1, 1, 1]), "the mask has .*float64"),
        (np.array([1, 0, 2, 1, 1, 1]), "the mask has .*int64"),
    ],
)
def test_masks_that_are_refused(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_features(npz(tmp_path, values=VALUES, mask=mask), IDS)


def test_a_bundles_own_feature_file(csv: Path) -> None:
    """Its header has ids and its mask another name: rows still go to their items."""
    first = load(csv, npz(csv.parent, values=VALUES, ids=np.array(IDS), mask=np.arange(6) != 2))
    moved = csv.parent / "image.safetensors"
    moved.write_bytes((first.path / "image.safetensors").read_bytes())
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")  # other numbers for the items
    again = load(csv, moved)
    assert again.items["id"].tolist() == first.items["id"].tolist()[::-1]
    assert torch.equal(image(again).values[1:], image(first).values[1:].flip(0))
    assert torch.equal(image(again).present[1:], image(first).present[1:].flip(0))


def test_damaged_archives(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, values=VALUES, ids=np.array(IDS))
    good = stream.getvalue()
    path = tmp_path / "x.npz"
    for end in (0, 3, len(good) // 2, len(good) - 5):
        path.write_bytes(good[:end])
        with pytest.raises(InputError, match=r"x.npz: not readable as .npz"):
            own_features(path, IDS)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", b"junk")
    with pytest.raises(InputError, match=r"x.npz: "):
        own_features(path, IDS)
    path = tmp_path / "x.safetensors"
    head = json.dumps({"values": {"dtype": "F4", "shape": [6, 3], "data_offsets": [0, 9]}})
    path.write_bytes(struct.pack("<Q", len(head)) + head.encode() + bytes(9))
    with pytest.raises(InputError, match=r"x.safetensors: not readable as .safetensors"):
        own_features(path, IDS)
    with pytest.raises(InputError, match=r"x.safetensors: no tensors"):
        read_features(path)
    with pytest.raises(InputError, match=r"x.csv: features come as"):
        own_features(tmp_path / "x.csv", IDS)


def test_the_count_of_matches_is_told(csv: Path) -> None:
    from benchmark.data.report import import_report

    path = npz(csv.parent, values=VALUES[:4], ids=np.array([*IDS[:3], "unknown"]))
    bundle = load(csv, path)
    assert "image features 3/6 (x.npz)" in import_report(bundle)
    assert load_bundle("own", root=csv.parent / "data").meta == bundle.meta
