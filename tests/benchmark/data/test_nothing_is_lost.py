"""What a build may replace, what it keeps, and that damage to a bundle's metadata is found."""

import json
import random
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.bundle import attach_features, build_bundle, load_bundle
from benchmark.data.content import Bundle, data_hash
from benchmark.data.features import FeatureTable, Provenance, read_features
from benchmark.data.meta import BundleMeta, is_current, meta_bytes, read_meta
from benchmark.data.own import import_dataset
from benchmark.errors import InputError

ROWS = "".join(f"u{u},{i},{10 * u + i}\n" for u in range(4) for i in range(4))
ITEMS = "id,title,text\n" + "".join(f"{i},T{i},about {i}\n" for i in range(4))
ENCODED = Provenance(encoder="made-up", model="m", packages={"x": "1"}, created=date(2026, 1, 2))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "x.csv"
    path.write_text("user,item,timestamp\n" + ROWS)
    (tmp_path / "items.csv").write_text(ITEMS)
    return path


def load(csv: Path, name: str = "own", **options: object) -> Bundle:
    options = {"core": 3, "root": csv.parent / "data", "items": csv.parent / "items.csv"} | options
    return import_dataset(name, csv, **options)  # type: ignore[arg-type]


def held(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_with_other_files_is_not_replaced(csv: Path) -> None:
    folder = csv.parent / "data" / "own"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "1.jpg").write_bytes(b"x")
    inside = folder / "shop.csv"
    inside.write_text(csv.read_text())
    before = held(folder)
    for path in (csv, inside):
        with pytest.raises(InputError, match=r"own: holds what is no part of a dataset .*: pict"):
            import_dataset("own", path, root=csv.parent / "data")
    assert held(folder) == before


def test_a_bundle_with_other_files_is_not_replaced(csv: Path) -> None:
    bundle = load(csv)
    (bundle.path / "notes.txt").write_text("mine")
    before = held(bundle.path)
    with pytest.raises(InputError, match=r"would be deleted: notes.txt; move it away"):
        load(csv)
    assert held(bundle.path) == before


@pytest.mark.parametrize("file", ["items.parquet", "bundle.json", "interactions.parquet"])
def test_files_that_are_called_like_a_bundles_are_not_ours(csv: Path, file: str) -> None:
    folder = csv.parent / "data" / "own"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(b"{}")
    with pytest.raises(InputError, match=rf"would be deleted: {file}"):
        load(csv)
    assert (folder / file).read_bytes() == b"{}"


def test_a_core_that_is_none(csv: Path) -> None:
    for core in (0, -3):
        with pytest.raises(InputError, match=rf"core {core}: give the k of the k-core"):
            load(csv, core=core)


def test_a_file_or_link_in_the_place_of_the_folder(csv: Path) -> None:
    target = csv.parent / "data" / "own"
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(InputError, match="a file stands where the dataset's folder would"):
        load(csv)
    assert target.read_text() == "mine"
    target.unlink()
    target.symlink_to(csv.parent / "nowhere")
    with pytest.raises(InputError, match="a file stands where the dataset's folder would"):
        load(csv)
    elsewhere = csv.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    target.unlink()
    target.symlink_to(elsewhere)
    with pytest.raises(InputError, match="would be deleted: mine"):
        load(csv)


def test_a_link_to_another_disk_stays(csv: Path) -> None:
    elsewhere, target = csv.parent / "elsewhere", csv.parent / "data" / "own"
    elsewhere.mkdir()
    target.parent.mkdir()
    target.symlink_to(elsewhere)
    for _ in range(2):  # over an empty folder, then over a bundle
        load(csv)
        assert target.is_symlink()
        assert (elsewhere / "bundle.json").is_file()


def test_a_bundle_and_an_empty_folder_are_replaced(csv: Path) -> None:
    (csv.parent / "data" / "own").mkdir(parents=True)
    first = load(csv)
    # what killed writes and encoders leave, and what a desktop adds, is part of a bundle
    (first.path / ".text.parts" / "0123").mkdir(parents=True)
    (first.path / ".text.safetensors.abc123").write_bytes(b"half")
    (first.path / ".DS_Store").write_bytes(b"")
    assert load(csv).meta == first.meta
    (first.path / "bundle.json").write_text("damaged")
    assert load(csv).meta == first.meta


