"""What a user is told of data that can be read but may not be what they seem."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines.smlp4rec import SMLP4Rec
from benchmark.cli import app
from benchmark.data.bundle import attach_features, load_bundle
from benchmark.data.content import Bundle
from benchmark.data.meta import default_raw
from benchmark.data.own import import_dataset
from benchmark.data.readers import READ_ATTRIBUTES
from benchmark.data.report import import_report
from benchmark.errors import InputError
from benchmark.plan import without_effect
from tests.benchmark.data.test_nothing_is_lost import made_up

USERS, ITEMS = 6, 5
TIMES = "".join(f"u{u},i{i},{100 * u + i}\n" for u in range(USERS) for i in range(ITEMS))
SHOP = "user,item,timestamp\n" + TIMES


def shop(
    folder: Path, interactions: str = SHOP, items: str = "", name: str = "x.csv", **options: object
) -> Bundle:
    (folder / name).write_text(interactions)
    if items:
        (folder / "items.csv").write_text(items)
        options["items"] = folder / "items.csv"
    options = {"core": None, "root": folder / "data"} | options
    return import_dataset("shop", folder / name, **options)  # type: ignore[arg-type]


def said(bundle: Bundle, part: str) -> list[str]:
    return [line for line in import_report(bundle) if part in line]


def test_targets_that_the_user_had_met_are_counted(tmp_path: Path) -> None:
    assert not said(shop(tmp_path), "had met before")
    (line,) = said(shop(tmp_path, SHOP + "u0,i2,900\nu3,i1,901\n"), "had met before")
    assert line.startswith("2 interactions are with an item")
    assert "read the scores with the history kept" in line


def test_attributes_that_no_row_reads_are_named(tmp_path: Path) -> None:
    assert READ_ATTRIBUTES == SMLP4Rec.ATTRIBUTES
    items = "id,genres\n" + "".join(f"i{i},G{i % 2}\n" for i in range(ITEMS))
    (line,) = said(shop(tmp_path, items=items), "no row reads genres")
    assert "--columns genre=genres" in line
    renamed = shop(tmp_path, items=items, columns={"genre": "genres"})
    assert list(renamed.catalogue().attributes) == ["genre"]
    assert not said(renamed, "no row reads")


def test_attributes_of_atomic_files_are_renamed(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    (tmp_path / "x.item").write_text(
        "item_id:token\tclass:token_seq\n" + "".join(f"i{i}\tA B\n" for i in range(ITEMS))
    )
    bundle = shop(tmp_path, head + TIMES.replace(",", "\t"), name="x.inter")
    assert said(bundle, "no row reads class")
    bundle = shop(
        tmp_path, head + TIMES.replace(",", "\t"), name="x.inter", columns={"genre": "class"}
    )
    assert list(bundle.catalogue().attributes) == ["genre"]


def test_a_backup_beside_atomic_files_is_no_file_of_items(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    (tmp_path / "x.item.bak").write_text("id\nold\n")
    bundle = shop(tmp_path, head + TIMES.replace(",", "\t"), name="x.inter")
    assert said(bundle, "items described 0/5")


def test_blanks_around_values_and_texts_make_no_difference(tmp_path: Path) -> None:
    lists = ("Action | Comedy", "Comedy|Action", " Action|Comedy ", "Comedy", "Action")
    rows = "".join(f'i{i},"{value}",   \n' for i, value in enumerate(lists))
    bundle = shop(tmp_path, items="id,genre,text\n" + rows)
    assert bundle.catalogue().attributes["genre"].size == 2
    assert (bundle.items["text"] == "").all()


def test_ids_that_a_spreadsheet_has_shortened_are_named(tmp_path: Path) -> None:
    rows = "".join(
        f"u{u},9.7801{i}E+12,1.4000{i}E+12\n" for u in range(USERS) for i in range(ITEMS)
    )
    items, times = said(shop(tmp_path, "user,item,timestamp\n" + rows), "look like numbers")
    assert "5 different values of item, such as '9.78010E+12'" in items
    assert "5 different values of timestamp, such as '1.40000E+12'" in times
    assert not said(shop(tmp_path), "look like numbers")


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_a_file_without_names_is_said_to_have_none(tmp_path: Path, separator: str) -> None:
    lines = [line.replace(",", separator) for line in TIMES.splitlines()]
    with pytest.raises(InputError, match=r"line 1: no column .*reads like data, not like names"):
        shop(tmp_path, "\n".join(lines) + "\n", name="x.tsv" if separator == "\t" else "x.csv")


def test_encoded_images_of_other_items_are_not_kept(tmp_path: Path) -> None:
    def items(what: str, column: str = "title") -> str:
        return f"id,{column}\n" + "".join(f"i{i},{what} {i}\n" for i in range(ITEMS))

    bundle = shop(tmp_path, items=items("lamp"))
    attach_features(bundle, "image", made_up(bundle))
    assert said(shop(tmp_path, items=items("lamp")), "image features by") != []
    again = shop(tmp_path, items=items("novel"))
    assert again.image is None
    assert said(again, "the texts or titles of its items have changed")


def test_it_is_said_where_ids_alone_tell_whose_features_are_kept(tmp_path: Path) -> None:
    bundle = shop(tmp_path)
    attach_features(bundle, "image", made_up(bundle))
    again = shop(tmp_path)
    assert again.image is not None
    assert said(again, "is known by ids alone")


def test_items_that_came_later_are_to_be_encoded(tmp_path: Path) -> None:
    def items(count: int) -> str:
        return "id,text\n" + "".join(f"i{i},about {i}\n" for i in range(count))

    bundle = shop(tmp_path, items=items(ITEMS))
    attach_features(bundle, "text", made_up(bundle))
    later = SHOP + "u0,new,900\n"
    again = shop(tmp_path, later, items=items(ITEMS) + "new,about that\n")
    assert said(again, "1 items with a text have no text features: encode them again")


def test_features_of_items_that_the_core_leaves_out_are_refused(tmp_path: Path) -> None:
    values = np.ones((ITEMS + 1, 2), np.float32)
    ids = np.array([*(f"i{i}" for i in range(ITEMS)), "rare"])
    np.savez(tmp_path / "m.npz", values=values, ids=ids, mask=ids == "rare")
    with pytest.raises(InputError, match=r"m\.npz: no item that .*keeps has a row"):
        shop(tmp_path, SHOP + "u0,rare,900\n", core=3, features={"image": tmp_path / "m.npz"})


def test_files_of_one_name_keep_both_checksums(tmp_path: Path) -> None:
    paths = {}
    for modality in ("text", "image"):
        (tmp_path / modality).mkdir()
        paths[modality] = tmp_path / modality / "f.npz"
        values = np.eye(ITEMS, dtype=np.float32) + (modality == "image")
        np.savez(paths[modality], values=values, ids=np.array([f"i{i}" for i in range(ITEMS)]))
    bundle = shop(tmp_path, features=paths)
    assert len(set(bundle.meta.inputs.values())) == len(bundle.meta.inputs) == 3
    assert {"f.npz", "image/f.npz"} <= set(bundle.meta.inputs)


def test_a_control_that_compares_features_is_not_planned_without_any(tmp_path: Path) -> None:
    bundle = shop(tmp_path)
    root = bundle.path.parent
    assert without_effect("Content KNN", "base", "shop", root)
    assert not without_effect("SASRec (MM)", "base", "shop", root)
    attach_features(bundle, "image", made_up(bundle))
    assert not without_effect("Content KNN", "base", "shop", root)


def test_a_folder_of_raw_files_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone")
    for command in (["data", "beauty"], ["features", "beauty", "--modality", "text"]):
        done = CliRunner().invoke(app, [*command, "--raw", gone, "--data", str(tmp_path)])
        assert isinstance(done.exception, InputError)
        assert f"--raw {gone}: no such folder" in str(done.exception)
    monkeypatch.setenv("FINDREC_RAW", gone)
    with pytest.raises(InputError, match=r"FINDREC_RAW .*no such folder"):
        default_raw()
    monkeypatch.setenv("FINDREC_RAW", "")
    assert default_raw() is None


def test_ones_own_dataset_is_not_unknown(tmp_path: Path) -> None:
    root = shop(tmp_path).path.parent
    done = CliRunner().invoke(app, ["data", "shop", "--data", str(root)])
    assert isinstance(done.exception, InputError)
    assert "shop is a dataset of your own" in str(done.exception)
    assert load_bundle("shop", root=root).n_items == ITEMS
