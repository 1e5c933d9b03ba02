"""What a method is fed of an item's features: as they are, permuted, all alike or none."""

import dataclasses
from collections.abc import Callable

import torch

from benchmark.data.sequences import Histories
from benchmark.runs.spec import RunSpec
from findrec.recommender import Attribute, Catalogue, Features

PERMUTATION_SEED = 20250803
"""With a run's seed, of the permutation of items under which a control with permuted features is
trained."""

STRATA = 10
"""Classes of training frequency within which features are permuted."""


def apply_feature_control(
    catalogue: Catalogue, spec: RunSpec, histories: Histories, seed: int
) -> Catalogue:
    """The catalogue that the method is fed: its modalities, as they are, as the encoders made them,
    permuted, all alike or not at all.

    A permutation moves all features of an item together ("permuted-images": the image alone), to an
    item that lacks the same modalities and is trained on about as often: features then say nothing
    of an item but how frequent it is and what it lacks.
    """
    use = spec.protocol.features
    if use == "none":
        return Catalogue(catalogue.items)
    fed = dataclasses.replace(
        catalogue,
        text=catalogue.text if "text" in spec.modalities else None,
        image=catalogue.image if "image" in spec.modalities else None,
    )
    if use == "real":
        return fed
    if use == "raw":
        return _each_modality(fed, lambda features: features.raw())
    if use == "constant":
        return dataclasses.replace(_each_modality(fed, _constant), attributes={})
    order = _permutation(fed, histories, seed, spec.protocol.permuted_share)
    if use == "permuted-images":
        image = None if fed.image is None else _reordered(fed.image, order)
        return dataclasses.replace(fed, image=image)
    attributes = {n: Attribute(a.values[order], a.size) for n, a in fed.attributes.items()}
    fed = _each_modality(fed, lambda features: _reordered(features, order))
    return dataclasses.replace(fed, attributes=attributes)


def _each_modality(catalogue: Catalogue, change: Callable[[Features], Features]) -> Catalogue:
    return dataclasses.replace(
        catalogue,
        text=None if catalogue.text is None else change(catalogue.text),
        image=None if catalogue.image is None else change(catalogue.image),
    )


def _reordered(features: Features, order: torch.Tensor) -> Features:
    layers = features.layers[order] if features.layers is not None else None
    return Features(features.values[order], features.present[order], layers)


def _constant(features: Features) -> Features:
    """One vector for all items, of the length that features have on average; no item lacks it."""

    def ones(values: torch.Tensor | None) -> torch.Tensor | None:
        if values is None:
            return None
        same = torch.ones_like(values)
        same[0] = 0  # padding
        return same

    present = torch.ones_like(features.present)
    present[0] = False
    values = ones(features.values)
    assert values is not None
    return Features(values, present, ones(features.layers))


def _permutation(
    catalogue: Catalogue, histories: Histories, seed: int, share: float
) -> torch.Tensor:
    """[N + 1]: from which item each item has its features, padding from padding.

    A share of the items change places within their stratum: the same decile of training frequency,
    and the same modalities at hand.
    """
    n = catalogue.items
    frequency = torch.from_numpy(histories.frequency(n)[1:])
    place = torch.empty(n, dtype=torch.int64)
    place[frequency.sort(stable=True).indices] = torch.arange(n)
    stratum = place * STRATA // n
    for features in (catalogue.text, catalogue.image):
        if features is not None:
            stratum = 2 * stratum + features.present[1:].long()
    generator = torch.Generator().manual_seed(PERMUTATION_SEED + seed)
    shuffled = torch.randperm(n, generator=generator)
    shuffled = shuffled[: round(share * n)]
    moved = shuffled.sort().values
    source = torch.arange(n + 1)
    # the moved items in order of their strata receive from the same strata in random order
    receivers = moved[stratum[moved].sort(stable=True).indices]
    givers = shuffled[stratum[shuffled].sort(stable=True).indices]
    source[receivers + 1] = givers + 1
    return source
