"""A dataset on disk: built once from its sources, loaded and verified ever after.

NAME/interactions.parquet   user, item, timestamp, position
NAME/items.parquet          item, id, title, text, attributes
NAME/users.parquet          user, id
NAME/text.safetensors       features (benchmark/data/features.py), if there are any
NAME/image.safetensors
NAME/bundle.json            BundleMeta: source, checksums, filter, counts, provenance
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import Progress

from benchmark.data.config import (
    SHIPPED,
    Counts,
    DatasetConfig,
    Modality,
    Source,
    TieOrder,
    dataset_config,
    dataset_names,
    unknown_dataset,
)
from benchmark.data.content import MODALITIES, Bundle, data_hash
from benchmark.data.features import FeatureTable, joined, read_features, write_features
from benchmark.data.film_titles import named_by_title
from benchmark.data.filter import k_core
from benchmark.data.formats import read_numbering
from benchmark.data.ids import match_ids
from benchmark.data.kept import encoded_features
from benchmark.data.meta import (
    VERSION,
    BundleMeta,
    check_file,
    default_raw,
    default_root,
    filter_name,
    is_current,
    meta_bytes,
    read_frame,
    read_meta,
)
from benchmark.data.names import check_target
from benchmark.data.readers import read_interactions, read_items
from benchmark.data.sources import locate
from benchmark.errors import InputError
from benchmark.files import atomic_file, atomic_folder, locked, sha256


def build_bundle(
    name: str,
    *,
    root: Path | None = None,
    raw: Path | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Build a dataset from the first sources that can be had and write it to root/name.

    root: default_root() if None; raw: folder of raw files, default_raw() if None. Raises InputError
    for an unknown name, sources that cannot be had, bad input, counts other than the expected, or a
    folder that cannot be written.
    """
    config = dataset_config(name)
    root = root or default_root()
    raw = raw or default_raw()
    downloads = root / "raw"
    source, path = locate(config.interactions, raw=raw, downloads=downloads, progress=progress)
    inputs = {source.file: path}
    ids = None
    if source.ids is not None:
        _, inputs[source.ids.file] = locate(
            [source.ids], raw=raw, downloads=downloads, progress=progress
        )
        ids = read_numbering(inputs[source.ids.file])
    remarks: list[str] = []
    interactions = read_interactions(path, source.format, ids, remarks=remarks)
    _expect(config.raw, interactions, path, "the source holds")
    items = None
    if config.items:
        item_source, item_path = locate(
            config.items, raw=raw, downloads=downloads, progress=progress
        )
        inputs[item_source.file] = item_path
        tags = None
        if item_source.title_tags is not None:
            _, tags = locate(
                [item_source.title_tags], raw=raw, downloads=downloads, progress=progress
            )
            inputs[item_source.title_tags.file] = tags
        items = read_items(
            item_path,
            item_source.format,
            title_tags=tags,
            complete=item_source.complete,
            remarks=remarks,
        )
        if config.items_by_title:
            every = _counts(interactions)
            interactions = named_by_title(interactions, items, str(path))
            remarks.append(
                f"{source.file} has {every.interactions:,} interactions with {every.items:,} "
                "items: those are read whose item is described (same title and year)"
            )
        known = list(dict.fromkeys(interactions["item"]))
        match_ids(known, list(items["id"]), known_from=str(path), given_from=str(item_path))
    tables: dict[Modality, FeatureTable] = {}
    for modality, feature in config.features.items():
        if feature.shipped:
            tables[modality] = joined([read_features(SHIPPED / file) for file in feature.shipped])
            inputs |= {file: SHIPPED / file for file in feature.shipped}
    return write_bundle(
        config,
        interactions,
        items,
        tables,
        root=root,
        source=_origin(source, path, raw),
        inputs=inputs,
        remarks=remarks,
    )


def write_bundle(
    config: DatasetConfig,
    interactions: pd.DataFrame,
    items: pd.DataFrame | None,
    tables: Mapping[Modality, FeatureTable],
    *,
    root: Path,
    source: str,
    inputs: Mapping[str, Path],
    remarks: Sequence[str] = (),
) -> Bundle:
    """Filter, order and number the interactions, attach items and features, and write the bundle.

    Users and items are numbered in the order of their first appearance in the filtered source.
    Interactions are sorted by timestamp as the configuration's `order` says, ties in the source's
    row order. What encoders have made for the bundle that stood there is kept, if the texts are the
    same. Features are centred and scaled over the bundle's items.

    Raises InputError as `build_bundle` does, and where root/name holds anything but a bundle.
    """
    check_target(root / config.name, inputs.values())
    read = _counts(interactions)
    if config.core is not None:
        interactions = k_core(interactions, config.core)
    _expect(config.expected, interactions, Path(source), f"the {config.core}-core holds")
    user, user_ids = pd.factorize(interactions["user"])
    item, ids = pd.factorize(interactions["item"])
    frame = pd.DataFrame({"user": user, "item": item + 1, "timestamp": interactions["timestamp"]})
    frame = frame.iloc[np.lexsort((np.arange(len(frame)), _clock(frame, config.order), user))]
    frame["position"] = frame.groupby("user").cumcount()
    frame = frame.astype({"user": "int64", "item": "int64", "position": "int64"})
    frame = frame.reset_index(drop=True)
    described = _describe(list(ids), items)
    kept = {modality: table.select(list(ids)) for modality, table in tables.items()}
    for modality, table in kept.items():
        if not table.present.any():
            raise InputError(
                f"{table.provenance.encoder}: no item that {filter_name(config)} keeps has a row "
                f"among these {modality} features; leave out the file, or keep more (--core)"
            )
    noticed = list(remarks)
    kept |= encoded_features(root / config.name, described, kept, noticed)
    kept = {modality: table.fitted() for modality, table in kept.items()}
    users = pd.DataFrame({"user": np.arange(len(user_ids)), "id": user_ids})
    with atomic_folder(root / config.name) as folder:
        frame.to_parquet(folder / "interactions.parquet", index=False)
        described.to_parquet(folder / "items.parquet", index=False)
        users.to_parquet(folder / "users.parquet", index=False)
        for modality, table in kept.items():
            write_features(folder / f"{modality}.safetensors", table)
        meta = BundleMeta(
            name=config.name,
            title=config.title,
            source=source,
            inputs={name: sha256(path) for name, path in inputs.items()},
            outputs={file.name: sha256(file) for file in sorted(folder.iterdir())},
            version=VERSION,
            filter=filter_name(config),
            order=config.order,
            read=read,
            counts=_counts(frame),
            encoders={m: kept[m].provenance.encoder if m in kept else None for m in MODALITIES},
            provenance={m: table.provenance for m, table in kept.items()},
            grade=config.grade,
            licence=config.licence,
            notes=config.notes,
            data_hash=data_hash(frame, described, kept),
            remarks=noticed,
        )
        (folder / "bundle.json").write_bytes(meta_bytes(meta))
    return _read(root / config.name)


