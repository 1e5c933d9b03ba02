"""Controls: recommenders that are not trained by gradients, as a floor for those that are.

Popularity            counts of the training data
LastItemKNN           neighbours of the last item: decayed counts of successors, the sequential
                      rules of Ludewig and Jannach (UMUAI 2018), section 3.1; or the cosine of
                      co-occurrence, as the item-KNN of Hidasi et al. (ICLR 2016), section 4
SessionKNN            neighbours of the whole sequence: Jannach and Ludewig, RecSys 2017, section 3;
                      with recency as in the vector version V-SKNN (Ludewig and Jannach 2018)
EASE                  Steck, WWW 2019, eq. 8
ContentKNN            items whose frozen features are nearest to those of the history

A control is fitted to the training sequences and scores all items for given histories. It has no
seed: the same data give the same scores. It is given the window that a trained model is given, and
its scores are ranked by the same rule: all items compete, those of the history among them, and the
evaluation counts once with the history and once without (`benchmark/evaluate/ranking.py`).

No user of these datasets consumes an item twice, and neither a control nor a trained model is told.
With the history kept both pay for it: 96 % of the users of Beauty have an item of their history
above the target in the ranking of a trained SASRec.

Glossary: N items, 1 .. N, 0 is padding; U users; B histories; L positions, padded at the right.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findrec.recommender import Catalogue, Modality

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ControlConfig:
    """Settings of every control: there are none; a control with settings adds them."""


class Control(ABC):
    """Base class; a control writes `fit` and `score`."""

    Config: ClassVar[type[ControlConfig]] = ControlConfig
    modalities: ClassVar[tuple[Modality, ...]] = ()
    config: ControlConfig

    def __init__(self, **settings: Any) -> None:
        self.config = self.Config(**settings)

    @abstractmethod
    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        """Learn from the training sequences: user u's is items[offsets[u] : offsets[u + 1]]."""

    @abstractmethod
    def score(self, history: Tensor) -> Tensor:
        """[B, L] ids, padded with 0 at the right -> [B, N] scores; column i - 1 is item i."""


class Popularity(Control):
    """How often an item was consumed."""

    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        counts = np.bincount(items, minlength=catalogue.items + 1)[1:]
        self.counts = torch.from_numpy(counts).float()

    def score(self, history: Tensor) -> Tensor:
        return self.counts.expand(len(history), -1)


@dataclass(frozen=True)
class LastItemKNNConfig(ControlConfig):
    """Defaults from Ludewig and Jannach 2018."""

    counts: Literal["successor", "cooccurrence"] = "successor"
    """How often one item followed the other, or the cosine between the two items' sets of users."""
    steps: int = 10
    """A successor stands at most so many positions later and counts 1 / distance."""


class LastItemKNN(Control):
    """Neighbours of the last item."""

    Config = LastItemKNNConfig
    config: LastItemKNNConfig

    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        if self.config.counts == "successor":
            found = successors(items, offsets, self.config.steps, catalogue.items)
            self.neighbours = torch.from_numpy(found)
            return
        if self.config.counts != "cooccurrence":
            raise ValueError(
                f"counts is {self.config.counts!r}: choose 'successor' or 'cooccurrence'"
            )
        counts = cooccurrence(items, offsets, catalogue.items)
        norm = np.sqrt(np.maximum(counts.diagonal(), 1))
        counts /= norm[:, None]
        counts /= norm
        np.fill_diagonal(counts, 0)
        self.neighbours = torch.from_numpy(counts)

    def score(self, history: Tensor) -> Tensor:
        last = history.gather(1, (history > 0).sum(1, keepdim=True) - 1)[:, 0]
        return self.neighbours[last - 1]


@dataclass(frozen=True)
class SessionKNNConfig(ControlConfig):
    """Ludewig and Jannach 2018 use 100 to 500 neighbours, depending on the data."""

    neighbours: int = 100
    recency: bool = True
    """Weight the item at position t of n by t / n in the comparison with other sequences."""


class SessionKNN(Control):
    """Items of the users with the most similar training sequences, weighted by that similarity.

    Similarity is the cosine of binary item vectors. A user's own training sequence is among the
    neighbours, and gives weight to items of the user's history alone.
    """

    Config = SessionKNNConfig
    config: SessionKNNConfig

    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        users = len(offsets) - 1
        user = np.repeat(np.arange(users), np.diff(offsets))
        index = torch.from_numpy(np.unique(np.stack([user, items]), axis=1))
        shape = (users, catalogue.items + 1)
        norm = torch.bincount(index[0], minlength=users).float().sqrt()
        self.sessions = sparse(index, 1 / norm[index[0]], shape)
        self.items_of_sessions = sparse(index.flip(0), torch.ones(index.shape[1]), shape[::-1])

    def score(self, history: Tensor) -> Tensor:
        length = (history > 0).sum(1, keepdim=True)
        weights = torch.ones(history.shape)
        if self.config.recency:
            weights = torch.arange(1, history.shape[1] + 1) / length
        query = torch.zeros(len(history), self.sessions.shape[1])
        query.scatter_reduce_(1, history, weights, "amax")
        query[:, 0] = 0
        similarity = torch.sparse.mm(self.sessions, query.T).T
        k = min(self.config.neighbours, similarity.shape[1])
        largest, neighbours = similarity.topk(k)
        chosen = torch.zeros(similarity.shape).scatter_(1, neighbours, largest)
        return torch.sparse.mm(self.items_of_sessions, chosen.T)[1:].T


