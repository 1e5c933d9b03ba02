"""Planted truth: synthetic multimodal sequences whose best possible predictions are known.

Each next item of a user is drawn from a mixture of four choices among the items not yet taken,

    p(i | h) = w_pop P(i) + w_id M(last, i) + w_text Q(i; t, h) + w_img Q(i; v, h)

with popularity P of a long tail; a Markov chain M, which only ids carry; and choices by content,
Q(i; f, h) in proportion to P(i) exp(sharpness cos(f_i, u)), where u is the mean of the factors of
the history h, older items weighted down. Text factors t and image factors v are independent unit
vectors, so that neither tells anything of the other.

The features of a bundle are linear maps of factors. Text features show t; image features show t
again (`copy`), factors that no choice depends on (`noise`), or v (`complement`). Sequences and text
features are the same for all three, so that bundles of one seed differ in their images alone.

Because p is known, so is the best ranking for anyone who knows some factors and not others: to them
Q is its expectation over the unknown factors, which depends on an item's popularity alone. These
oracles are what features can add at most. They are no limit for a model that learns factors from
the interactions themselves; for it the limit is the oracle that knows all.

Glossary
    U users, N items, B histories, d factors
    p [B, N]  chance of each item to be the next one; 0 for items of the history
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import roots_jacobi

from benchmark.data.bundle import write_bundle
from benchmark.data.config import DatasetConfig, Modality
from benchmark.data.content import Bundle
from benchmark.data.features import FeatureTable
from benchmark.data.meta import Provenance, default_root
from benchmark.data.names import TRUTH, check_name
from benchmark.errors import InputError
from benchmark.files import write_bytes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ImageRole = Literal["copy", "noise", "complement"]

CUTOFF = 10
"""Of the NDCG that the truth states."""

DRAWN = date(2025, 8, 3)
"""The features' date. Today's would make equal data different files; this is the conference's."""

_WIDTHS: dict[Modality, int] = {"text": 32, "image": 48}
_WORLDS, _NODES = 200, 64
"""Over how many draws of factors, and nodes of a cosine, an expected choice is taken."""
_AT_ONCE = 512
"""Histories whose p is held in memory together."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shares(_Strict):
    """Weights of the four choices; they sum to 1."""

    popularity: float = Field(0.1, ge=0)
    id: float = Field(0.2, ge=0)
    text: float = Field(0.35, ge=0)
    image: float = Field(0.35, ge=0)

    @model_validator(mode="after")
    def _sum(self) -> "Shares":
        total = self.popularity + self.id + self.text + self.image
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:.6g}, and must sum to 1")
        return self


class PlantedConfig(_Strict):
    """What is generated; the same settings give the same bytes."""

    image: ImageRole
    """What the image features show."""
    seed: int = Field(0, ge=0)
    users: int = Field(2000, ge=2)
    items: int = Field(800, ge=20)
    shortest: int = Field(5, ge=3)
    """Interactions that every user has at least."""
    mean_length: float = Field(15.0, ge=3)
    """Mean number of interactions of a user; what exceeds `shortest` is geometric."""
    shares: Shares = Shares()
    factors: int = Field(8, ge=2)
    """d, width of t and of v."""
    sharpness: float = Field(8.0, ge=0)
    """Of the choices by content; 0 makes them choices by popularity."""
    memory: float = Field(0.7, ge=0, le=1)
    """Weight of an item in u relative to the one after it."""
    successors: int = Field(5, ge=1)
    """Items that may follow an item in the Markov chain."""
    tail: float = Field(0.8, ge=0)
    """Popularity of the r-th item is in proportion to (r + 5)^-tail."""

    @model_validator(mode="after")
    def _possible(self) -> "PlantedConfig":
        if self.mean_length < self.shortest:
            raise ValueError(
                f"the mean length {self.mean_length:g} is below the shortest, {self.shortest}"
            )
        if self.longest + CUTOFF > self.items:
            raise ValueError(
                f"users take up to {self.longest} different items, and {CUTOFF} must be left to "
                f"rank: give at least {self.longest + CUTOFF} items, or shorter sequences"
            )
        return self

    @property
    def longest(self) -> int:
        """Longer sequences are cut to this."""
        return max(self.shortest, int(5 * self.mean_length))


class Oracle(_Strict):
    """Means over the users' test targets, each given the history before it."""

    ndcg: float
    """NDCG@10 that its ranking earns in expectation over the next item."""
    realised: float
    """NDCG@10 with the items that were drawn."""
    information: float
    """Nats that it knows of the next item beyond popularity, in expectation."""


class Truth(_Strict):
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


