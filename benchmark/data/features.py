"""Feature files: one safetensors file a modality, rows in the order of the ids in its header.

Tensors: `values` [N, F] and `present` [N] bool; optionally `layers.0` ... `layers.K-1` [N, F_k],
pooled states after K layers of the encoder, each at its own width. Encoders' outputs are kept in
float16 (relative rounding 5e-4, far below what the frozen features tell apart); a user's own arrays
keep their type. All are as the encoder made them. A dataset's file also holds what models have them
centred and scaled by: `NAME.mean` [F] and `NAME.scale` [1] in float64, for `values` and each layer.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from benchmark.data.ids import match_ids
from benchmark.data.meta import Provenance
from benchmark.data.names import plain_name
from benchmark.data.scaling import Scaling, fit_scaling
from benchmark.errors import InputError
from benchmark.files import atomic_file
from findrec.recommender import Features, FeatureScaling

FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class FeatureTable:
    """Features of the items named in `ids`, row by row, as the encoder made them."""

    ids: list[str]
    values: NDArray[np.floating]
    """[N, F]"""
    present: NDArray[np.bool_]
    """[N]"""
    layers: tuple[NDArray[np.floating], ...]
    """K arrays [N, F_k]"""
    provenance: Provenance
    scaling: tuple[Scaling, ...] = ()
    """Constants of `values` and of each layer; empty where none have been fitted."""

    def check(self, origin: str) -> None:
        """Raise InputError unless the arrays agree with the ids and are finite."""
        arrays = {"values": self.values, **{f"layer {k}": a for k, a in enumerate(self.layers)}}
        for name, array in arrays.items():
            if array.ndim != 2 or array.dtype not in FLOATS or array.shape[1] == 0:
                raise InputError(
                    f"{origin}: {name} has shape {array.shape} and type {array.dtype}; expected "
                    "[items, width] of floating point (float16, float32 or float64)"
                )
            if len(array) != len(self.ids):
                raise InputError(
                    f"{origin}: {name} has {len(array)} rows for {len(self.ids)} items; give one "
                    "row an item, in the order of the items"
                )
            with np.errstate(over="ignore"):
                large = np.isfinite(array) & ~np.isfinite(array.astype(np.float32))
            if large.any():
                row, column = np.argwhere(large)[0]
                raise InputError(
                    f"{origin}: {name}, row {row} (item {self.ids[row]!r}) holds "
                    f"{array[row, column]:.3g}, beyond the float32 that models compute with; "
                    "rescale the features"
                )
            bad = ~np.isfinite(array).all(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                raise InputError(
                    f"{origin}: {name}, row {row} (item {self.ids[row]!r}) holds NaN or infinity; "
                    "mend it, or mark the item as missing"
                )
        if self.present.shape != (len(self.ids),) or self.present.dtype != np.bool_:
            raise InputError(
                f"{origin}: the mask has shape {self.present.shape} and type {self.present.dtype}; "
                f"expected {(len(self.ids),)} of true and false"
            )
        if self.scaling and len(self.scaling) != len(arrays):
            raise InputError(
                f"{origin}: constants of {len(arrays)} arrays are expected, and there are "
                f"{len(self.scaling)}; build the dataset again"
            )
        for (name, array), constants in zip(arrays.items(), self.scaling, strict=False):
            mean, scale = constants.mean, constants.scale
            fits = mean.shape == array.shape[1:] and np.isfinite([*mean, scale]).all()
            if not fits or scale <= 0:
                raise InputError(
                    f"{origin}: the constants that {name} is centred and scaled by are damaged; "
                    "build the dataset again"
                )
        if len(set(self.ids)) < len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise InputError(f"{origin}: id {twice!r} has several rows; keep one row an item")

    def select(self, ids: Sequence[str]) -> "FeatureTable":
        """The rows of `ids`, in their order; an item that has none is marked as missing. Constants
        are those of the items that they were fitted to, and are left out."""
        row = {item: k for k, item in enumerate(self.ids)}
        index = np.array([row.get(item, -1) for item in ids], dtype=np.int64)
        have = index >= 0

        def take(array: NDArray[np.floating]) -> NDArray[np.floating]:
            return np.where(have[:, None], array[index], 0).astype(array.dtype)

        return replace(
            self,
            ids=list(ids),
            values=take(self.values),
            present=have & self.present[index],
            layers=tuple(take(layer) for layer in self.layers),
            scaling=(),
        )

    def fitted(self) -> "FeatureTable":
        """With the constants that centre and scale it, over the items that have the modality."""
        arrays = (self.values, *self.layers)
        return replace(self, scaling=tuple(fit_scaling(array[self.present]) for array in arrays))

    def scaled(self) -> tuple[NDArray[np.float32], ...]:
        """`values` and each layer in float32, centred and scaled by the constants, where there are
        any; missing items are zero."""
        arrays = (self.values, *self.layers)
        if self.scaling:
            pairs = zip(arrays, self.scaling, strict=True)
            arrays = tuple(constants.apply(array) for array, constants in pairs)
        there = self.present[:, None]
        return tuple(np.where(there, array, 0).astype(np.float32) for array in arrays)

    def features(self) -> Features:
        """As models see them: float32, centred and scaled where constants are there, row 0 for
        padding, missing items zero.

        Layers of different widths are filled up with zeros to the widest, which a linear map of the
        layer cannot tell from a map of the layer's own width.
        """
        first, *others = self.scaled()
        values = torch.zeros(len(self.ids) + 1, first.shape[1])
        values[1:] = torch.from_numpy(first)
        present = torch.zeros(len(self.ids) + 1, dtype=torch.bool)
        present[1:] = torch.from_numpy(self.present)
        layers, scaling, layer_scaling = None, None, None
        width = max((layer.shape[1] for layer in others), default=0)
        if others:
            layers = torch.zeros(len(self.ids) + 1, len(others), width)
            for k, layer in enumerate(others):
                layers[1:, k, : layer.shape[1]] = torch.from_numpy(layer)
        if self.scaling:
            scales = torch.tensor([[s.scale] for s in self.scaling], dtype=torch.float64)
            scaling = FeatureScaling(torch.from_numpy(self.scaling[0].mean), scales[0])
            if others:
                means = torch.zeros(len(others), width, dtype=torch.float64)
                for k, constants in enumerate(self.scaling[1:]):
                    means[k, : len(constants.mean)] = torch.from_numpy(constants.mean)
                layer_scaling = FeatureScaling(means, scales[1:])
        return Features(values, present, layers, scaling, layer_scaling)


def joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    """The rows of several tables by one encoder as one table, without constants.

    Its provenance has the latest date and the SHA-256 of the tables' inputs. Raises InputError
    where the encoders differ or an item stands in two of them.
    """
    first, *others = tables
    if not others:
        return first
    sources = [table.provenance for table in tables]
    for about in sources[1:]:
        one, other = ((a.encoder, a.model, a.layers) for a in (sources[0], about))
        if one != other:
            raise InputError(
                f"features by {sources[0].encoder} ({sources[0].model}) and by {about.encoder} "
                f"({about.model}) cannot be joined: encode all items with one of them"
            )
    table = FeatureTable(
        ids=[item for table in tables for item in table.ids],
        values=np.concatenate([table.values for table in tables]),
        present=np.concatenate([table.present for table in tables]),
        layers=tuple(
            np.concatenate(layers)
            for layers in zip(*(table.layers for table in tables), strict=True)
        ),
        provenance=sources[0].model_copy(
            update={
                "packages": {k: v for about in sources for k, v in about.packages.items()},
                "inputs": hashlib.sha256("".join(a.inputs for a in sources).encode()).hexdigest(),
                "created": max(about.created for about in sources),
            }
        ),
    )
    table.check("joined features")
    return table


def write_features(path: Path, table: FeatureTable) -> None:
    """Write one modality's features, atomically; raises InputError on bad arrays or a full disk."""
    table.check(str(path))
    tensors = {"values": table.values, "present": table.present}
    tensors |= {f"layers.{k}": layer for k, layer in enumerate(table.layers)}
    names = ("values", *(f"layers.{k}" for k in range(len(table.layers))))
    for name, constants in zip(names, table.scaling, strict=False):
        tensors[f"{name}.mean"] = constants.mean
        tensors[f"{name}.scale"] = np.array([constants.scale])
    header = {"ids": json.dumps(table.ids), "provenance": table.provenance.model_dump_json()}
    content = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, header)
    with atomic_file(path) as temporary:
        temporary.write_bytes(_in_order(content))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted, which the library writes in a random order:
    equal features are then equal files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


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
            depth = sum(name.removeprefix("layers.").isdigit() for name in names)
            layers = tuple(f"layers.{k}" for k in range(depth))
            scaling = tuple(
                Scaling(
                    handle.get_tensor(f"{name}.mean"), float(handle.get_tensor(f"{name}.scale")[0])
                )
                for name in ("values", *layers)
                if "values.mean" in names
            )
            table = FeatureTable(
                ids=json.loads(header["ids"]),
                values=handle.get_tensor("values"),
                present=handle.get_tensor("present"),
                layers=tuple(handle.get_tensor(name) for name in layers),
                provenance=Provenance.model_validate_json(header["provenance"]),
                scaling=scaling,
            )
    except InputError:
        raise
    except (
        SafetensorError, OSError, ValueError, TypeError, AttributeError, IndexError
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable safetensors file ({reason})") from error
    table.check(str(path))
    return table


def own_features(
    path: Path, ids: Sequence[str], *, rows_of: Sequence[str] | None = None
) -> FeatureTable:
    """A user's own array: .npy, or .npz or .safetensors with `values` and optionally `ids`, `mask`.

    Returns the rows of `ids`, in their order. Where the file has no ids of its own, row k belongs
    to the k-th of `rows_of` (None: of `ids`). The mask is True where the item has the modality
    (default: everywhere); what a row holds elsewhere is not read. Numbers that are not finite, that
    float32 cannot hold or that are no floating point, ids that match none of `ids` or stand twice,
    and rows that do not agree with the ids raise InputError.
    """
    arrays = _arrays(path)
    _check_names(path, arrays)
    if "values" not in arrays:
        raise InputError(f"{path}: no array `values` among {', '.join(arrays) or 'none'}")
    values, mask = arrays["values"], arrays.get("mask", arrays.get("present"))
    own = (
        _ids(path, arrays["ids"]) if "ids" in arrays else list(ids if rows_of is None else rows_of)
    )
    if "ids" not in arrays and not own:
        raise InputError(
            f"{path}: whose rows are these? Give the items (option --items) in the rows' order, or "
            "an .npz with arrays `values` and `ids`"
        )
    present = np.ones(len(own), dtype=bool) if mask is None else _mask(path, mask)
    if values.dtype.newbyteorder("=") in FLOATS:
        values = values.astype(values.dtype.newbyteorder("="))
        if values.ndim == 2 and len(values) == len(present):
            values[~present] = 0
    table = FeatureTable(
        ids=own,
        values=values,
        present=present,
        layers=(),
        provenance=Provenance(encoder=plain_name(path), model="own features", created=date.today()),
    )
    table.check(str(path))
    if not present.any():
        raise InputError(f"{path}: the mask leaves out every row; leave out the file instead")
    match_ids(ids, own, known_from="the interactions", given_from=str(path))
    return table.select(ids)


def _check_names(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise InputError for arrays that would be passed over: ids by another name would put each row
    to another item."""
    if "mask" in arrays and "present" in arrays:
        raise InputError(f"{path}: has both `mask` and `present`; keep one of the two")
    known = ("values", "ids", "mask", "present")
    for name in arrays:
        kept = name.startswith("layers.") or name.endswith((".mean", ".scale"))  # of our own files
        if "values" in arrays and name not in known and not kept:
            raise InputError(
                f"{path}: array {name!r} is none of {', '.join(known)}; rename it, or leave it out"
            )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; the only one of an .npy file is `values`."""
    kind = path.suffix.lower()
    if kind not in {".npy", ".npz", ".safetensors"}:
        raise InputError(f"{path}: features come as .npy, .npz or .safetensors")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        if kind == ".safetensors":
            return _safetensors(path)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if file.read(1):
                    raise ValueError("more follows its first array")
                return {"values": loaded}
        loaded = np.load(path, allow_pickle=False)
        with loaded as archive:
            arrays = {name: archive[name] for name in archive.files}
        if any(not isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member is no array")
        return arrays
    except InputError:
        raise
    except Exception as error:  # damaged files make the parsers raise what they like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "allow_pickle" in reason:
            reason = "it holds Python objects, which are not loaded: save arrays of numbers"
        raise InputError(f"{path}: not readable as {kind} ({reason}); save it again") from error


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """bfloat16 and 8-bit floats become float32, which holds them exactly."""
    arrays: dict[str, NDArray[Any]] = {}
    with safe_open(path, framework="pt") as handle:
        header: Mapping[str, str] = handle.metadata() or {}
        for name in handle.keys():  # noqa: SIM118  (a handle is no mapping)
            tensor = handle.get_tensor(name)
            known = (torch.float16, torch.float32, torch.float64)
            if tensor.is_floating_point() and tensor.dtype not in known:
                tensor = tensor.float()
            arrays[name] = tensor.numpy()
    for name, text in header.items():
        if name != "ids" and text.lstrip().startswith("[") and "ids" not in {*header, *arrays}:
            raise InputError(
                f"{path}: its header holds a list {name!r} and no `ids`; if those are the items of "
                "its rows, call it `ids`"
            )
    if "ids" in header and "ids" not in arrays:  # as `write_features` writes them
        arrays["ids"] = np.array(json.loads(header["ids"]))
    return arrays


def _ids(path: Path, array: NDArray[np.generic]) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise InputError(
            f"{path}: `ids` has shape {array.shape} and type {array.dtype}; expected [items] of "
            "text or whole numbers, as in the interactions: np.array(ids, dtype=str)"
        )
    return [str(item) for item in array.tolist()]


def _mask(path: Path, array: NDArray[np.generic]) -> NDArray[np.bool_]:
    if array.ndim != 1 or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise InputError(
            f"{path}: the mask has shape {array.shape} and type {array.dtype}; expected [items] of "
            "true and false"
        )
    return array.astype(bool)