@dataclass(frozen=True)
class EASEConfig(ControlConfig):
    """Steck 2019, section 4, finds 200 to 1,000 on large data; short histories need far less."""

    regularisation: float = 500.0
    """lambda"""


class EASE(Control):
    """The linear autoencoder without self-similarity, in closed form; [N, N] floats in memory.

    With P = (X^T X + lambda I)^-1: B = I - P / diag(P), and a history scores the sum of its rows.
    """

    Config = EASEConfig
    config: EASEConfig

    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        gram = torch.from_numpy(cooccurrence(items, offsets, catalogue.items))
        gram.diagonal().add_(self.config.regularisation)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse.div_(-inverse.diagonal().clone())
        weights.fill_diagonal_(0)
        self.weights = weights

    def score(self, history: Tensor) -> Tensor:
        order = torch.arange(history.shape[1])
        same = (history.unsqueeze(2) == history.unsqueeze(1)) & (order < order.unsqueeze(1))
        counted = (history > 0) & ~same.any(2)
        return torch.nn.functional.embedding_bag(
            (history - 1).clamp(min=0),
            self.weights,
            mode="sum",
            per_sample_weights=counted.float(),
        )


@dataclass(frozen=True)
class ContentKNNConfig(ControlConfig):
    """Our own; there is no standard."""

    query: Literal["mean", "last"] = "mean"
    """What is compared with an item: the mean of the history's features, or the last item's."""


class ContentKNN(Control):
    """Cosine of frozen features. Each modality has length 1, so that all have the same weight; one
    that an item lacks is zero. The suite's features are centred: items with a cosine of 0 are alike
    as far as the average item is. Raises ValueError for a dataset without features."""

    Config = ContentKNNConfig
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    config: ContentKNNConfig

    def fit(self, items: Ints, offsets: Ints, catalogue: Catalogue) -> None:
        parts = [
            torch.nn.functional.normalize(x.values.float(), dim=1) * x.present.unsqueeze(1)
            for x in catalogue.available(self.modalities).values()
        ]
        if not parts:
            raise ValueError(
                "content nearest neighbours need text or image features: there are none"
            )
        self.features = torch.cat(parts, 1)

    def score(self, history: Tensor) -> Tensor:
        valid = (history > 0).float()
        if self.config.query == "last":
            last = valid.sum(1, keepdim=True) - 1
            valid = (torch.arange(history.shape[1]) == last).float()
        elif self.config.query != "mean":
            raise ValueError(f"query is {self.config.query!r}: choose 'mean' or 'last'")
        profile = (self.features[history] * valid.unsqueeze(2)).sum(1)
        table = torch.nn.functional.normalize(self.features[1:], dim=1)
        return torch.nn.functional.normalize(profile, dim=1) @ table.T


def sparse(index: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce()


def cooccurrence(items: Ints, offsets: Ints, n_items: int) -> NDArray[np.float32]:
    """X^T X of the binary user-item matrix: [N, N], users who have both items."""
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    code = np.unique(user * n_items + items - 1)  # an item that a user has twice counts once
    item, offsets = code % n_items, np.searchsorted(code, np.arange(len(offsets)) * n_items)
    counts = np.zeros((n_items, n_items), dtype=np.float32)
    for distance in range(1, int(np.diff(offsets).max())):
        _count_pairs(item, offsets, distance, 1.0, counts)
    counts += counts.T
    counts[np.diag_indices(n_items)] = np.bincount(item, minlength=n_items)
    return counts


def successors(items: Ints, offsets: Ints, steps: int, n_items: int) -> NDArray[np.float32]:
    """[N, N]: sum of 1 / distance over all places where item j stands up to `steps` after i."""
    counts = np.zeros((n_items, n_items), dtype=np.float32)
    for distance in range(1, steps + 1):
        _count_pairs(items - 1, offsets, distance, 1 / distance, counts)
    return counts


def _count_pairs(
    items: Ints, offsets: Ints, distance: int, weight: float, counts: NDArray[np.float32]
) -> None:
    """Add the weight to counts[i, j] for every user's item j that stands `distance` after i."""
    end = np.repeat(offsets[1:], np.diff(offsets))
    first = np.flatnonzero(np.arange(len(items)) + distance < end)
    code = items[first] * counts.shape[1] + items[first + distance]
    np.add.at(counts.reshape(-1), code, np.float32(weight))
