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
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import roots_jacobi

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ImageRole = Literal["copy", "noise", "complement"]

CUTOFF = 10
"""Of the NDCG that the truth states."""

AT_ONCE = 512
"""Histories whose p is held in memory together."""

_WORLDS, _NODES = 200, 64
"""Over how many draws of factors, and nodes of a cosine, an expected choice is taken."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shares(Strict):
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


class PlantedConfig(Strict):
    """What is generated; the same settings give the same bytes."""

    image: ImageRole
    """What the image features show."""
    seed: int = Field(0, ge=0)
    users: int = Field(2000, ge=2)
    items: int = Field(800, ge=20)
    shortest: int = Field(5, ge=3)
    """Interactions that every user has at least."""
    mean_length: float = Field(15.0, ge=3, allow_inf_nan=False)
    """Mean number of interactions of a user; what exceeds `shortest` is geometric."""
    shares: Shares = Shares()
    factors: int = Field(8, ge=2)
    """d, width of t and of v."""
    sharpness: float = Field(8.0, ge=0, allow_inf_nan=False)
    """Of the choices by content; 0 makes them choices by popularity."""
    memory: float = Field(0.7, ge=0, le=1)
    """Weight of an item in u relative to the one after it."""
    successors: int = Field(5, ge=1)
    """Items that may follow an item in the Markov chain."""
    tail: float = Field(0.8, ge=0, allow_inf_nan=False)
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
        by_popularity = normalised(np.where(taken, 0.0, self.popularity))
        unknown = normalised(np.where(taken, 0.0, self.unknown))
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
        return normalised(np.where(taken, 0.0, weight))

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
    rng = rng_of(config, "world")
    n = config.items
    weight = (np.arange(n, dtype=np.float64) + 5.0) ** -config.tail
    popularity = np.asarray(weight / weight.sum())
    number = min(config.successors, n - 1)
    successors = np.concatenate(
        [
            _successors(rng, popularity, np.arange(start, min(start + AT_ONCE, n)), number)
            for start in range(0, n, AT_ONCE)
        ]
    )
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


def _successors(
    rng: np.random.Generator, popularity: FloatArray, items: IntArray, number: int
) -> IntArray:
    """[B, K] other items for each of `items` [B], drawn without replacement in proportion to
    popularity: those with the largest log P plus a Gumbel variate."""
    keys = np.log(popularity) + rng.gumbel(size=(len(items), len(popularity)))
    keys[np.arange(len(items)), items] = -np.inf
    return np.argsort(-keys, axis=1, kind="stable")[:, :number]


def _expected_choice(config: PlantedConfig, popularity: FloatArray) -> FloatArray:
    """[N] mean of Q over random factors: of the item's own by quadrature over its cosine with u,
    whose density is (1 - c^2)^((d - 3) / 2), of the others by drawing what their weights sum to."""
    rng = rng_of(config, "unknown")
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
    rng = rng_of(config, "sequences")
    excess = config.mean_length - config.shortest
    extra = rng.geometric(1 / (1 + excess), config.users) - 1
    lengths = np.minimum(config.shortest + extra, config.longest)
    draws = rng.random((config.users, int(lengths.max())))
    sequences: list[IntArray] = []
    for start in range(0, config.users, AT_ONCE):
        block = range(start, min(start + AT_ONCE, config.users))
        first = _drawn(np.tile(world.popularity, (len(block), 1)), draws[block, 0])
        grown = {user: [int(item)] for user, item in zip(block, first, strict=True)}
        for step in range(1, int(lengths[block].max())):
            active = [user for user in block if lengths[user] > step]
            p = world.chances([np.array(grown[u]) for u in active], world.text, world.image)
            for user, item in zip(active, _drawn(p, draws[active, step]), strict=True):
                grown[user].append(int(item))
        sequences += [np.array(grown[user], dtype=np.int64) for user in block]
    return sequences


# ---- drawing -------------------------------------------------------------------------------------


def rng_of(config: PlantedConfig, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose, so that a change of one changes no other."""
    return np.random.default_rng([config.seed, *purpose.encode()])


def _drawn(p: FloatArray, uniform: FloatArray) -> IntArray:
    """[B] items drawn from rows p [B, N] by uniform numbers [B] in [0, 1)."""
    cumulated = np.cumsum(p, axis=1)
    item = (cumulated <= uniform[:, None] * cumulated[:, -1:]).sum(1)
    return np.asarray(item, dtype=np.int64)


def normalised(weights: FloatArray) -> FloatArray:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
