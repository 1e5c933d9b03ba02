"""Keyed randomness: draws are a hash of seed, step, site and coordinates, and of nothing else.

A draw depends on the seed and step in the key, on the site's name, on the row's number and on the
indices behind it. So padding, cutting a batch into groups, and stacking seeds change no draw, and a
mask can be computed again instead of being kept.

Bits: 32-bit words, folded in one after the other with the `lowbias32` finaliser (C. Wellons,
"Prospecting for hash functions", 2018; its bias is about that of murmur3's). A uniform takes the upper 23 bits.
"""

import hashlib
import math

import torch
from torch import Tensor


def site_code(site: str) -> int:
    """A stable 32-bit code of a site's name."""
    return int.from_bytes(hashlib.blake2s(site.encode(), digest_size=4).digest(), "little")


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right of int32 words."""
    return (x >> by) & ((1 << (32 - by)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 16)) * _signed(0x7FEB352D)
    x = (x ^ _shift(x, 15)) * _signed(0x846CA68B)
    return x ^ _shift(x, 16)


def _fold(state: Tensor, word: Tensor) -> Tensor:
    return _mix(state ^ _mix(word + _signed(0x9E3779B9)))


def _words(key: Tensor, site: str, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """int32 words of shape rows.shape + sizes."""
    state = torch.full((), _signed(site_code(site)), dtype=torch.int32, device=key.device)
    for part in key.unbind():
        state = _fold(state, part.to(torch.int32))
        state = _fold(state, (part >> 32).to(torch.int32))
    state = _fold(state, rows.to(torch.int32))
    for size in sizes or (1,):
        index = torch.arange(size, dtype=torch.int32, device=key.device)
        state = _fold(state.unsqueeze(-1), index)
    return state if sizes else state.squeeze(-1)


def uniform(key: Tensor, site: str, rows: Tensor, *sizes: int) -> Tensor:
    """float32 draws in (0, 1), of shape rows.shape + sizes."""
    words = _words(key, site, rows, sizes)
    return (_shift(words, 9).to(torch.float32) + 0.5) * 2.0**-23


def normal(key: Tensor, site: str, rows: Tensor, *sizes: int) -> Tensor:
    """float32 draws from N(0, 1), of shape rows.shape + sizes."""
    return torch.erfinv(2 * uniform(key, site, rows, *sizes) - 1) * math.sqrt(2)


def dropout(x: Tensor, p: float, key: Tensor, site: str, rows: Tensor) -> Tensor:
    """x with elements zeroed with probability p and the others scaled by 1 / (1 - p).

    x: R + sizes, rows: R; the element at row r and indices i is kept where `uniform` there >= p.
    """
    draws = uniform(key, site, rows, *x.shape[rows.dim() :])
    return torch.where(draws >= p, x * (1 / (1 - p)), 0)
