"""A user's own data: tables, feature arrays, RecBole's atomic files; official sources' formats."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.data.bundle import load_bundle
from benchmark.data.own import import_dataset
from benchmark.data.readers import read_interactions, read_items
from benchmark.errors import InputError

ROWS = [(f"u{u}", f"i{i}", 100 * u + (7 * i) % 5) for u in range(4) for i in range(4)]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=["user", "item", "timestamp"])


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "inter"])
def test_every_format_gives_the_same_data(frame: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    frame.to_csv(tmp_path / "x.csv", index=False)
    expected = import_dataset("expected", tmp_path / "x.csv", core=3, root=tmp_path)
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "inter":
        frame.columns = pd.Index(["user_id:token", "item_id:token", "timestamp:float"])
        frame.to_csv(path, sep="\t", index=False)
    else:
        frame.to_csv(path, sep="," if suffix == "csv" else "\t", index=False)
    bundle = import_dataset("own", path, core=3, root=tmp_path)
    assert bundle.meta.data_hash == expected.meta.data_hash
    assert bundle.meta.grade == "C"
    pd.testing.assert_frame_equal(load_bundle("own", root=tmp_path).items, expected.items)


def test_own_column_names(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.columns = pd.Index(["who", "what", "when"])
    frame.assign(stars=5).to_csv(tmp_path / "x.csv", index=False)
    bundle = import_dataset(
        "own", tmp_path / "x.csv", core=None, columns=("who", "what", "when"), root=tmp_path
    )
    assert bundle.meta.counts.interactions == len(ROWS)


def test_ids_stay_text(tmp_path: Path) -> None:
    """007 and 7 are two items."""
    rows = ["a,007,1", "a,7,2", "a,NA,3"]
    (tmp_path / "x.csv").write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    bundle = import_dataset("own", tmp_path / "x.csv", core=None, root=tmp_path)
    assert bundle.items["id"].tolist() == ["007", "7", "NA"]


def test_features_follow_their_items(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Rows in the order of the items file, which is not the order of the numbers."""
    frame.to_csv(tmp_path / "x.csv", index=False)
    order = ["i2", "i9", "i0", "i1"]
    (tmp_path / "items.csv").write_text("id,title,text\n" + "".join(f"{i},T{i},\n" for i in order))
    np.save(tmp_path / "image.npy", np.array([[2.0], [9], [0.5], [1]]))
    bundle = import_dataset(
        "own",
        tmp_path / "x.csv",
        items=tmp_path / "items.csv",
        features={"image": tmp_path / "image.npy"},
        core=3,
        root=tmp_path,
    )
    assert bundle.image is not None
    raw = bundle.image.raw().values
    value = dict(zip(bundle.items["id"], raw[1:, 0].tolist(), strict=True))
    assert value == {"i0": 0.5, "i1": 1.0, "i2": 2.0, "i3": 0.0}
    present = dict(zip(bundle.items["id"], bundle.image.present[1:].tolist(), strict=True))
    assert present == {"i0": True, "i1": True, "i2": True, "i3": False}
    assert bundle.text is None


@pytest.mark.parametrize("name", ["x.inter", "x.inter.gz", "x.INTER"])
def test_atomic_items_become_attributes(frame: pd.DataFrame, tmp_path: Path, name: str) -> None:
    frame.columns = pd.Index(["user_id:token", "item_id:token", "timestamp:float"])
    frame.to_csv(tmp_path / name, sep="\t", index=False)
    (tmp_path / "x.item").write_text(
        "item_id:token\tmovie_title:token_seq\tprice:float\tclass:token_seq\tmaker:token\n"
        "i0\tToy Story\t3.5\tAnimation Comedy\tPixar\n"
        "i1\tHeat\t2\tCrime\t\n"
    )
    bundle = import_dataset("own", tmp_path / name, core=3, root=tmp_path)
    first = bundle.items.set_index("id").loc["i0"]
    assert first["title"] == "Toy Story"
    assert first["text"] == "Toy Story; Animation, Comedy; Pixar"
    attributes = bundle.catalogue().attributes
    assert set(attributes) == {"class", "maker"}
    assert attributes["class"].size == 3
    heat = int(bundle.items.index[bundle.items["id"] == "i1"][0]) + 1
    assert attributes["maker"].values[heat].tolist() == [0]
    assert torch.count_nonzero(attributes["class"].values[heat]) == 1


