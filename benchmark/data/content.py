"""A dataset in memory: what a model can see of it, and the hash of all that.

Belongs to the core that a run's code hash covers; reading and building stand above it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from findrec.recommender import Attribute, Catalogue, Features, Modality

if TYPE_CHECKING:
    from benchmark.data.features import FeatureTable
    from benchmark.data.meta import BundleMeta

ITEM_COLUMNS = ("id", "title", "text")
"""Columns of the items that are no attributes."""


MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True)
class Bundle:
    """A dataset in memory."""

    name: str
    path: Path
    interactions: pd.DataFrame
    """user (0..U-1), item (1..N), timestamp, position (0-based in the user's sequence); sorted by
    user, then position."""
    items: pd.DataFrame
    """item (1..N), id (the source's), title, text, a column of '|'-joined values an attribute."""
    text: Features | None
    image: Features | None
    meta: "BundleMeta"

    @property
    def n_users(self) -> int:
        """U, the number of users."""
        return self.meta.counts.users

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return self.meta.counts.items

    def sequences(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(items, offsets [U + 1]): user u's whole sequence is items[offsets[u]:offsets[u + 1]]."""
        return sequences(self.interactions)

    def catalogue(self) -> Catalogue:
        """What models may know of the items."""
        return Catalogue(
            items=self.n_items,
            text=self.text,
            image=self.image,
            attributes={
                name: encode_attribute(self.items[name]) for name in attribute_names(self.items)
            },
        )


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
    interactions: pd.DataFrame, items: pd.DataFrame, tables: "Mapping[Modality, FeatureTable]"
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
            for k, array in enumerate(table.scaled()):
                add(f"{modality}.{k}", array.astype("<f4"))
    return digest.hexdigest()
