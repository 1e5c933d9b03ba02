"""What is known of a dataset without loading it: bundle.json, its files' checksums, its features.

Needs neither torch nor the features themselves, so that plans, tables and reports are made from the
metadata alone.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow
from pydantic import BaseModel, ConfigDict

from benchmark.data.config import (
    SHIPPED,
    Counts,
    DatasetConfig,
    Grade,
    Modality,
    TieOrder,
    dataset_config,
    dataset_names,
)
from benchmark.errors import InputError, lacks_memory
from benchmark.files import sha256

VERSION = 3
"""Of the format of bundles. 2: users.parquet, a checksum of bundle.json, counts of the source.
3: constants that features are centred and scaled by."""


class Provenance(BaseModel):
    """How a feature file came to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str
    """Registry name of the encoder, or the name of the user's own file."""
    model: str
    """The model and how its states were pooled."""
    packages: dict[str, str] = {}
    """Name -> version of what computed it."""
    inputs: str = ""
    """SHA-256 over the ids and the texts or pictures that were encoded."""
    layers: list[str] = []
    """What the K kept layers are."""
    created: date
    licence: str = ""
    """Of the inputs and of the encoder's weights."""


class BundleMeta(BaseModel):
    """bundle.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    """Of this format."""
    name: str
    title: str
    source: str
    """Where the interactions came from."""
    inputs: dict[str, str]
    """File -> SHA-256 of what the bundle was built from."""
    outputs: dict[str, str]
    """File -> SHA-256 of what the bundle consists of."""
    filter: str
    order: TieOrder
    read: Counts
    """Of the source, before the filter."""
    counts: Counts
    encoders: dict[Modality, str | None]
    """Encoder of each modality's features, None where the dataset lacks the modality."""
    provenance: dict[Modality, Provenance]
    grade: Grade
    licence: str
    notes: str
    data_hash: str
    """SHA-256 over all that a model can see: sequences, features, attributes. Equal data have equal
    hashes wherever and whenever they were built."""
    remarks: list[str] = []
    """What was noticed while the sources were read."""


@dataclass(frozen=True)
class DatasetFacts:
    """What a table says of a dataset."""

    name: str
    title: str
    grade: Grade
    encoders: Mapping[str, str]
    """Modality -> encoder, of the modalities that it has."""


def default_root() -> Path:
    """Where bundles are kept: environment variable FINDREC_DATA, or data/ in the working folder."""
    return Path(os.environ.get("FINDREC_DATA") or Path.cwd() / "data")


def default_raw() -> Path | None:
    """The user's folder of raw files: environment variable FINDREC_RAW, or none. Raises InputError
    where it names no folder."""
    folder = os.environ.get("FINDREC_RAW")
    return checked_raw(Path(folder), "FINDREC_RAW") if folder else None


def checked_raw(folder: Path, named_by: str) -> Path:
    """The folder. Raises InputError where it is none, in place of building from other sources."""
    if not folder.is_dir():
        raise InputError(f"{named_by} {folder}: no such folder of raw files; mend it, or unset it")
    return folder


def bundle_meta(name: str, *, root: Path | None = None) -> BundleMeta:
    """The metadata of root/name; the bundle is built where it is not there or not current.

    Raises InputError for an unknown name, a damaged bundle.json, and where the build fails.
    """
    root = root or default_root()
    if is_current(root / name, name):
        return read_meta(root / name)
    from benchmark.data.bundle import load_bundle  # building handles features, which needs torch

    return load_bundle(name, root=root).meta


def dataset_facts(name: str, *, root: Path | None = None) -> DatasetFacts:
    """From the dataset's bundle; where that is to be built, or built again, from its configuration,
    with the features that come with this package. Raises InputError for an unknown dataset or a
    damaged bundle."""
    path = (root or default_root()) / name
    if not is_current(path, name):
        config = dataset_config(name)
        shipped: dict[str, str] = {m: f.encoder for m, f in config.features.items() if f.shipped}
        return DatasetFacts(name, config.title, config.grade, shipped)
    meta = read_meta(path)
    encoders: dict[str, str] = {m: e for m, e in meta.encoders.items() if e is not None}
    return DatasetFacts(name, meta.title, meta.grade, encoders)


def is_current(path: Path, name: str) -> bool:
    """Whether the bundle is there, and this package would not now build another: other recipe or
    other shipped features. A damaged one counts as current: the reader names the damage."""
    if not (path / "bundle.json").is_file():
        return False
    if name not in dataset_names():
        return True
    try:
        built = json.loads((path / "bundle.json").read_bytes())
        inputs = dict(built["inputs"])
    except (ValueError, TypeError, KeyError):
        return True
    config = dataset_config(name)
    recipe = {"version": VERSION, "filter": filter_name(config), "order": config.order}
    if any(built.get(key) != value for key, value in recipe.items()):
        return False
    files = [file for feature in config.features.values() for file in feature.shipped]
    return all(inputs.get(file) == sha256(SHIPPED / file) for file in files)


def read_meta(path: Path) -> BundleMeta:
    """`path`/bundle.json. Raises InputError where it is damaged or of another version."""
    file = path / "bundle.json"
    try:
        content = file.read_bytes()
        fields = json.loads(content)
        if isinstance(fields, dict):
            fields.pop("sha256", None)
            version = fields.get("version")
            if isinstance(version, int) and version != VERSION:
                raise InputError(
                    f"{file}: the dataset is of format {version}, and this program reads format "
                    f"{VERSION}; {_rebuild(path)}"
                )
        meta = BundleMeta.model_validate_json(json.dumps(fields))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {_rebuild(path)}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or not that of a bundle
        raise InputError(f"{file}: damaged or of another version; {_rebuild(path)}") from error
    if content != meta_bytes(meta):
        raise InputError(f"{file}: damaged (its SHA-256 differs); {_rebuild(path)}")
    return meta


def meta_bytes(meta: BundleMeta) -> bytes:
    """What bundle.json holds: the metadata, and last the SHA-256 of the same text without it.

    The text is a function of the metadata, so that a reader who writes it again finds any byte that
    has changed.
    """
    text = meta.model_dump_json(indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (text.removesuffix("\n}") + f',\n "sha256": "{digest}"\n}}\n').encode()


def check_file(path: Path, meta: BundleMeta, name: str) -> None:
    """Raise InputError unless the file `name` of the bundle in `path` is as it was written."""
    if not (path / name).is_file() or sha256(path / name) != meta.outputs.get(name):
        raise InputError(f"{path / name}: missing or damaged (SHA-256 differs); {_rebuild(path)}")


def read_frame(path: Path, name: str) -> pd.DataFrame:
    """A Parquet file of the bundle in `path`. Raises InputError where it cannot be read."""
    try:
        return pd.read_parquet(path / name)
    except (OSError, pyarrow.ArrowException) as error:
        if lacks_memory(error):
            raise
        raise InputError(
            f"{path}: a Parquet file cannot be read ({error}); {_rebuild(path)}"
        ) from error


def filter_name(config: DatasetConfig) -> str:
    """The dataset's filter, as bundle.json records it."""
    return f"iterative {config.core}-core" if config.core is not None else "none"


def _rebuild(path: Path) -> str:
    if path.name not in dataset_names():
        return f"delete the folder {path} and import your files again"
    return f"delete the folder {path}, and the next command builds it again"
