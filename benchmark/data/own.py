"""A user's own data as a dataset: a table of interactions, or RecBole's atomic files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.data.bundle import write_bundle
from benchmark.data.config import DatasetConfig, Modality
from benchmark.data.content import Bundle
from benchmark.data.features import FeatureTable, own_features
from benchmark.data.ids import match_ids
from benchmark.data.meta import default_root
from benchmark.data.names import check_name, check_target, plain_name
from benchmark.data.readers import (
    INTERACTION_COLUMNS,
    READ_ATTRIBUTES,
    read_interactions,
    read_items,
)
from benchmark.errors import InputError
from rankaudit.text_table import PACKED

ITEM_NAMES = ("id", "title", "text", *READ_ATTRIBUTES)


def import_dataset(
    name: str,
    interactions: Path,
    *,
    items: Path | None = None,
    features: Mapping[Modality, Path] | None = None,
    core: int | None = 5,
    columns: Mapping[str, str] | tuple[str, str, str] = INTERACTION_COLUMNS,
    root: Path | None = None,
) -> Bundle:
    """Build root/name from a user's files; afterwards load_bundle(name) finds it.

    interactions: CSV, TSV or Parquet with the columns user, item and timestamp, or a RecBole .inter
    file (an .item file beside it describes the items); compressed or not. items: CSV, TSV, Parquet
    or .item with id and, if there are any, title, text and categorical attributes ('|' between
    several values). features: modality -> .npy, .npz or .safetensors; without ids of their own,
    their rows belong to the rows of `items`. core: None keeps everything, but every user needs
    three interactions. columns: our name (user, item, timestamp, and of the items `ITEM_NAMES`)
    -> the file's own, of those that differ; or the file's names of the first three.
    Raises InputError for a name that is taken or reserved, a folder root/name that holds anything
    but a dataset, and bad input.
    """
    check_name(name)
    if core is not None and core < 1:
        raise InputError(f"core {core}: give the k of the k-core, or None for no filter")
    root = root or default_root()
    given = [interactions, *((items,) if items else ()), *(features or {}).values()]
    check_target(root / name, given)
    if not isinstance(columns, Mapping):
        columns = dict(zip(INTERACTION_COLUMNS, columns, strict=True))
    renamed = {k: v for k, v in columns.items() if k != v}
    unknown = set(renamed) - {*INTERACTION_COLUMNS, *ITEM_NAMES}
    if unknown:
        raise InputError(
            f"--columns {unknown.pop()}=...: names of columns are given for "
            f"{', '.join((*INTERACTION_COLUMNS, *ITEM_NAMES))}"
        )
    _check_apart({name: columns.get(name, name) for name in INTERACTION_COLUMNS})
    _check_apart({"id": "id"} | {k: v for k, v in columns.items() if k in ITEM_NAMES})
    remarks: list[str] = []
    atomic = _is(interactions, ".inter")
    frame = read_interactions(
        interactions,
        "atomic" if atomic else "table",
        columns={k: v for k, v in renamed.items() if k in INTERACTION_COLUMNS},
        remarks=remarks,
    )
    if items is None and atomic and (beside := _beside(interactions)) is not None:
        items = beside
        given.append(items)
    described = None
    of_items = {k: v for k, v in renamed.items() if k in ITEM_NAMES}
    if items is None and of_items:
        name, column = next(iter(of_items.items()))
        raise InputError(
            f"--columns {name}={column}: names a column of a file of items; give that file, too "
            "(option --items)"
        )
    if items is not None:
        described = read_items(
            items,
            "atomic" if _is(items, ".item") else "items",
            of_items,
            remarks,
        )
    ids = list(dict.fromkeys(frame["item"]))
    if described is not None:
        match_ids(ids, list(described["id"]), known_from=interactions.name, given_from=str(items))
    tables: dict[Modality, FeatureTable] = {}
    for modality, path in (features or {}).items():
        rows_of = [] if described is None else list(described["id"])
        tables[modality] = own_features(path, ids, rows_of=rows_of)
        empty = int((tables[modality].present & ~tables[modality].values.any(axis=1)).sum())
        if empty:
            remarks.append(
                f"{plain_name(path)}: {empty:,} rows of zeros count as features; if they stand for "
                "items without any, say so by an array `mask`"
            )
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
        root=root,
        source=plain_name(interactions),
        inputs=_inputs(given),
        remarks=remarks,
    )


def _inputs(given: Sequence[Path]) -> dict[str, Path]:
    """By name; of several that are called alike, by the folder as well, then by a number."""
    found: dict[str, Path] = {}
    for path in given:
        name = plain_name(path)
        if name in found:
            name = f"{plain_name(path.parent)}/{name}"
        number = 2
        while name in found:
            name, number = f"{plain_name(path)} ({number})", number + 1
        found[name] = path
    return found


def _check_apart(columns: Mapping[str, str]) -> None:
    """Raise InputError where two of our columns would be one of the file's."""
    ours: dict[str, str] = {}
    for name, column in columns.items():
        if column in ours:
            raise InputError(
                f"--columns {name}={column}: that column is the {ours[column]} too; name another "
                "for one of them"
            )
        ours[column] = name


def _beside(interactions: Path) -> Path | None:
    """RecBole's file of items beside one of interactions, compressed or not."""
    stem = interactions.name[: interactions.name.lower().rindex(".inter")]
    start = f"{stem}.item".lower()
    found = (path for path in interactions.parent.iterdir() if path.is_file())
    return min(
        (p for p in found if _is(p, ".item") and p.name.lower().startswith(start)), default=None
    )


def _is(path: Path, suffix: str) -> bool:
    """Whether the file, compressed or not, has the suffix."""
    suffixes = [s.lower() for s in path.suffixes]
    return suffixes[-1:] == [suffix] or (suffixes[-2:-1] == [suffix] and suffixes[-1] in PACKED)
