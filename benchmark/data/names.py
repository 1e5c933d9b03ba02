"""Names of datasets, and which folders a dataset may take the place of."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from benchmark.data.config import dataset_names
from benchmark.errors import InputError
from benchmark.files import writing

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
    folded = name.casefold()  # some file systems do not tell upper case from lower
    if folded in {known.casefold() for known in dataset_names()}:
        raise InputError(f"{name!r} is a known dataset; give your own data another name")
    if folded in RESERVED:
        raise InputError(
            f"{name!r} is the folder of downloads beside the datasets; give your own data another "
            "name"
        )
    if re.fullmatch(r"\w[\w-]{0,63}", name) is None:
        raise InputError(
            f"{name!r}: a dataset's name has letters, digits, hyphens and underscores, begins with "
            "no hyphen and is at most 64 long"
        )


def check_target(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise InputError unless a dataset may be written to `path`: nothing or an empty folder is
    there, or a dataset and no other file. inputs: files that must survive."""
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
