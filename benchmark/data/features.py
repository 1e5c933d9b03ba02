"""Feature files: one safetensors file a modality, rows in the order of the ids in its header.

Tensors: `values` [N, F] and `present` [N] bool; optionally `layers.0` ... `layers.K-1` [N, F_k],
pooled states after K layers of the encoder, each at its own width. Encoders' outputs are kept in
float16 (relative rounding 5e-4, far below what the frozen features tell apart); a user's own arrays
keep their type.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from benchmark.data.meta import Provenance
from benchmark.errors import InputError
from benchmark.files import atomic_file
from findrec.recommender import Features


@dataclass(frozen=True)
class FeatureTable:
    """Features of the items named in `ids`, row by row."""

    ids: list[str]
    values: NDArray[np.floating]
    """[N, F]"""
    present: NDArray[np.bool_]
    """[N]"""
    layers: tuple[NDArray[np.floating], ...]
    """K arrays [N, F_k]"""
    provenance: Provenance

    def check(self, origin: str) -> None:
        """Raise InputError unless the arrays agree with the ids and are finite."""
        arrays = {"values": self.values, **{f"layer {k}": a for k, a in enumerate(self.layers)}}
        for name, array in arrays.items():
            if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
                raise InputError(
                    f"{origin}: {name} has shape {array.shape} and type {array.dtype}; expected "
                    "[items, width] of floating point"
                )
            if len(array) != len(self.ids):
                raise InputError(
                    f"{origin}: {name} has {len(array)} rows for {len(self.ids)} items; give one "
                    "row an item, in the order of the items"
                )
            bad = ~np.isfinite(array).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                raise InputError(
                    f"{origin}: {name}, row {row} (item {self.ids[row]!r}) holds NaN or infinity; "
                    "mend it, or mark the item as missing"
                )
        if self.present.shape != (len(self.ids),):
            raise InputError(f"{origin}: the mask has {self.present.shape}, not {(len(self.ids),)}")

    def select(self, ids: Sequence[str]) -> "FeatureTable":
        """The rows of `ids`, in their order; an item that has none is marked as missing."""
        row = {item: k for k, item in enumerate(self.ids)}
        index = np.array([row.get(item, -1) for item in ids])
        have = index >= 0

        def take(array: NDArray[np.floating]) -> NDArray[np.floating]:
            return np.where(have[:, None], array[index], 0).astype(array.dtype)

        return replace(
            self,
            ids=list(ids),
            values=take(self.values),
            present=have & self.present[index],
            layers=tuple(take(layer) for layer in self.layers),
        )

    def features(self) -> Features:
        """As models see them: float32, row 0 for padding, missing items zero.

        Layers of different widths are filled up with zeros to the widest, which a linear map of the
        layer cannot tell from a map of the layer's own width.
        """
        layers = None
        if self.layers:
            width = max(layer.shape[1] for layer in self.layers)
            layers = torch.zeros(len(self.ids) + 1, len(self.layers), width)
            for k, layer in enumerate(self.layers):
                layers[1:, k, : layer.shape[1]] = torch.from_numpy(layer * self.present[:, None])
        values = torch.zeros(len(self.ids) + 1, self.values.shape[1])
        values[1:] = torch.from_numpy(self.values * self.present[:, None])
        present = torch.zeros(len(self.ids) + 1, dtype=torch.bool)
        present[1:] = torch.from_numpy(self.present)
        return Features(values=values, present=present, layers=layers)


def write_features(path: Path, table: FeatureTable) -> None:
    """Write one modality's features, atomically; raises InputError on bad arrays or a full disk."""
    table.check(str(path))
    tensors = {"values": table.values, "present": table.present}
    tensors |= {f"layers.{k}": layer for k, layer in enumerate(table.layers)}
    header = {"ids": json.dumps(table.ids), "provenance": table.provenance.model_dump_json()}
    with atomic_file(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, header)


def read_features(path: Path) -> FeatureTable:
    """Read what `write_features` wrote; raises InputError for a damaged or foreign file."""
    try:
        with safe_open(path, framework="numpy") as handle:
            header = handle.metadata() or {}
            names = set(handle.keys())
            if not {"ids", "provenance"} <= header.keys() or not {"values", "present"} <= names:
                raise InputError(
                    f"{path}: no tensors `values` and `present` with ids and provenance in the "
                    "header; import plain arrays as .npy or .npz"
                )
            table = FeatureTable(
                ids=json.loads(header["ids"]),
                values=handle.get_tensor("values"),
                present=handle.get_tensor("present"),
                layers=tuple(handle.get_tensor(f"layers.{k}") for k in range(len(names) - 2)),
                provenance=Provenance.model_validate_json(header["provenance"]),
            )
    except (SafetensorError, FileNotFoundError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    table.check(str(path))
    return table


def own_features(path: Path, ids: Sequence[str]) -> FeatureTable:
    """A user's own array: .npy, or .npz or .safetensors with `values` and optionally `ids`, `mask`.

    Without ids, row k belongs to the k-th of `ids`; the mask is True where the item has the
    modality (default: everywhere). Raises InputError on a wrong number of rows, shape or NaN.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        if path.suffix == ".npy":
            arrays = {"values": np.load(path)}
        elif path.suffix == ".npz":
            with np.load(path) as archive:
                arrays = {name: archive[name] for name in archive.files}
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as handle:
                names = list(handle.keys())
                arrays = {name: handle.get_tensor(name) for name in names}
        else:
            raise InputError(f"{path}: features come as .npy, .npz or .safetensors")
    except (ValueError, OSError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not readable as {path.suffix} ({error}); save it again"
        ) from error
    if "values" not in arrays:
        raise InputError(f"{path}: no array `values` among {', '.join(arrays)}")
    own = [str(item) for item in arrays["ids"]] if "ids" in arrays else list(ids)
    values = arrays["values"]
    table = FeatureTable(
        ids=own,
        values=values,
        present=arrays.get("mask", np.ones(len(values), dtype=bool)).astype(bool),
        layers=(),
        provenance=Provenance(encoder=path.name, model="own features", created=date.today()),
    )
    table.check(str(path))
    return table.select(ids)