@dataclass(frozen=True)
class World:
    """The factors and chances that a configuration stands for; items are counted from 0."""

    config: PlantedConfig
    popularity: FloatArray
    """[N] P"""
    unknown: FloatArray
    """[N] expectation of Q over factors that are not known; flatter than P, since a popular item
    that fits takes more of the others' chances"""
    successors: IntArray
    """[N, K]"""
    successor_chances: FloatArray
    """[N, K]; rows sum to 1"""
    text: FloatArray
    """[N, d] t"""
    image: FloatArray
    """[N, d] v"""
    noise: FloatArray
    """[N, d] factors that no choice depends on"""

    def shown(self, *, text: bool, image: bool) -> tuple[FloatArray | None, FloatArray | None]:
        """(t, v) as far as the given features tell them."""
        role = self.config.image
        knows_t = text or (image and role == "copy")
        knows_v = image and role == "complement"
        return self.text if knows_t else None, self.image if knows_v else None

    def chances(
        self,
        histories: Sequence[IntArray],
        text: FloatArray | None,
        image: FloatArray | None,
        *,
        markov: bool = True,
    ) -> FloatArray:
        """p [B, N] after each history, for one who takes the given factors [N, d] for t and v.

        None: the factors are not known. markov: whether M is; without it p is P in its place. With
        t, v and M it is the truth. No history may be empty or hold all items.
        """
        shares = self.config.shares
        taken = np.zeros((len(histories), len(self.popularity)), dtype=bool)
        for row, history in enumerate(histories):
            taken[row, history] = True
        by_popularity = _normalised(np.where(taken, 0.0, self.popularity))
        unknown = _normalised(np.where(taken, 0.0, self.unknown))
        p = shares.popularity * by_popularity
        p += shares.id * (self._chain(histories, taken, by_popularity) if markov else by_popularity)
        for share, factors in ((shares.text, text), (shares.image, image)):
            p += share * (unknown if factors is None else self._choice(histories, factors, taken))
        return p

    def _choice(
        self, histories: Sequence[IntArray], factors: FloatArray, taken: npt.NDArray[np.bool_]
    ) -> FloatArray:
        """Q [B, N]"""
        u = np.stack([self._taste(factors[history]) for history in histories])
        weight = self.popularity * np.exp(self.config.sharpness * (u @ factors.T))
        return _normalised(np.where(taken, 0.0, weight))

    def _taste(self, factors: FloatArray) -> FloatArray:
        """u [d] of a history's factors [n, d], oldest first."""
        age = np.arange(len(factors))[::-1]
        mean = self.config.memory**age @ factors
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))

    def _chain(
        self,
        histories: Sequence[IntArray],
        taken: npt.NDArray[np.bool_],
        by_popularity: FloatArray,
    ) -> FloatArray:
        """M [B, N] over the successors that are left; by popularity where none is."""
        last = np.array([history[-1] for history in histories])
        rows = np.arange(len(last))[:, None]
        p = np.zeros(taken.shape)
        p[rows, self.successors[last]] = self.successor_chances[last]
        p[taken] = 0.0
        left = p.sum(1, keepdims=True)
        return np.where(left > 0, p / np.where(left > 0, left, 1.0), by_popularity)


def world_of(config: PlantedConfig) -> World:
    """Draw the factors; they do not depend on what the images show."""
    rng = _rng(config, "world")
    n = config.items
    weight = (np.arange(n, dtype=np.float64) + 5.0) ** -config.tail
    popularity = np.asarray(weight / weight.sum())
    number = min(config.successors, n - 1)
    # Gumbel's maxima are a draw without replacement in proportion to popularity
    keys = np.log(popularity) + rng.gumbel(size=(n, n))
    np.fill_diagonal(keys, -np.inf)
    successors = np.argsort(-keys, axis=1, kind="stable")[:, :number]
    chances = 0.5 ** np.arange(number)
    factors = rng.normal(size=(3, n, config.factors))
    factors /= np.linalg.norm(factors, axis=-1, keepdims=True)
    return World(
        config,
        popularity,
        _expected_choice(config, popularity),
        successors,
        np.tile(chances / chances.sum(), (n, 1)),
        *factors,
    )


def _expected_choice(config: PlantedConfig, popularity: FloatArray) -> FloatArray:
    """[N] mean of Q over random factors: of the item's own by quadrature over its cosine with u,
    whose density is (1 - c^2)^((d - 3) / 2), of the others by drawing what their weights sum to."""
    rng = _rng(config, "unknown")
    exponent = (config.factors - 3) / 2
    nodes, weights = roots_jacobi(_NODES, exponent, exponent)
    own = popularity[:, None] * np.exp(config.sharpness * nodes)
    mean = np.zeros(config.items)
    for _ in range(_WORLDS):
        factors = rng.normal(size=(config.items, config.factors))
        cosines = factors[:, 0] / np.linalg.norm(factors, axis=1)
        drawn = popularity * np.exp(config.sharpness * cosines)
        others = (drawn.sum() - drawn)[:, None]
        mean += own / (own + others) @ (weights / weights.sum())
    return mean / mean.sum()


