"""Files of arrays: npz as numpy reads it, and whole numbers in forms that pack well."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.runs.ranks import IntArray

UNREADABLE = (
    *(LookupError, ValueError, TypeError, OSError, EOFError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(RuntimeError, NotImplementedError),  # encrypted, or packed in a way that zipfile lacks
)
"""What reading a file of arrays raises where it is none, or not one of the kind that is read."""


def to_npz(arrays: Mapping[str, npt.NDArray[Any]], *, dense: bool = False) -> bytes:
    """A file that `numpy.load` reads; equal arrays give equal bytes. dense: LZMA, which is a sixth
    smaller than numpy's own compression and takes ten times as long."""
    buffer = io.BytesIO()
    compression = zipfile.ZIP_LZMA if dense else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def from_npz(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """By name. Raises one of `UNREADABLE` for other bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as npz:
        return {name: npz[name] for name in npz.files}


def integers_from_npz(data: bytes) -> dict[str, IntArray]:
    """The same of whole numbers. Raises one of `UNREADABLE` for other bytes and other arrays."""
    arrays = from_npz(data)
    for name, array in arrays.items():
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} holds no whole numbers")
    return {name: array.astype(np.int32) for name, array in arrays.items()}


def smallest(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in the smallest integer type that holds all of them."""
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    return array.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))


def to_planes(values: IntArray) -> npt.NDArray[np.uint8]:
    """[B, Q]: byte by byte, the lowest first, of as many bytes as the largest of them takes. Bytes
    of one place are alike and pack by themselves."""
    width = smallest(values).itemsize
    return np.stack([(values >> 8 * byte & 0xFF).astype(np.uint8) for byte in range(width)])


def from_planes(planes: IntArray) -> IntArray:
    """[Q]: the numbers whose bytes these are. Raises ValueError for what holds no bytes in rows."""
    rows = planes.ndim == 2 and 1 <= len(planes) <= 4
    if not rows or (planes < 0).any() or (planes > 0xFF).any():
        raise ValueError("counts that are no rows of bytes")
    place = 256 ** np.arange(len(planes), dtype=np.int64)
    return (place @ planes).astype(np.int32)
