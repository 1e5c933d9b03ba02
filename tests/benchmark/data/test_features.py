"""Feature files and the resumable pipeline."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.bundle import build_bundle, load_bundle
from benchmark.data.content import Bundle
from benchmark.data.encode import BATCH, build_features, encode, picture
from benchmark.data.encoders import Encoded
from benchmark.data.features import (
    FeatureTable,
    Provenance,
    joined,
    own_features,
    read_features,
    write_features,
)
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
from findrec.recommender import Modality

ABOUT = Provenance(encoder="made-up", model="none", created=date(2026, 1, 2))


def table(ids: list[str], *widths: int) -> FeatureTable:
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(len(ids), w)).astype(np.float16) for w in (3, *widths)]
    present = np.array([item != "gone" for item in ids])
    return FeatureTable(ids, arrays[0], present, tuple(arrays[1:]), ABOUT)


def test_round_trip(tmp_path: Path) -> None:
    written = table(["a", "gone", "c"], 2, 4)
    write_features(tmp_path / "x.safetensors", written)
    read = read_features(tmp_path / "x.safetensors")
    assert read.ids == written.ids
    assert read.provenance == ABOUT
    for ours, theirs in zip(
        (written.values, written.present, *written.layers),
        (read.values, read.present, *read.layers),
        strict=True,
    ):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_equal_features_are_equal_files(tmp_path: Path) -> None:
    """The library orders its header at random: twelve writes would agree once in 2,000 times."""
    files = set()
    for _ in range(12):
        write_features(tmp_path / "x.safetensors", table(["a", "gone", "ü"], 2))
        files.add((tmp_path / "x.safetensors").read_bytes())
    assert len(files) == 1


def test_select_by_id() -> None:
    whole = table(["a", "gone", "c"], 2)
    part = whole.select(["c", "new", "gone", "a"])
    assert part.present.tolist() == [True, False, False, True]
    assert np.array_equal(part.values[[0, 3]], whole.values[[2, 0]])
    assert not part.values[1].any()
    assert np.array_equal(part.layers[0][0], whole.layers[0][2])


def test_as_models_see_them() -> None:
    """Row 0 is padding, a missing item is zero whatever it holds, narrow layers end in zeros."""
    whole = table(["a", "gone", "c"], 2, 4)
    features = whole.features()
    assert features.present.tolist() == [False, True, False, True]
    assert features.values.shape == (4, 3)
    assert not features.values[[0, 2]].any()
    assert torch.equal(features.values[3], torch.from_numpy(whole.values[2]).float())
    assert features.layers is not None
    assert features.layers.shape == (4, 2, 4)
    assert not features.layers[:, 0, 2:].any()
    assert torch.equal(features.layers[1, 1], torch.from_numpy(whole.layers[1][0]).float())


def test_foreign_and_damaged_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"embedding": np.ones((2, 2))}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"import plain arrays as .npy or .npz"):
        read_features(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_features(tmp_path / "y.safetensors")


def test_own_arrays_with_ids_and_mask(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "x.npz", values=values, ids=[7, 5, 9], mask=[True, False, True])
    own = own_features(tmp_path / "x.npz", ["9", "5", "1"])
    assert own.present.tolist() == [True, False, False]
    assert own.values[0].tolist() == [4, 5]


def test_joined_tables_are_one(tmp_path: Path) -> None:
    whole = table(["a", "gone", "c", "d"], 2)
    late = ABOUT.model_copy(update={"created": date(2026, 3, 1), "inputs": "other"})
    parts = [whole.select(["c", "a"]), replace(whole.select(["d", "gone"]), provenance=late)]
    both = joined(parts)
    assert both.ids == ["c", "a", "d", "gone"]
    again = both.select(whole.ids)
    assert np.array_equal(again.values[whole.present], whole.values[whole.present])
    assert np.array_equal(again.layers[0][whole.present], whole.layers[0][whole.present])
    assert again.present.tolist() == whole.present.tolist()
    assert both.provenance.created == date(2026, 3, 1)
    assert both.provenance.inputs not in {ABOUT.inputs, "other", ""}
    assert joined([whole]) is whole
    with pytest.raises(InputError, match="id 'a' has several rows"):
        joined([whole, parts[0]])
    foreign = replace(parts[1], provenance=late.model_copy(update={"encoder": "another"}))
    with pytest.raises(InputError, match=r"by made-up \(none\) and by another .* cannot be joined"):
        joined([parts[0], foreign])


def test_movies_have_the_same_features_in_both_movielens(ml_100k: Bundle, ml_1m: Bundle) -> None:
    """The 1,290 that both datasets have; files of one are used by the other."""
    assert ml_1m.meta.encoders == ml_100k.meta.encoders
    ids = {item: k for k, item in enumerate(ml_100k.items["id"], start=1)}
    pairs = [(k, ids[i]) for k, i in enumerate(ml_1m.items["id"], start=1) if i in ids]
    assert len(pairs) == 1_290
    here, there = (list(rows) for rows in zip(*pairs, strict=True))
    for modality in ("text", "image"):
        tables = [read_features(b.path / f"{modality}.safetensors") for b in (ml_1m, ml_100k)]
        rows = [np.array(r) - 1 for r in (here, there)]
        assert np.array_equal(*(t.values[r] for t, r in zip(tables, rows, strict=True)))
        for k in range(3):
            assert np.array_equal(*(t.layers[k][r] for t, r in zip(tables, rows, strict=True)))
    for column in ("title", "text", "genre"):
        left, right = (
            bundle.items[column].to_numpy()[np.array(rows) - 1]
            for bundle, rows in ((ml_1m, here), (ml_100k, there))
        )
        assert (left == right).all()


class Lengths:
    """A plug-in encoder: a text's length and first letter; it stops when told to."""

    modality: Modality = "text"
    model = "lengths"
    packages: dict[str, str] = {}  # noqa: RUF012  (the protocol's plain attribute)
    layer_names = ["only"]  # noqa: RUF012
    licence = "none"

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.batches: list[int] = []

    def encode(self, batch: Sequence[str]) -> Encoded:
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(len(batch))
        values = torch.tensor([[len(text), ord(text[0])] for text in batch], dtype=torch.float32)
        return Encoded(values, (values[:, :1],))


