"""Official descriptions and pictures of Beauty, from a made-up site on this machine."""

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmark.data import bundle, official
from benchmark.data.bundle import load_bundle
from benchmark.data.config import DatasetConfig, dataset_config
from benchmark.data.content import Bundle
from benchmark.errors import InputError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder, address) of a server of files."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def redirected(
    site: tuple[Path, str], beauty: Bundle, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Beauty's official address leads to the made-up site, which describes three of its items;
    the third one's picture is gone."""
    folder, address = site
    ids = beauty.items["id"].tolist()[:3]
    records = [
        {
            "asin": item,
            "title": f"Title {k}",
            "brand": "OPI",
            "categories": [["Beauty", "Makeup", "Nails"]],
            "description": "Shiny.",
            "imUrl": f"{address}/{item}.jpg",
        }
        for k, item in enumerate(ids)
    ]
    # Python literals, as the 2014 files are; one product that the dataset does not have
    records.append({"asin": "0000000000", "imUrl": f"{address}/never.jpg"})
    lines = "".join(f"{record!r}\n" for record in records)
    (folder / "meta.json.gz").write_bytes(gzip.compress(lines.encode()))
    for item in ids[:2]:
        (folder / f"{item}.jpg").write_bytes(b"picture of " + item.encode())
    raw = dataset_config("beauty").model_dump()
    for source in raw["items"]:
        if source["url"] is not None:
            source["url"] = f"{address}/meta.json.gz"
    changed = DatasetConfig.model_validate(raw)
    for module in (official, bundle):
        monkeypatch.setattr(module, "dataset_config", lambda name: changed)
    monkeypatch.delenv("FINDREC_RAW", raising=False)
    return ids


def test_descriptions_and_pictures(redirected: list[str], tmp_path: Path, beauty: Bundle) -> None:
    root = tmp_path / "data"
    assert official.fetch_official("beauty", root=root) == 2
    built = load_bundle("beauty", root=root)
    items = built.items.set_index("id")
    assert items.loc[redirected[0], "text"] == "Title 0. OPI: Makeup, Nails Shiny."
    assert items.loc[redirected[0], "title"] == "Title 0"
    assert built.meta.counts == beauty.meta.counts
    pictures = root / "raw" / "beauty" / "images"
    assert {p.name for p in pictures.iterdir()} == {f"{item}.jpg" for item in redirected[:2]}
    assert (pictures / f"{redirected[1]}.jpg").read_bytes().endswith(redirected[1].encode())


def test_a_second_call_fetches_only_what_is_missing(
    redirected: list[str], site: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = site
    root = tmp_path / "data"
    official.fetch_official("beauty", root=root)
    for file in folder.iterdir():
        file.unlink()
    (folder / f"{redirected[2]}.jpg").write_bytes(b"late")
    assert official.fetch_official("beauty", root=root) == 3


def test_no_site(
    redirected: list[str], site: tuple[Path, str], tmp_path: Path, beauty: Bundle
) -> None:
    folder, _ = site
    for file in folder.glob("*.jpg"):
        file.unlink()
    with pytest.raises(InputError, match="HTTP status 404"):
        official.fetch_official("beauty", root=tmp_path / "data")
    (folder / "meta.json.gz").unlink()
    with pytest.raises(InputError, match=r"meta.json.gz: download failed"):
        official.fetch_official("beauty", root=tmp_path / "other")
