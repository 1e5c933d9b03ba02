"""Downloads, against a real server on this machine that knows byte ranges and can misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.progress import Progress

from benchmark.data.config import Source
from benchmark.data.fetch import download, fetch_from_wheel
from benchmark.data.sources import locate
from benchmark.errors import InputError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """A server of one file."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"one"'
    cut_after: int | None = None
    """Close the connection after so many bytes."""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of every request."""


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers.get("Range"))
            if self.path != "/file":
                self.send_error(404)
                return
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if wanted and self.headers.get("If-Range") == state.etag:
                start = int(wanted[1])
            body = state.content[start:]
            if not body:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def cut(site: Site, target: Path, after: int) -> None:
    """A download that ends early."""
    site.cut_after = after
    with pytest.raises(InputError, match=r"Run the command again|run the command again"):
        download(site.url, target, checksum=CHECKSUM)
    site.cut_after = None
    assert not target.exists()


def test_whole_file(site: Site, tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        download(site.url, tmp_path / "new" / "x", checksum=CHECKSUM, progress=progress)
        assert progress.tasks[0].completed == progress.tasks[0].total == len(CONTENT)
    assert (tmp_path / "new" / "x").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_resumes_where_it_was_cut_off(site: Site, tmp_path: Path) -> None:
    cut(site, tmp_path / "x", after=700_000)
    have = (tmp_path / "x.part").stat().st_size
    assert 0 < have <= 700_000
    download(site.url, tmp_path / "x", checksum=CHECKSUM)
    assert site.ranges == [None, f"bytes={have}-"]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_starts_anew_when_the_file_has_changed(site: Site, tmp_path: Path) -> None:
    cut(site, tmp_path / "x", after=700_000)
    site.content, site.etag = CONTENT[::-1], '"two"'
    download(site.url, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[::-1]


def test_starts_anew_when_nothing_is_left(site: Site, tmp_path: Path) -> None:
    """All bytes came before the crash, but not the rename."""
    (tmp_path / "x.part").write_bytes(CONTENT)
    (tmp_path / "x.part.etag").write_text(site.etag)
    download(site.url, tmp_path / "x", checksum=CHECKSUM)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_wrong_checksum(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SHA-256 is .* expected 00.*place a verified copy at"):
        download(site.url, tmp_path / "x", checksum="00" * 32)
    assert list(tmp_path.iterdir()) == []


def test_missing_file_and_missing_server(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/other: download failed \(HTTP status 404\)"):
        download(site.url.replace("file", "other"), tmp_path / "x")
    with pytest.raises(InputError, match=r"no connection to the server.*other means.*place it at"):
        download("http://127.0.0.1:9/file", tmp_path / "x")


def test_sources_are_tried_in_order(site: Site, tmp_path: Path) -> None:
    absent = Source(file="a/local.csv")
    broken = Source(file="a/broken.csv", url=site.url.replace("file", "other"))
    good = Source(file="a/good.csv", url=site.url, sha256=CHECKSUM)
    found, path = locate([absent, broken, good], raw=None, downloads=tmp_path)
    assert found is good
    assert path.read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"(?s)none of the sources.*--raw or FINDREC_RAW.*404"):
        locate([absent, broken], raw=None, downloads=tmp_path)


def test_what_is_at_hand_is_not_downloaded(site: Site, tmp_path: Path) -> None:
    raw, downloads = tmp_path / "raw", tmp_path / "downloads"
    remote = Source(file="x", url=site.url)
    local = Source(file="y")
    raw.mkdir()
    (raw / "y").write_text("mine")
    assert locate([remote, local], raw=raw, downloads=downloads) == (local, raw / "y")
    locate([remote], raw=raw, downloads=downloads)
    locate([remote], raw=raw, downloads=downloads)
    assert len(site.ranges) == 1


def test_a_damaged_local_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("damaged")
    sources = [Source(file="x", sha256=CHECKSUM), Source(file="beauty/items.parquet", shipped=True)]
    with pytest.raises(InputError, match=r"x: SHA-256 is .* damaged or another edition; delete it"):
        locate(sources, raw=tmp_path, downloads=tmp_path)


def test_unknown_wheel(tmp_path: Path) -> None:
    """`--no-index` through pip's own environment variable: no network is asked."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PIP_NO_INDEX", "1")
    try:
        with pytest.raises(InputError, match=r"pip could not download recbole==1.2.1 .*place the"):
            fetch_from_wheel("recbole==1.2.1", "recbole/x", tmp_path / "x")
    finally:
        patch.undo()


@pytest.mark.slow
def test_ml_100k_from_its_wheel(tmp_path: Path) -> None:
    """Needs PyPI."""
    member = "recbole/dataset_example/ml-100k/ml-100k.inter"
    try:
        fetch_from_wheel("recbole==1.2.1", member, tmp_path / "x")
    except InputError as error:
        pytest.skip(f"PyPI cannot be reached: {error}")
    expected = "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
    assert hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest() == expected
    with pytest.raises(InputError, match=r"the wheel's SHA-256 is .* expected 00"):
        fetch_from_wheel("recbole==1.2.1", member, tmp_path / "x", wheel_checksum="00" * 32)