@pytest.fixture
def texts() -> list[str]:
    return [chr(97 + k % 26) * (1 + k % 17) for k in range(3 * BATCH + 5)]


def run(encoder: Lengths, texts: list[str], parts: Path, inputs: str = "same") -> FeatureTable:
    ids = [str(k) for k in range(len(texts))]
    present = np.arange(len(texts)) != 3
    about = ABOUT.model_copy(update={"inputs": inputs})
    return encode(encoder, ids, texts, present, about, parts)


def test_a_killed_run_goes_on(texts: list[str], tmp_path: Path) -> None:
    whole = run(Lengths(), texts, tmp_path / "whole")
    assert whole.values[:, 0].tolist() == [0 if k == 3 else len(t) for k, t in enumerate(texts)]
    first = Lengths(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(first, texts, tmp_path / "parts")
    second = Lengths()
    resumed = run(second, texts, tmp_path / "parts")
    assert second.batches == [BATCH, len(texts) - 1 - 3 * BATCH]
    assert np.array_equal(resumed.values, whole.values)
    assert np.array_equal(resumed.layers[0], whole.layers[0])
    third = Lengths()
    run(third, texts, tmp_path / "parts")
    assert third.batches == []  # all is there until the table is stored


def test_features_that_could_not_be_stored_are_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = tmp_path / "own.csv"
    csv.write_text("user,item,timestamp\n" + "".join(f"u,{i},{i}\n" for i in range(4)))
    items = tmp_path / "items.csv"
    items.write_text("id,text\n" + "".join(f"{i},film {i}\n" for i in range(4)))
    import_dataset("own", csv, items=items, core=None, root=tmp_path)
    encoder = Lengths()
    monkeypatch.setattr("benchmark.data.encode.load_encoder", lambda *_: encoder)

    def full(*_: object) -> None:
        raise InputError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("benchmark.data.bundle.write_features", full)
        with pytest.raises(InputError, match="no space left"):
            build_features("own", "text", "minilm", root=tmp_path)
    bundle = build_features("own", "text", "minilm", root=tmp_path)
    assert encoder.batches == [4]
    assert bundle.meta.encoders["text"] == "minilm"
    assert not (bundle.path / ".text.parts").exists()


def test_parts_of_other_inputs_and_damaged_parts_are_not_taken(
    texts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(stop_after=3), texts, tmp_path, inputs="others")
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(stop_after=2), texts, tmp_path)
    part = next(
        p for p in tmp_path.rglob("00000000.safetensors") if len(list(p.parent.iterdir())) == 2
    )
    part.write_bytes(part.read_bytes()[:-7])
    encoder = Lengths()
    run(encoder, texts, tmp_path)
    assert len(encoder.batches) == 3