def draw_sequences(world: World) -> list[IntArray]:
    """The items of every user in the order of time; they do not depend on what the images show."""
    config = world.config
    rng = _rng(config, "sequences")
    excess = config.mean_length - config.shortest
    extra = rng.geometric(1 / (1 + excess), config.users) - 1
    lengths = np.minimum(config.shortest + extra, config.longest)
    draws = rng.random((config.users, int(lengths.max())))
    sequences: list[IntArray] = []
    for start in range(0, config.users, _AT_ONCE):
        block = range(start, min(start + _AT_ONCE, config.users))
        first = _drawn(np.tile(world.popularity, (len(block), 1)), draws[block, 0])
        grown = {user: [int(item)] for user, item in zip(block, first, strict=True)}
        for step in range(1, int(lengths[block].max())):
            active = [user for user in block if lengths[user] > step]
            p = world.chances([np.array(grown[u]) for u in active], world.text, world.image)
            for user, item in zip(active, _drawn(p, draws[active, step]), strict=True):
                grown[user].append(int(item))
        sequences += [np.array(grown[user], dtype=np.int64) for user in block]
    return sequences


def write_planted(
    config: PlantedConfig, name: str | None = None, *, root: Path | None = None
) -> tuple[Bundle, Truth]:
    """Generate the data and write them as the bundle root/name, with truth.json beside its files.

    name: planted-IMAGE-SEED if None. Raises InputError for a name that a dataset cannot have, and
    where the folder cannot be written.
    """
    name = name or f"planted-{config.image}-{config.seed}"
    check_name(name)
    root = root or default_root()
    world = world_of(config)
    sequences = draw_sequences(world)
    truth = truth_of(world, sequences)
    bundle = write_bundle(
        DatasetConfig(
            name=name,
            title=f"Planted, image: {config.image}",
            grade="C",
            interactions=[],
            licence="generated",
            notes="Synthetic; what is planted says truth.json.",
        ),
        _interactions(world, sequences),
        None,
        _features(world),
        root=root,
        source=f"generated with seed {config.seed}",
        inputs={},
    )
    write_bytes(root / name / TRUTH, (truth.model_dump_json(indent=1) + "\n").encode())
    return bundle, truth


def read_truth(folder: Path) -> Truth:
    """What is planted in the bundle in `folder`. Raises InputError where nothing readable is."""
    path = folder / TRUTH
    try:
        return Truth.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path}: missing or damaged ({type(error).__name__}); make the dataset again with "
            "`./reproduce.sh planted`"
        ) from error


# ---- oracles -------------------------------------------------------------------------------------


def truth_of(world: World, sequences: Sequence[IntArray]) -> Truth:
    """The oracles' means over the last items of all users. Items are ranked among those that
    occur."""
    catalogue = np.unique(np.concatenate(sequences))
    order = _rng(world.config, "permuted").permutation(len(world.popularity))
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
    for start in range(0, len(sequences), _AT_ONCE):
        block = sequences[start : start + _AT_ONCE]
        histories = [sequence[:-1] for sequence in block]
        targets = np.searchsorted(catalogue, [sequence[-1] for sequence in block])
        p = _normalised(world.chances(histories, world.text, world.image)[:, catalogue])
        blind = _normalised(world.chances(histories, None, None, markov=False)[:, catalogue])
        for name, (text, image) in known.items():
            markov = name != "popularity"
            own = world.chances(histories, text, image, markov=markov)[:, catalogue]
            own = _normalised(own)
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


# ---- what the bundle holds -----------------------------------------------------------------------


def _interactions(world: World, sequences: Sequence[IntArray]) -> pd.DataFrame:
    """Users begin at random times and take an item a tick."""
    start = _rng(world.config, "times").integers(0, 1_000_000, len(sequences))
    lengths = [len(sequence) for sequence in sequences]
    user = np.repeat(np.arange(len(sequences)), lengths)
    tick = np.concatenate([np.arange(length) for length in lengths])
    return pd.DataFrame(
        {
            "user": [f"u{k}" for k in user],
            "item": [item_id(k) for k in np.concatenate(sequences)],
            "timestamp": start[user] + tick,
        }
    )


def item_id(item: int) -> str:
    """The source's id of an item of the world."""
    return f"i{item}"


def _features(world: World) -> dict[Modality, FeatureTable]:
    config = world.config
    rng = _rng(config, "maps")
    shows = {"copy": world.text, "noise": world.noise, "complement": world.image}[config.image]
    tables: dict[Modality, FeatureTable] = {}
    factors_of: dict[Modality, FloatArray] = {"text": world.text, "image": shows}
    for modality, factors in factors_of.items():
        values = factors @ rng.normal(size=(config.factors, _WIDTHS[modality]))
        tables[modality] = FeatureTable(
            ids=[item_id(k) for k in range(config.items)],
            values=values.astype(np.float32),
            present=np.ones(config.items, dtype=bool),
            layers=(),
            provenance=Provenance(encoder="planted", model="linear map of factors", created=DRAWN),
        )
    return tables


# ---- drawing -------------------------------------------------------------------------------------


def _rng(config: PlantedConfig, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose, so that a change of one changes no other."""
    return np.random.default_rng([config.seed, *purpose.encode()])


def _drawn(p: FloatArray, uniform: FloatArray) -> IntArray:
    """[B] items drawn from rows p [B, N] by uniform numbers [B] in [0, 1)."""
    cumulated = np.cumsum(p, axis=1)
    item = (cumulated <= uniform[:, None] * cumulated[:, -1:]).sum(1)
    return np.asarray(item, dtype=np.int64)


def _normalised(weights: FloatArray) -> FloatArray:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
