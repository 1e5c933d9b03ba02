"""What only the official sites have: full descriptions and pictures of the items.

The first thing to run where there is internet: after it, `build_bundle` reads the descriptions and
`build_features` encodes them and the pictures with any encoder.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.progress import Progress

from benchmark.data.bundle import build_bundle, load_bundle
from benchmark.data.config import dataset_config
from benchmark.data.encode import picture
from benchmark.data.fetch import download
from benchmark.data.formats import json_lines
from benchmark.data.meta import default_raw, default_root
from benchmark.errors import InputError

PATIENCE = 50
"""So many pictures in a row that cannot be had end the run: the site is down, no picture gone."""


def fetch_official(
    name: str,
    *,
    pictures: bool = True,
    root: Path | None = None,
    raw: Path | None = None,
    progress: Progress | None = None,
) -> int:
    """Download a dataset's official item descriptions and pictures, and build the bundle again.

    What is there is not fetched again, so a second call goes on where the first stopped. Returns
    the number of items that have a picture afterwards. Raises InputError if the descriptions cannot
    be had, or if no picture can, or PATIENCE in a row cannot.
    """
    root, raw = root or default_root(), raw or default_raw()
    config = dataset_config(name)
    sources = [source for source in config.items if source.url is not None]
    for source in sources:
        have = [folder / source.file for folder in (raw, root / "raw") if folder is not None]
        if source.url is not None and not any(path.is_file() for path in have):
            target = root / "raw" / source.file
            download(source.url, target, checksum=source.sha256, progress=progress)
    bundle = build_bundle(name, root=root, raw=raw, progress=progress) if sources else None
    bundle = bundle or load_bundle(name, root=root, raw=raw, progress=progress)
    if not pictures:
        return 0
    if config.images is None:
        raise InputError(f"{name}: its official source has no pictures")
    ids = list(bundle.items["id"])
    task = progress.add_task(f"pictures of {name}", total=len(ids)) if progress else None
    found, lost = 0, 0
    failure: InputError | None = None
    for item, url in _urls(name, ids, root, raw):
        path = picture(config.images, item, raw, root)
        try:
            if not path.is_file():
                download(url, path)
            found, lost = found + 1, 0
        except InputError as error:
            failure, lost = error, lost + 1  # some pictures are gone for good
            if lost == PATIENCE:
                raise
        if progress and task is not None:
            progress.advance(task)
    if found == 0:
        raise failure or InputError(f"{name}: the descriptions name no picture")
    return found


def _urls(name: str, ids: list[str], root: Path, raw: Path | None) -> Iterator[tuple[str, str]]:
    """(item, address of its picture)"""
    config = dataset_config(name)
    if config.image_url is not None:
        yield from ((item, config.image_url.format(id=item)) for item in ids)
    wanted = set(ids)
    for source in config.items:
        if source.format == "amazon-metadata":
            path = picture(source.file, "", raw, root)
            for _, record in json_lines(path):
                if record.get("asin") in wanted and record.get("imUrl"):
                    yield str(record["asin"]), str(record["imUrl"])