def test_the_input_inside_the_bundle(csv: Path) -> None:
    bundle = load(csv)
    with pytest.raises(InputError, match=r"interactions.parquet: lies in the folder .*move the"):
        import_dataset("own", bundle.path / "interactions.parquet", root=bundle.path.parent)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raw", "is the folder of downloads"),
        ("Raw", "is the folder of downloads"),
        ("BEAUTY", "is a known dataset"),
        ("", "letters, digits"),
        ("-x", "letters, digits"),
        (".x", "letters, digits"),
        ("a/b", "letters, digits"),
        ("a[b]", "letters, digits"),
        ("a\n", "letters, digits"),
        ("x" * 300, "at most 64 long"),
    ],
)
def test_reserved_and_other_names(csv: Path, name: str, message: str) -> None:
    raw = csv.parent / "data" / "raw" / "kept"
    raw.mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        load(csv, name)
    assert [p.name for p in (csv.parent / "data").rglob("*")] == ["raw", "kept"]


@pytest.mark.parametrize("name", ["shop", "my_shop-2", "données", "7"])
def test_good_names(csv: Path, name: str) -> None:
    assert load(csv, name).meta.name == name


def test_a_named_dataset_beside_other_files(tmp_path: Path, beauty: Bundle) -> None:
    shutil.copytree(beauty.path, tmp_path / "beauty")
    (tmp_path / "beauty" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"would be deleted: notes.txt"):
        build_bundle("beauty", root=tmp_path)


def test_every_flipped_bit_of_the_metadata_is_found(csv: Path) -> None:
    """200 of some 10,000 bits at random, and every bit of the checksum's first digits."""
    bundle = load(csv)
    path = bundle.path / "bundle.json"
    good = path.read_bytes()
    assert path.read_bytes() == meta_bytes(bundle.meta)
    digest = good.index(b'"sha256"') * 8
    generator = random.Random(0)
    for bit in [*generator.sample(range(8 * len(good)), 200), *range(digest, digest + 120)]:
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bundle.json: damaged"):
            load_bundle("own", root=bundle.path.parent)
    for content in (good[:-1], good + b" ", good.replace(b"\n", b"\r\n"), b"[]", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bundle.json: damaged"):
            read_meta(bundle.path)
    path.write_bytes(good)
    assert read_meta(bundle.path) == bundle.meta


def test_flipped_bits_of_a_named_dataset(tmp_path: Path, beauty: Bundle) -> None:
    """Found, or the part that says how it was built makes it be built again, with equal outcome."""
    path = tmp_path / "beauty" / "bundle.json"
    shutil.copytree(beauty.path, path.parent)
    good = path.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(good)), 60):
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        if is_current(path.parent, "beauty"):  # else it is built again
            with pytest.raises(InputError, match=r"bundle.json: damaged"):
                read_meta(path.parent)


def made_up(bundle: Bundle, about: Provenance = ENCODED) -> FeatureTable:
    values = np.random.default_rng(0).normal(size=(bundle.n_items, 3)).astype(np.float16)
    everywhere = np.ones(bundle.n_items, bool)
    return FeatureTable(list(bundle.items["id"]), values, everywhere, (), about)


def test_encoded_features_outlive_a_build(csv: Path) -> None:
    bundle = load(csv)
    for modality in ("text", "image"):
        attach_features(bundle, modality, made_up(bundle))  # type: ignore[arg-type]
        bundle = load_bundle("own", root=bundle.path.parent)
    again = load(csv)
    assert again.meta.data_hash == bundle.meta.data_hash
    assert sum("are kept from the dataset that stood here" in r for r in again.meta.remarks) == 2
    # what does not belong any more goes, and the user is told
    changed = csv.parent / "changed.csv"
    changed.write_text(ITEMS.replace("about 2", "on 2"))
    np.save(csv.parent / "x.npy", np.ones((4, 2), np.float32))
    other = load(csv, items=changed, features={"image": csv.parent / "x.npy"})
    assert other.meta.encoders == {"text": None, "image": "x.npy"}
    assert any("the texts or titles of its items have changed" in r for r in other.meta.remarks)
    # a user's own arrays are given anew or not at all
    assert load(csv).meta.encoders == {"text": None, "image": None}