def test_errors_of_the_pipeline(tmp_path: Path) -> None:
    csv = tmp_path / "own.csv"
    csv.write_text("user,item,timestamp\n" + "".join(f"u,{i},{i}\n" for i in range(4)))
    import_dataset("own", csv, core=None, root=tmp_path)
    with pytest.raises(InputError, match=r"own has no text encoder of its own: name one"):
        build_features("own", "text", root=tmp_path)
    with pytest.raises(InputError, match=r"own: no item has a text .*items.parquet"):
        build_features("own", "text", "minilm", root=tmp_path)
    with pytest.raises(InputError, match=r"own: no pictures are known"):
        build_features("own", "image", "efficientnet-lite0", root=tmp_path)
    with pytest.raises(InputError, match=r"no item has a image .*pictures/0.jpg"):
        build_features("own", "image", "blip-large", root=tmp_path, images="pictures/{id}.jpg")


def test_paths_of_pictures(tmp_path: Path) -> None:
    """Only {id} stands for something; ids lead nowhere else; names too long for a file are none."""
    rows = "".join(f"u,{item},{k}\n" for k, item in enumerate(("a", "../../x", "/etc/x")))
    csv = tmp_path / "own.csv"
    csv.write_text("user,item,timestamp\n" + rows)
    import_dataset("own", csv, core=None, root=tmp_path)
    with pytest.raises(InputError, match=r"--images {x}.jpg: write {id} where the item's id"):
        build_features("own", "image", "blip-large", root=tmp_path, images="{x}.jpg")
    with pytest.raises(InputError, match=r"item '../../x' would lead out of the folder"):
        build_features("own", "image", "blip-large", root=tmp_path, images="{id}.jpg")
    with pytest.raises(InputError, match=r"item '/etc/x' would lead out of the folder"):
        picture("{id}", "/etc/x", tmp_path, tmp_path)
    assert picture("{0}{id}", "b", tmp_path, tmp_path) == tmp_path / "raw" / "{0}b"
    long = picture("{id}.jpg", "x" * 300, tmp_path, tmp_path)
    assert long.parent == tmp_path / "raw"


def test_unknown_encoder_has_its_nearest_name(tmp_path: Path) -> None:
    build_bundle("beauty", root=tmp_path)
    with pytest.raises(InputError, match="unknown text encoder 'minilmm'; did you mean 'minilm'"):
        build_features("beauty", "text", "minilmm", root=tmp_path)
    with pytest.raises(InputError, match=r"unknown text encoder 'blip-large'.*roberta-large"):
        build_features("beauty", "text", "blip-large", root=tmp_path)


def test_provenance_on_file_is_that_of_the_shipped_features() -> None:
    import json

    from benchmark.data.config import SHIPPED, dataset_config
    from benchmark.files import sha256

    for name in ("ml-100k", "beauty", "ml-1m"):
        record = json.loads((SHIPPED / name / "provenance.json").read_text())
        shipped = {str(f.relative_to(SHIPPED)) for f in (SHIPPED / name).iterdir()}
        assert set(record) | {f"{name}/provenance.json"} == shipped
        for file, about in record.items():
            assert about.pop("sha256") == sha256(SHIPPED / file)
            if file.endswith(".safetensors"):
                assert read_features(SHIPPED / file).provenance == Provenance(**about)
        features = dataset_config(name).features.values()
        assert {f.shipped[-1] for f in features} <= shipped
    sizes = [f.stat().st_size for f in SHIPPED.rglob("*") if f.is_file()]
    assert sum(sizes) < 20e6  # a clone stays small


def test_no_ratings_are_shipped() -> None:
    """GroupLens does not allow it."""
    from benchmark.data.config import SHIPPED

    assert not list((SHIPPED / "ml-100k").glob("*inter*"))
    assert not list((SHIPPED / "ml-1m").glob("*inter*"))


def test_bundles_have_the_encoders_of_their_features(beauty: Bundle, ml_100k: Bundle) -> None:
    assert beauty.meta.encoders == {"text": "minilm", "image": None}
    assert ml_100k.meta.encoders == {"text": "minilm", "image": "efficientnet-lite0"}
    assert load_bundle("beauty", root=beauty.path.parent).meta == beauty.meta
