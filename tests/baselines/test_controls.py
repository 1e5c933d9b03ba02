"""Controls against closed forms, a second computation, and cases done by hand."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.controls import (
    EASE,
    ContentKNN,
    Control,
    LastItemKNN,
    Popularity,
    SessionKNN,
    cooccurrence,
    successors,
)
from benchmark.data.sequences import Queries
from benchmark.evaluate.ranking import rank_targets
from findrec.recommender import Catalogue
from tests.catalogues import ITEMS, catalogue

ALL: list[type[Control]] = [Popularity, LastItemKNN, SessionKNN, EASE, ContentKNN]

# Users a, b, c over items 1..4.
SEQUENCES = [[1, 2, 3], [2, 1], [1, 2, 4]]


def flat(sequences: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    items = np.array([item for sequence in sequences for item in sequence], dtype=np.int64)
    return items, np.cumsum([0, *map(len, sequences)])


def random_sequences(users: int = 40, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [
        list(draw.permutation(ITEMS)[: draw.integers(2, 10)].astype(int) + 1) for _ in range(users)
    ]


def binary(sequences: list[list[int]], n_items: int) -> NDArray[np.float64]:
    x = np.zeros((len(sequences), n_items))
    for user, sequence in enumerate(sequences):
        x[user, np.array(sequence) - 1] = 1
    return x


def fitted(control: Control, sequences: list[list[int]], data: Catalogue | None = None) -> Control:
    control.fit(*flat(sequences), data or catalogue())
    return control


@pytest.fixture
def histories() -> torch.Tensor:
    return torch.tensor([[3, 7, 1, 0, 0], [5, 0, 0, 0, 0], [2, 9, 4, 11, 24]])


@pytest.mark.parametrize("kind", ALL)
def test_scores_all_items_those_of_the_history_among_them(
    kind: type[Control], histories: torch.Tensor
) -> None:
    scores = fitted(kind(), random_sequences()).score(histories)
    assert scores.shape == (3, ITEMS)
    assert scores.isfinite().all()


@pytest.mark.parametrize("kind", ALL)
def test_history_left_out_is_the_ranking_of_scores_without_it(kind: type[Control]) -> None:
    """The masked ranks of a control are those that its scores would have if the items of the
    history scored minus infinity, which controls did themselves once. Exact: counts of integers."""
    draw = np.random.default_rng(3)
    users = [draw.permutation(ITEMS)[:8].astype(int) + 1 for _ in range(30)]
    control = fitted(kind(), [list(user[:7]) for user in users])
    history = np.stack([user[:7] for user in users])
    queries = Queries(
        history=history,
        target=np.array([user[7] for user in users]),
        seen_items=history.ravel(),
        seen_offsets=np.arange(0, history.size + 1, 7),
        length=np.full(30, 8),
        user=np.arange(30),
    )
    ranks = rank_targets(control.score, queries)
    scores = control.score(torch.as_tensor(history)).numpy()
    for user in range(30):
        kept = np.delete(scores[user], history[user] - 1)
        target = scores[user, users[user][7] - 1]
        assert ranks.above[user] == (scores[user] > target).sum()
        assert ranks.above_masked[user] == (kept > target).sum()
        assert ranks.equal_masked[user] == (kept == target).sum() - 1


@pytest.mark.parametrize("kind", ALL)
def test_each_history_alone_and_padded_further_scores_the_same(
    kind: type[Control], histories: torch.Tensor
) -> None:
    """1e-6: single-precision sums over other shapes."""
    control = fitted(kind(), random_sequences())
    together = control.score(histories)
    for row in range(3):
        padded = torch.cat([histories[row], torch.zeros(4, dtype=torch.int64)]).unsqueeze(0)
        torch.testing.assert_close(control.score(padded)[0], together[row], rtol=1e-6, atol=1e-6)


def test_popularity_counts() -> None:
    control = fitted(Popularity(), SEQUENCES, Catalogue(4))
    assert control.score(torch.tensor([[3]])).tolist() == [[3, 3, 1, 1]]


def test_cooccurrence_is_the_gram_matrix_of_the_binary_matrix() -> None:
    sequences = random_sequences()
    x = binary(sequences, ITEMS)
    items, offsets = flat([[*s, s[0]] for s in sequences])  # a repeated item counts once
    assert np.array_equal(cooccurrence(items, offsets, ITEMS), x.T @ x)


def test_successors_by_hand() -> None:
    """a: 1-2, 2-3 at distance 1, 1-3 at 2; b: 2-1; c: 1-2, 2-4 at 1, 1-4 at 2."""
    expected = np.array([[0, 2, 0.5, 0.5], [1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert np.array_equal(successors(*flat(SEQUENCES), 10, 4), expected)
    expected[0, 2:] = 0
    assert np.array_equal(successors(*flat(SEQUENCES), 1, 4), expected)


def test_last_item_neighbours_by_hand() -> None:
    """Cosine: items 2 and 4 share one user of three and one: 1 / sqrt(3). Only the last counts."""
    control = fitted(LastItemKNN(counts="cooccurrence"), SEQUENCES, Catalogue(4))
    assert isinstance(control, LastItemKNN)
    scores = control.score(torch.tensor([[1, 2, 0]]))[0]
    root = 1 / np.sqrt(3)
    torch.testing.assert_close(scores, torch.tensor([1, 0, root, root], dtype=torch.float32))
    control = fitted(LastItemKNN(), SEQUENCES, Catalogue(4))
    assert control.score(torch.tensor([[4, 1]])).tolist() == [[0, 2, 0.5, 0.5]]


def test_session_neighbours_by_hand() -> None:
    """History (4, 1) with weights 1/2 and 1. Nearness: a 1/sqrt(3), b 1/sqrt(2), c 1.5/sqrt(3)."""
    a, b, c = 1 / np.sqrt(3), 1 / np.sqrt(2), 1.5 / np.sqrt(3)
    control = fitted(SessionKNN(neighbours=3), SEQUENCES, Catalogue(4))
    expected = torch.tensor([[a + b + c, a + b + c, a, c]], dtype=torch.float32)
    torch.testing.assert_close(control.score(torch.tensor([[4, 1, 0]])), expected)
    control = fitted(SessionKNN(neighbours=1), SEQUENCES, Catalogue(4))
    expected = torch.tensor([[c, c, 0, c]], dtype=torch.float32)
    torch.testing.assert_close(control.score(torch.tensor([[4, 1, 0]])), expected)


def test_ease_is_the_constrained_ridge_regression() -> None:
    """Column j of B solves the ridge regression of item j on all others (Steck, eq. 4), computed
    here one by one in float64; 1e-4 relative: a float32 Cholesky of a matrix of condition 10."""
    sequences = random_sequences()
    control = fitted(EASE(regularisation=10.0), sequences)
    assert isinstance(control, EASE)
    x = binary(sequences, ITEMS)
    for item in range(ITEMS):
        others = np.delete(np.arange(ITEMS), item)
        rest = x[:, others]
        solved = np.linalg.solve(rest.T @ rest + 10 * np.eye(ITEMS - 1), rest.T @ x[:, item])
        np.testing.assert_allclose(
            control.weights[others, item].numpy(), solved, rtol=1e-4, atol=1e-6
        )
        assert control.weights[item, item] == 0
    history = torch.tensor([[3, 5, 3, 0]])  # an item that is there twice counts once
    expected = control.weights[2] + control.weights[4]
    torch.testing.assert_close(control.score(history)[0], expected)


def test_content_neighbours_by_hand() -> None:
    data = catalogue(modalities=("text",))
    assert data.text is not None
    text = torch.nn.functional.normalize(data.text.values, dim=1)
    control = fitted(ContentKNN(), SEQUENCES, data)
    profile = text[3] + text[7]
    expected = text[1:] @ (profile / profile.norm())
    torch.testing.assert_close(control.score(torch.tensor([[3, 7, 0]]))[0], expected)
    control = fitted(ContentKNN(query="last"), SEQUENCES, data)
    torch.testing.assert_close(control.score(torch.tensor([[3, 7, 0]]))[0], text[1:] @ text[7])


def test_item_without_features_is_near_nobody() -> None:
    control = fitted(ContentKNN(), SEQUENCES, catalogue(missing=0.4))
    assert isinstance(control, ContentKNN)
    lacking = (control.features[1:] == 0).all(1)
    assert lacking.any()
    assert not control.score(torch.tensor([[3, 7]]))[0, lacking].any()


def test_content_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="need text or image features"):
        fitted(ContentKNN(), SEQUENCES, Catalogue(4))


@pytest.mark.parametrize("wrong", [LastItemKNN(counts="cosine"), ContentKNN(query="first")])
def test_unknown_setting_is_refused(wrong: Control) -> None:
    with pytest.raises(ValueError, match="choose"):
        fitted(wrong, random_sequences()).score(torch.tensor([[1]]))
