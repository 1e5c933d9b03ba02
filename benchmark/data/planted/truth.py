"""What is planted in generated sequences, as numbers: what the best rankings earn and know."""

from collections.abc import Sequence

import numpy as np

from benchmark.data.planted.world import (
    AT_ONCE,
    CUTOFF,
    FloatArray,
    IntArray,
    PlantedConfig,
    Strict,
    World,
    normalised,
    rng_of,
)


class Oracle(Strict):
    """Means over the users' test targets, each given the history before it."""

    ndcg: float
    """NDCG@10 that its ranking earns in expectation over the next item."""
    realised: float
    """NDCG@10 with the items that were drawn."""
    information: float
    """Nats that it knows of the next item beyond popularity, in expectation."""


class Truth(Strict):
    """truth.json: what is planted in a bundle."""

    config: PlantedConfig
    n_users: int
    n_items: int
    """That occur; the others are in no catalogue."""
    oracles: dict[str, Oracle]
    """`all` knows every factor, `features` what text and image features show together, `without
    image`, `without text` and `without both` what is then left of that, `permuted` takes the
    features of other items for those of an item, `popularity` knows P alone."""
    image_share: float
    """Share of the information of `features` that `without image` lacks."""
    text_share: float


def truth_of(world: World, sequences: Sequence[IntArray]) -> Truth:
    """The oracles' means over the last items of all users. Items are ranked among those that
    occur."""
    catalogue = np.unique(np.concatenate(sequences))
    order = rng_of(world.config, "permuted").permutation(len(world.popularity))
    t, v = world.shown(text=True, image=True)
    known = {
        "all": (world.text, world.image),
        "features": (t, v),
        "without image": world.shown(text=True, image=False),
        "without text": world.shown(text=False, image=True),
        "without both": (None, None),
        "permuted": (t if t is None else t[order], v if v is None else v[order]),
        "popularity": (None, None),
    }
    sums = {name: np.zeros(3) for name in known}
    for start in range(0, len(sequences), AT_ONCE):
        block = sequences[start : start + AT_ONCE]
        histories = [sequence[:-1] for sequence in block]
        targets = np.searchsorted(catalogue, [sequence[-1] for sequence in block])
        p = normalised(world.chances(histories, world.text, world.image)[:, catalogue])
        blind = normalised(world.chances(histories, None, None, markov=False)[:, catalogue])
        for name, (text, image) in known.items():
            markov = name != "popularity"
            own = world.chances(histories, text, image, markov=markov)[:, catalogue]
            own = normalised(own)
            gain = gains_of(own)
            ratio = np.log(np.where(p > 0, own, 1.0)) - np.log(np.where(p > 0, blind, 1.0))
            sums[name] += [
                (p * gain).sum(),
                gain[np.arange(len(block)), targets].sum(),
                (p * ratio).sum(),
            ]
    means = {name: total / len(sequences) for name, total in sums.items()}
    oracles = {
        name: Oracle(ndcg=m[0], realised=m[1], information=m[2]) for name, m in means.items()
    }
    return Truth(
        config=world.config,
        n_users=len(sequences),
        n_items=len(catalogue),
        oracles=oracles,
        image_share=_share(oracles, "without image"),
        text_share=_share(oracles, "without text"),
    )


def gains_of(scores: FloatArray) -> FloatArray:
    """[B, N]: NDCG@10 that each item would earn as the target, ranked by scores [B, N]; of equal
    scores the earlier item comes first."""
    place = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return np.where(place < CUTOFF, 1 / np.log2(place + 2.0), 0.0)


def _share(oracles: dict[str, Oracle], without: str) -> float:
    whole = oracles["features"].information
    return (whole - oracles[without].information) / whole if whole > 1e-12 else 0.0
