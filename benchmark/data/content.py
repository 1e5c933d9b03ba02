"""What a model can see of a dataset: sequences, attributes, features; and the hash of it all."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmark.data.config import Modality
from benchmark.data.features import FeatureTable
from benchmark.data.meta import MODALITIES
from benchmark.data.readers import ITEM_COLUMNS
from findrec.recommender import Attribute


def sequences(interactions: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(items, offsets [U + 1]) of interactions that are sorted by user and position."""
    lengths = np.bincount(interactions["user"].to_numpy())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return interactions["item"].to_numpy(dtype=np.int64), offsets


def attribute_names(items: pd.DataFrame) -> list[str]:
    """The columns that describe items by categories."""
    return [str(name) for name in items.columns if name not in {"item", *ITEM_COLUMNS}]


def encode_attribute(column: "pd.Series[str]") -> Attribute:
    """Numbers of a column of '|'-joined values, in alphabetical order; row 0 is padding."""
    values = [[v for v in str(cell).split("|") if v] for cell in column]
    number = {v: k for k, v in enumerate(sorted({v for row in values for v in row}), start=1)}
    encoded = torch.zeros(len(values) + 1, max(map(len, values), default=1) or 1, dtype=torch.int64)
    for row, names in enumerate(values, start=1):
        for place, name in enumerate(names):
            encoded[row, place] = number[name]
    return Attribute(values=encoded, size=len(number))


def data_hash(
    interactions: pd.DataFrame, items: pd.DataFrame, tables: Mapping[Modality, FeatureTable]
) -> str:
    """SHA-256 over sequences, features and attributes, as a model sees them."""
    digest = hashlib.sha256()

    def add(name: str, array: NDArray[np.generic]) -> None:
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())

    sequence, offsets = sequences(interactions)
    add("items", sequence.astype("<i4"))
    add("offsets", offsets.astype("<i8"))
    for name in sorted(attribute_names(items)):
        add(name, encode_attribute(items[name]).values.numpy().astype("<i4"))
    for modality in MODALITIES:
        if modality in tables:
            table = tables[modality]
            add(f"{modality}.present", table.present)
            for k, array in enumerate((table.values, *table.layers)):
                add(f"{modality}.{k}", (array * table.present[:, None]).astype("<f4"))
    return digest.hexdigest()
