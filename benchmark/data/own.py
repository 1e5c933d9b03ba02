"""A user's own data as a dataset: a table of interactions, or RecBole's atomic files."""

from collections.abc import Mapping
from pathlib import Path

from benchmark.data.bundle import write_bundle
from benchmark.data.config import DatasetConfig, Modality, dataset_names
from benchmark.data.content import Bundle
from benchmark.data.features import FeatureTable, own_features
from benchmark.data.meta import default_root
from benchmark.data.readers import check_interactions, read_interactions, read_items, read_table
from benchmark.errors import InputError


def import_dataset(
    name: str,
    interactions: Path,
    *,
    items: Path | None = None,
    features: Mapping[Modality, Path] | None = None,
    core: int | None = 5,
    columns: tuple[str, str, str] = ("user", "item", "timestamp"),
    root: Path | None = None,
) -> Bundle:
    """Build root/name from a user's files; afterwards load_bundle(name) finds it.

    interactions: CSV, TSV or Parquet with `columns` naming user, item and timestamp, or a RecBole
    .inter file (an .item file beside it describes the items). items: CSV or Parquet with id and, if
    there are any, title, text and categorical attributes ('|' between several values). features:
    modality -> .npy, .npz or .safetensors; without ids of their own, their rows belong to the rows
    of `items`. core: None keeps everything, but every user needs three interactions.
    Raises InputError for a name in use by a known dataset and for bad input.
    """
    if name in dataset_names():
        raise InputError(f"{name!r} is a known dataset; give your own data another name")
    if not name.isidentifier() and not name.replace("-", "").isalnum():
        raise InputError(f"{name!r}: a dataset's name has letters, digits, hyphens and underscores")
    inputs = {interactions.name: interactions}
    atomic = interactions.suffix == ".inter"
    if atomic:
        frame = read_interactions(interactions, "atomic")
        beside = interactions.with_suffix(".item")
        items = items or (beside if beside.is_file() else None)
    else:
        frame = check_interactions(read_table(interactions, columns), interactions, header=True)
    described = None
    if items is not None:
        described = read_items(items, "atomic" if items.suffix == ".item" else "items")
        inputs[items.name] = items
    tables: dict[Modality, FeatureTable] = {}
    for modality, path in (features or {}).items():
        if described is None and path.suffix == ".npy":
            raise InputError(
                f"{path}: whose rows are these? Give the items (option --items) in the rows' "
                "order, or an .npz with arrays `values` and `ids`"
            )
        tables[modality] = own_features(path, [] if described is None else list(described["id"]))
        inputs[path.name] = path
    config = DatasetConfig(
        name=name,
        title=name,
        grade="C",
        core=core,
        interactions=[],
        licence="the user's own",
    )
    return write_bundle(
        config,
        frame,
        described,
        tables,
        root=root or default_root(),
        source=interactions.name,
        inputs=inputs,
    )
