"""Tiny random catalogues and sequences that tests of all models share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from findrec.recommender import Attribute, Catalogue, Features, Modality

ITEMS = 24
TEXT_WIDTH = 11
IMAGE_WIDTH = 9
LAYERS = 4


def catalogue(
    items: int = ITEMS,
    *,
    modalities: Sequence[Modality] = ("text", "image"),
    missing: float = 0.0,
    seed: int = 0,
) -> Catalogue:
    """Random features (with the states of four encoder layers) and three attributes of N items.

    missing: share of the items that lack a modality, drawn for each modality on its own; at least
    one item then lacks it. Attributes: genre (up to three values), brand (one), category (up to
    two), each with items that have none.
    """
    generator = torch.Generator().manual_seed(seed)
    widths: dict[Modality, int] = {"text": TEXT_WIDTH, "image": IMAGE_WIDTH}
    # Both are drawn whatever is asked for, so that a catalogue without images has the same texts.
    drawn = {name: _features(items, width, missing, generator) for name, width in widths.items()}
    attributes = {
        name: _attribute(items, size, most, generator)
        for name, size, most in (("genre", 5, 3), ("brand", 7, 1), ("category", 4, 2))
    }
    return Catalogue(
        items=items,
        text=drawn["text"] if "text" in modalities else None,
        image=drawn["image"] if "image" in modalities else None,
        attributes=attributes,
    )


def sequences(
    users: int, length: int, *, items: int = ITEMS, shortest: int = 2, seed: int = 0
) -> Tensor:
    """[users, length] ids, padded at the right; the first user is shortest, the last one full."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, items + 1, (users, length), generator=generator)
    lengths = torch.randint(shortest, length + 1, (users,), generator=generator)
    lengths[0], lengths[-1] = shortest, length
    return ids * (torch.arange(length) < lengths.unsqueeze(1))


def cycles(users: int, length: int, *, items: int = ITEMS, seed: int = 0) -> Tensor:
    """[users, length] full sequences in which item i + 1 always follows item i: easy to learn."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(items, (users, 1), generator=generator)
    return (start + torch.arange(length)) % items + 1


def _features(items: int, width: int, missing: float, generator: torch.Generator) -> Features:
    present = torch.rand(items + 1, generator=generator) >= missing
    if missing:
        present[1] = False
    present[0] = False
    values = torch.randn(items + 1, width, generator=generator) * present.unsqueeze(1)
    layers = torch.randn(items + 1, LAYERS, width, generator=generator)
    layers = layers * present[:, None, None]
    return Features(values=values, present=present, layers=layers)


def _attribute(items: int, size: int, most: int, generator: torch.Generator) -> Attribute:
    values = torch.randint(0, size + 1, (items + 1, most), generator=generator)
    values[0] = 0
    return Attribute(values=values, size=size)