def attach_features(bundle: Bundle, modality: Modality, table: FeatureTable) -> Bundle:
    """The bundle with a modality's features added or replaced, on disk too.

    The metadata are written last: a kill in between leaves a file that the checksums name, and the
    next build mends.
    """
    table = table.select(list(bundle.items["id"])).fitted()
    tables = {m: read_features(bundle.path / f"{m}.safetensors") for m in bundle.meta.provenance}
    tables[modality] = table
    path = bundle.path / f"{modality}.safetensors"
    with atomic_file(path) as written:  # all that takes time comes before the file is in its place
        write_features(written, table)
        meta = bundle.meta.model_copy(
            update={
                "outputs": {**bundle.meta.outputs, path.name: sha256(written)},
                "encoders": {**bundle.meta.encoders, modality: table.provenance.encoder},
                "provenance": {m: t.provenance for m, t in tables.items()},
                "data_hash": data_hash(bundle.interactions, bundle.items, tables),
            }
        )
    with atomic_file(bundle.path / "bundle.json") as temporary:
        temporary.write_bytes(meta_bytes(meta))
    return _read(bundle.path)


def load_bundle(
    name: str,
    *,
    root: Path | None = None,
    raw: Path | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Load root/name, building it on first use, or again when this package's recipe has changed.

    Raises InputError, naming any damaged file.
    """
    root = root or default_root()
    if (bundle := read_bundle(name, root=root)) is not None:
        return bundle
    if name not in dataset_names():
        own = [path.parent.name for path in root.glob("*/bundle.json")]
        raise unknown_dataset(name, own)
    with locked(root / f".{name}.lock"):  # of processes that start together, one builds
        if (bundle := read_bundle(name, root=root)) is not None:
            return bundle
        return build_bundle(name, root=root, raw=raw, progress=progress)


def read_bundle(name: str, *, root: Path) -> Bundle | None:
    """Load root/name as it stands; None where `load_bundle` would build it.

    Raises InputError, naming any damaged file.
    """
    return _read(root / name) if is_current(root / name, name) else None


def user_ids(bundle: Bundle) -> list[str]:
    """The source's ids of the users, in the order of their numbers 0 ... U - 1."""
    return read_frame(bundle.path, "users.parquet")["id"].tolist()


def _read(path: Path) -> Bundle:
    meta = read_meta(path)
    for name in meta.outputs:
        check_file(path, meta, name)
    interactions = read_frame(path, "interactions.parquet")
    items = read_frame(path, "items.parquet")
    features = {m: read_features(path / f"{m}.safetensors").features() for m in meta.provenance}
    return Bundle(
        name=meta.name,
        path=path,
        interactions=interactions,
        items=items,
        text=features.get("text"),
        image=features.get("image"),
        meta=meta,
    )


def _clock(frame: pd.DataFrame, order: TieOrder) -> NDArray[np.floating | np.integer]:
    """What interactions are sorted by.

    RecBole scales timestamps to [0, 1] and keeps them in float32 before it sorts (its option
    `normalize_all`), so that neighbouring ones tie: on ML-100k those within a second of each other.
    """
    time = frame["timestamp"].to_numpy()
    if order == "exact":
        return time
    return ((time - time.min()) / max(time.max() - time.min(), 1)).astype(np.float32)


def _origin(source: Source, path: Path, raw: Path | None) -> str:
    if raw is not None and path == raw / source.file:
        return f"local file {source.file}"
    return source.wheel or source.url or "shipped with this package"


def _describe(ids: list[str], items: pd.DataFrame | None) -> pd.DataFrame:
    """The items in the order of their numbers; what is not described has empty columns."""
    frame = pd.DataFrame({"item": np.arange(1, len(ids) + 1), "id": ids})
    if items is None:
        return frame.assign(title="", text="")
    return frame.merge(items, on="id", how="left", validate="one_to_one").fillna("")


def _counts(frame: pd.DataFrame) -> Counts:
    return Counts(
        users=frame["user"].nunique(), items=frame["item"].nunique(), interactions=len(frame)
    )


def _expect(expected: Counts | None, frame: pd.DataFrame, origin: Path, what: str) -> None:
    if expected is None:
        return
    found = _counts(frame)
    if found != expected:
        raise InputError(
            f"{origin}: {what} {found.users:,} users, {found.items:,} items, "
            f"{found.interactions:,} interactions, expected {expected.users:,}, "
            f"{expected.items:,}, {expected.interactions:,}; the file is cut off or "
            "another edition: fetch it again"
        )