def test_own_column_names_of_atomic_items(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.columns = pd.Index(["user_id:token", "item_id:token", "timestamp:float"])
    frame.to_csv(tmp_path / "x.inter", sep="\t", index=False)
    header = "asin:token\tmovie_title:token_seq\tname:token_seq\tplot:token_seq\n"
    (tmp_path / "x.item").write_text(header + "i0\tToy Story\tToys\tA cowboy doll\n")
    with pytest.raises(InputError, match=r"x.item, line 1: no column 'item_id'.*--columns id=asin"):
        import_dataset("own", tmp_path / "x.inter", core=3, root=tmp_path)
    columns = {"id": "asin", "title": "gone"}
    with pytest.raises(InputError, match=r"no column 'gone'.*--columns id=asin,title=movie_title"):
        import_dataset("own", tmp_path / "x.inter", core=3, columns=columns, root=tmp_path)
    columns = {"id": "asin", "title": "name", "text": "plot"}
    bundle = import_dataset("own", tmp_path / "x.inter", core=3, columns=columns, root=tmp_path)
    first = bundle.items.set_index("id").loc["i0"]
    assert (first["title"], first["text"]) == ("Toys", "A cowboy doll")
    assert set(bundle.catalogue().attributes) == {"movie_title"}
    (tmp_path / "x.item").unlink()
    with pytest.raises(InputError, match=r"--columns title=name: names a column of a file of it"):
        import_dataset(
            "own", tmp_path / "x.inter", core=3, columns={"title": "name"}, root=tmp_path
        )


def test_grouplens_archive_is_the_atomic_file(tmp_path: Path) -> None:
    """The official zip and RecBole's conversion read alike."""
    rows = [(196, 242, 3, 881250949), (186, 302, 3, 891717742), (22, 377, 1, 878887116)]
    lines = ["\t".join(map(str, row)) + "\n" for row in rows]
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", "".join(lines))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (tmp_path / "x.inter").write_text(header + "".join(lines))
    pd.testing.assert_frame_equal(
        read_interactions(tmp_path / "ml-100k.zip", "grouplens"),
        read_interactions(tmp_path / "x.inter", "atomic"),
    )


def test_movielens_1m_archive_is_the_atomic_file(tmp_path: Path) -> None:
    """Its movies.dat has the titles, in Latin-1, by which RecBole's conversion calls the items."""
    movies = {"1": "Toy Story (1995)", "9": "Alien³ (1992)", "77": "Misérables, Les (1995)"}
    rows = [("1", "9", 5, 978300760), ("1", "1", 3, 978302109), ("2", "77", 3, 978301968)]
    described = "".join(f"{k}::{v}::Drama|War\n" for k, v in movies.items())
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "".join("::".join(map(str, r)) + "\n" for r in rows))
        archive.writestr("ml-1m/movies.dat", described.encode("latin-1"))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    lines = [f"{u}\t{movies[i]}\t{r}\t{t}\n" for u, i, r, t in rows]
    (tmp_path / "x.inter").write_text(header + "".join(lines), encoding="utf-8")
    pd.testing.assert_frame_equal(
        read_interactions(tmp_path / "ml-1m.zip", "grouplens"),
        read_interactions(tmp_path / "x.inter", "atomic"),
    )
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::9::5::978300760\n1::8::5::978300761\n")
        archive.writestr("ml-1m/movies.dat", described.encode("latin-1"))
    with pytest.raises(
        InputError, match=r"ratings.dat\), line 2: movie '8' is not in ml-1m/movies"
    ):
        read_interactions(tmp_path / "ml-1m.zip", "grouplens")
    (tmp_path / "ml-1m.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"not the ml-1m.zip of GroupLens, or damaged; delete it"):
        read_interactions(tmp_path / "ml-1m.zip", "grouplens")


def test_amazon_reviews(tmp_path: Path) -> None:
    records = [
        {"reviewerID": "A1", "asin": "B2", "unixReviewTime": 1400000000, "overall": 5.0},
        {"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1300000000},
    ]
    path = tmp_path / "reviews.json.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    frame = read_interactions(path, "amazon-reviews")
    assert frame["item"].tolist() == ["B2", "B1"]  # the file's order; sorting comes later
    assert frame["timestamp"].tolist() == [1400000000, 1300000000]


def test_amazon_metadata_in_both_spellings(tmp_path: Path) -> None:
    """The 2014 files are Python literals; a JSON copy reads the same."""
    record = {
        "asin": "B1",
        "title": "Women's  comb",
        "brand": "OPI",
        "categories": [["Beauty", "Hair Care", "Styling Tools"], ["Beauty", "Other"]],
        "description": "For long\n hair.",
        "imUrl": "http://example.org/a.jpg",
    }
    bare = {"asin": "B2"}
    for name, spell in (("a.json.gz", repr), ("b.json.gz", json.dumps)):
        lines = "".join(spell(r) + "\n" for r in (record, bare))
        (tmp_path / name).write_bytes(gzip.compress(lines.encode()))
        items = read_items(tmp_path / name, "amazon-metadata")
        assert items["brand"].tolist() == ["OPI", ""]
        assert items["category"].tolist() == ["Hair Care|Styling Tools", ""]
        expected = "Women's  comb. OPI: Hair Care, Styling Tools For long hair."
        assert items["text"].tolist() == [expected, ""]


def test_brand_and_category(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "item,asin,attributes\n"
        "1,B1,OPI|Makeup|Nails|Nail Polish\n"
        "2,B2,Hair Care|Shampoos\n"
        "3,B3,Makeup|Makeup|Body\n"
    )
    items = read_items(path, "brand-category")
    assert items["brand"].tolist() == ["OPI", "", ""]
    assert items["category"].tolist() == [
        "Makeup|Nails|Nail Polish",
        "Hair Care|Shampoos",
        "Makeup|Body",
    ]
    assert items["text"][0] == "OPI: Makeup, Nails, Nail Polish"


def test_title_tags_stand_before_brand_and_category(tmp_path: Path) -> None:
    """Matched by ASIN; a product without any keeps brand and category."""
    path, tags = tmp_path / "items.csv", tmp_path / "title_tags.csv"
    path.write_text("item,asin,attributes\n1,B1,OPI|Makeup|Nails\n2,B2,Hair Care|Shampoos\n")
    tags.write_text("item,asin,tags\n2,B2,\n7,B7,not sold\n1,B1,nail lacquer  pink\n")
    items = read_items(path, "brand-category", title_tags=tags)
    assert items["text"].tolist() == [
        "nail lacquer pink. OPI: Makeup, Nails",
        "Hair Care, Shampoos",
    ]
    assert items["title"].tolist() == ["", ""]
    tags.write_text("item,asin,tags\n1,B1,nail\n")
    with pytest.raises(
        InputError, match=r"title_tags.csv: no row for item 'B2', which .*items.csv"
    ):
        read_items(path, "brand-category", title_tags=tags)


def test_movies(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "movie_id,title,year,genres,overview\n"
        '1,Toy Story (1995),1995,Animation|Comedy,"Led by Woody, they live."\n'
        "2,unknown,,,\n"
    )
    items = read_items(path, "movies")
    assert items["text"].tolist() == [
        "Toy Story (1995). Animation, Comedy. Led by Woody, they live.",
        "unknown.",
    ]
    assert items["genre"].tolist() == ["Animation|Comedy", ""]


def test_complete_movies_have_a_plot_and_a_poster(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        "movie_id,title,genres,overview,tmdb_poster_path\n"
        "1,A (1995),Comedy,Led by Woody.,\n"
        "2,B (1996),Drama,,/b.jpg\n"
        "3,C (1997),,They live.,/c.jpg\n"
    )
    items = read_items(path, "movies", complete=True)
    assert items["text"].tolist() == ["C (1997). They live."]
    assert items["id"].tolist() == ["3"]
    assert len(read_items(path, "movies")) == 3


@pytest.mark.parametrize("header", ["", "item,title\n"])
def test_titles_with_and_without_header(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(header + '1,"a, b # c"\n2,x, y\n', encoding="utf-8")
    items = read_items(tmp_path / "t.csv", "titles")
    assert items["id"].tolist() == ["1", "2"]
    assert items["text"].tolist() == ["a, b # c", "x, y"]
