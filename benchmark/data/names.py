"""Names of datasets, and which folders a dataset may take the place of."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from benchmark.data.config import dataset_names
from benchmark.errors import InputError
from benchmark.files import writing
from benchmark.runs.spec import slug

RESERVED = ("raw",)
"""Folders beside the datasets that are none: raw/ keeps downloads."""

TRUTH = "truth.json"
"""What is planted in a generated dataset."""

FILES = frozenset(
    (
        "bundle.json",
        TRUTH,
        "interactions.parquet",
        "items.parquet",
        "users.parquet",
        "text.safetensors",
        "image.safetensors",
        ".text.parts",
        ".image.parts",
        ".DS_Store",
    )
)
"""What a dataset's folder holds; `.parts` are what an interrupted encoder has finished."""


def check_name(name: str) -> None:
    """Raise InputError for a name that a user's own dataset cannot have."""
    if re.fullmatch(r"\w[\w-]{0,63}", name) is None:
        raise InputError(
            f"{name!r}: a dataset's name has letters, digits, hyphens and underscores, begins with "
            "no hyphen and is at most 64 long"
        )
    folder = slug(name)  # of its runs, in lower case: some file systems do not tell it from upper
    if folder in map(slug, dataset_names()):
        raise InputError(f"{name!r} is a known dataset; give your own data another name")
    if folder in RESERVED:
        raise InputError(
            f"{name!r} is the folder of downloads beside the datasets; give your own data another "
            "name"
        )


def _folder(name: str) -> str:
    """Of a dataset's runs; "" where its name, of a folder that somebody made, gives none."""
    try:
        return slug(name)
    except InputError:
        return ""


def check_target(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise InputError unless a dataset may be written to `path`: nothing or an empty folder is
    there, or a dataset and no other file, and no other dataset beside it has runs of the same
    names. inputs: files that must survive."""
    for beside in sorted(path.parent.glob("*/bundle.json")):
        other = beside.parent.name
        if other != path.name and _folder(other) == _folder(path.name):
            raise InputError(
                f"{path.name!r}: its runs would lie in the folder {_folder(other)!r}, as those of "
                f"the dataset {other!r} do; give it another name"
            )
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(f"{path}: a file stands where the dataset's folder would; move it away")
    with writing(path):
        held = sorted(file.name for file in path.iterdir())
    foreign = [name for name in held if not _ours(name)] if _is_bundle(path) else held
    if foreign:
        raise InputError(
            f"{path}: holds what is no part of a dataset and would be deleted: "
            f"{', '.join(foreign[:5])}{' ...' if len(foreign) > 5 else ''}; move it away, or give "
            "the dataset another name"
        )
    for file in inputs:
        if file.resolve().is_relative_to(path.resolve()):
            raise InputError(
                f"{file}: lies in the folder {path}, whose place the dataset would take; move the "
                "file, or give the dataset another name"
            )


def _is_bundle(path: Path) -> bool:
    """Whether a dataset is in the folder, or what damage has left of one."""
    meta = path / "bundle.json"
    if not meta.is_file():
        return False
    return (path / "interactions.parquet").is_file() or b'"data_hash"' in meta.read_bytes()


def _ours(name: str) -> bool:
    """Whether a bundle's file is called so, or what a killed write of one leaves behind."""
    return name in FILES or any(name.startswith(f".{file}.") for file in FILES)


def plain_name(path: Path) -> str:
    """A file's name as text that UTF-8 can hold; '?' for bytes that are none."""
    return path.name.encode("utf-8", "replace").decode()