def test_damaged_features_do_not_outlive_a_build(csv: Path) -> None:
    bundle = attach_features(load(csv), "text", made_up(load(csv)))
    path = bundle.path / "text.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    again = load(csv)
    assert again.text is None
    assert any("text features are not kept" in remark for remark in again.meta.remarks)


def test_an_older_format_is_built_again_with_its_features(tmp_path: Path, beauty: Bundle) -> None:
    """As bundles of version 1 were: without users, counts of the source and checksum."""
    shutil.copytree(beauty.path, tmp_path / "beauty")
    bundle = attach_features(load_bundle("beauty", root=tmp_path), "image", made_up(beauty))
    fields = json.loads((bundle.path / "bundle.json").read_bytes())
    for key in ("sha256", "read", "remarks"):
        del fields[key]
    del fields["outputs"]["users.parquet"]
    (bundle.path / "users.parquet").unlink()
    (bundle.path / "bundle.json").write_text(json.dumps({**fields, "version": 1}, indent=1))
    again = load_bundle("beauty", root=tmp_path)
    assert again.meta.version > 1
    assert again.meta.data_hash == bundle.meta.data_hash
    assert again.meta.encoders["image"] == "made-up"


def test_named_datasets_come_out_as_ever(beauty: Bundle, ml_100k: Bundle, ml_1m: Bundle) -> None:
    """Stored results remain theirs. ML-100k's sequences, attributes and raw features hash as they
    did in format 1; features have been centred and scaled since format 3. Beauty's are of its title
    tags, and without features it hashes as ever."""
    for bundle, raw, scaled in (
        (
            beauty,
            "1d21cfc1e70c04ced7c75948a8b160569de8fa8e25ade725ee42564a20caa886",
            "40257aa36c5409cfa603feb9b7617f93e410cc2144bd51a2836efab26ffd4c0d",
        ),
        (
            ml_100k,
            "7ca13f33f8a600faa64045e30571cf71cf541d2809034426a991ca7a88d342ca",
            "b1175da41165620f594544ca09395b9acc95e3edb5fe10e9fb749f7ec523f774",
        ),
    ):
        assert bundle.meta.data_hash == scaled
        plain = {
            modality: replace(read_features(bundle.path / f"{modality}.safetensors"), scaling=())
            for modality in bundle.meta.provenance
        }
        assert data_hash(bundle.interactions, bundle.items, plain) == raw
    assert ml_1m.meta.data_hash == (
        "5b00555324e0c6b0a424a698e1fb1ab20d10858f28637dfcdd320f2a8f672328"
    )
    assert data_hash(beauty.interactions, beauty.items, {}) == (
        "923c8e74254ac38d94d90e1884d2590b99b09b0801dabc26e19e0ad756084872"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("beauty-5core", "15b85b60aa369de002821e90f9bc97bab0ae90034ca358f776b6bcc805552cd5"),
        ("microlens-50k", "131db1c0389332a98f79561cb67969bb0632b771701c73e7f664633c1a222165"),
    ],
)
def test_raw_datasets_come_out_as_ever(raw: Path, tmp_path: Path, name: str, expected: str) -> None:
    assert build_bundle(name, root=tmp_path, raw=raw).meta.data_hash == expected


def test_metadata_survive_their_spelling(beauty: Bundle) -> None:
    meta = beauty.meta.model_copy(update={"remarks": ['"quoted", ü, \u2028, {brackets}']})
    fields = json.loads(meta_bytes(meta))
    fields.pop("sha256")
    assert BundleMeta.model_validate_json(json.dumps(fields)) == meta
