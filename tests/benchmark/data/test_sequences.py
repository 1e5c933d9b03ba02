"""Leave-one-out: targets, windows and histories."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.content import Bundle
from benchmark.data.sequences import Sequences, Windows, hold_out
from benchmark.errors import InputError


class Lengths:
    """Users with the given numbers of interactions; item ids are all different, so that a pair
    (input, target) names one transition."""

    def __init__(self, *lengths: int) -> None:
        self.path = Path("made-up")
        self.lengths = np.array(lengths)

    def sequences(self) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        return np.arange(1, offsets[-1] + 1), offsets

    @property
    def interactions(self) -> pd.DataFrame:
        """Every interaction's time, drawn from few values so that there are ties; ascending within
        a user."""
        rng = np.random.default_rng(self.lengths.sum())
        times = [np.sort(rng.integers(0, 40, size=n)) for n in self.lengths]
        return pd.DataFrame({"timestamp": np.concatenate(times)})


def split(*lengths: int, L: int, stride: int | None = None, prefixes: bool = False) -> Sequences:
    return hold_out(Lengths(*lengths), L, stride=stride, prefixes=prefixes)  # type: ignore[arg-type]


def counted(windows: Windows) -> Counter[tuple[int, int]]:
    """Transitions that count, as (input item, target item)."""
    row, t = np.nonzero(windows.counts)
    return Counter(
        zip(windows.items[row, t].tolist(), windows.items[row, t + 1].tolist(), strict=True)
    )


def transitions(*lengths: int) -> Counter[tuple[int, int]]:
    """Every step of the training sequences: all but the last two items of each user."""
    items, offsets = Lengths(*lengths).sequences()
    pairs: list[tuple[int, int]] = []
    for start, stop in zip(offsets[:-1], offsets[1:] - 2, strict=True):
        sequence = items[start:stop].tolist()
        pairs += list(pairwise(sequence))
    return Counter(pairs)


many = st.lists(st.integers(3, 40), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(lengths=many, L=st.integers(1, 12), data=st.data(), prefixes=st.booleans())
def test_every_training_transition_counts_once(
    lengths: list[int], L: int, data: st.DataObject, prefixes: bool
) -> None:
    stride = data.draw(st.none() | st.integers(1, L))
    assert counted(split(*lengths, L=L, stride=stride, prefixes=prefixes).train) == transitions(
        *lengths
    )


@settings(max_examples=100, deadline=None)
@given(lengths=many, L=st.integers(2, 12))
def test_targets_have_half_a_window_of_context(lengths: list[int], L: int) -> None:
    """At least L - L // 2 items before a target, or all that there are."""
    windows = split(*lengths, L=L).train
    _, offsets = Lengths(*lengths).sequences()
    for items, first, user in zip(windows.items, windows.first_target, windows.user, strict=True):
        start = items[0] - 1 - offsets[user]  # item ids are consecutive: the window's first place
        assert first >= min(L - L // 2, start + first)
        filled = items[items > 0]
        assert np.array_equal(filled, np.arange(items[0], items[0] + len(filled)))


def test_windows_by_hand() -> None:
    """Training sequence 1..10, L = 4, stride 2: the last window ends with the sequence."""
    windows = split(12, L=4).train
    expected = [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [5, 6, 7, 8, 9], [6, 7, 8, 9, 10]]
    assert windows.items.tolist() == expected
    assert windows.first_target.tolist() == [0, 2, 2, 3]


def test_short_users_are_padded_at_the_right() -> None:
    sequences = split(3, 4, 6, L=5)
    # 3 interactions leave one to train on, which is no transition
    assert sequences.train.items.tolist() == [[4, 5, 0, 0, 0, 0], [8, 9, 10, 11, 0, 0]]
    assert sequences.train.user.tolist() == [1, 2]
    assert sequences.test.history.tolist() == [
        [1, 2, 0, 0, 0],
        [4, 5, 6, 0, 0],
        [8, 9, 10, 11, 12],
    ]


def test_prefixes_are_the_last_items_before_each_target() -> None:
    windows = split(7, L=3, prefixes=True).train
    assert windows.items.tolist() == [[1, 2, 0, 0], [1, 2, 3, 0], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert windows.first_target.tolist() == [0, 1, 2, 2]


@settings(max_examples=50, deadline=None)
@given(lengths=many, L=st.integers(1, 12))
def test_queries(lengths: list[int], L: int) -> None:
    sequences = split(*lengths, L=L)
    items, offsets = Lengths(*lengths).sequences()
    for queries, held_out in ((sequences.validation, 2), (sequences.test, 1)):
        assert queries.length.tolist() == lengths
        for user in range(len(lengths)):
            whole = items[offsets[user] : offsets[user + 1]]
            before = whole[: len(whole) - held_out]
            assert queries.target[user] == whole[len(whole) - held_out]
            assert np.array_equal(
                queries.seen_items[queries.seen_offsets[user] : queries.seen_offsets[user + 1]],
                before,
            )
            history = queries.history[user]
            assert np.array_equal(history[history > 0], before[-L:])
            assert not history[len(before[-L:]) :].any()


@settings(max_examples=100, deadline=None)
@given(lengths=many, L=st.integers(1, 12), kept=st.integers(1, 6), asked=st.integers(1, 6))
def test_several_targets_a_user(lengths: list[int], L: int, kept: int, asked: int) -> None:
    """By definition: the last items are test targets, those before them validation targets, each
    asked for after all that came before it; two items at least are left to train on."""
    bundle = Lengths(*lengths)
    sequences = hold_out(bundle, L, validation_targets=kept, test_targets=asked)  # type: ignore[arg-type]
    items, offsets = bundle.sequences()
    trained = set(np.unique(sequences.train.items).tolist())
    places: dict[str, list[tuple[int, int]]] = {"validation": [], "test": []}
    for user, n in enumerate(lengths):
        test = max(min(asked, n - 3), 1)
        validation = max(min(kept, n - test - 2), 1)
        places["test"] += [(user, at) for at in range(n - test, n)]
        places["validation"] += [(user, at) for at in range(n - test - validation, n - test)]
    for queries, own in (
        (sequences.validation, places["validation"]),
        (sequences.test, places["test"]),
    ):
        assert queries.user.tolist() == [user for user, _ in own]
        assert queries.length.tolist() == [lengths[user] for user, _ in own]
        assert not trained & set(queries.target.tolist())
        for query, (user, at) in enumerate(own):
            whole = items[offsets[user] : offsets[user + 1]]
            seen = slice(*queries.seen_offsets[query : query + 2])
            assert queries.target[query] == whole[at]
            assert np.array_equal(queries.seen_items[seen], whole[:at])
            history = queries.history[query]
            assert np.array_equal(history[history > 0], whole[:at][-L:])


def test_no_target_is_trained_on(ml_100k: Bundle) -> None:
    """Each (user, item) of ML-100k occurs once, so a leak would show as a common pair."""
    sequences = hold_out(ml_100k, 50)
    row, t = np.nonzero(sequences.train.items)
    trained = set(
        zip(sequences.train.user[row].tolist(), sequences.train.items[row, t].tolist(), strict=True)
    )
    for queries in (sequences.validation, sequences.test):
        assert trained.isdisjoint(enumerate(queries.target.tolist()))


def test_training_positions_of_real_data(beauty: Bundle, ml_100k: Bundle) -> None:
    """All transitions but the two held out: interactions - 3 users, whatever the window."""
    for bundle, expected in ((beauty, 47_310), (ml_100k, 96_458)):
        assert expected == bundle.meta.counts.interactions - 3 * bundle.n_users
        assert hold_out(bundle, 50).train.counts.sum() == expected


def test_too_few_interactions_are_named() -> None:
    with pytest.raises(InputError, match=r"made-up: user 1 has 2 interactions.*core >= 3"):
        split(5, 2, L=4)


@pytest.mark.parametrize(("L", "stride"), [(0, None), (4, 0), (4, 5)])
def test_impossible_windows(L: int, stride: int | None) -> None:
    with pytest.raises(InputError, match="max_length"):
        split(5, L=L, stride=stride)


def test_sequences_of_a_bundle_are_its_interactions(beauty: Bundle) -> None:
    items, offsets = beauty.sequences()
    user = beauty.interactions[beauty.interactions["user"] == 7]
    assert items[offsets[7] : offsets[8]].tolist() == user["item"].tolist()
    assert user["position"].tolist() == list(range(len(user)))


def of_user(sequences: Sequences, part: str, user: int) -> list[int]:
    queries = getattr(sequences, part)
    return queries.target[queries.user == user].tolist()


def asked_after(sequences: Sequences, query: int) -> list[int]:
    test = sequences.test
    return test.seen_items[slice(*test.seen_offsets[query : query + 2])].tolist()


@settings(max_examples=60, deadline=None)
@given(lengths=many, L=st.integers(1, 12), one_list=st.booleans())
def test_eight_one_one(lengths: list[int], L: int, one_list: bool) -> None:
    """A tenth of each user's items is tested and as many validate; no target is trained on."""
    bundle = Lengths(*lengths)
    sequences = hold_out(bundle, L, split="ratio", one_list=one_list)  # type: ignore[arg-type]
    items, offsets = bundle.sequences()
    for user, n in enumerate(lengths):
        tenth = max(n // 10, 1)
        whole = items[offsets[user] : offsets[user + 1]].tolist()
        assert of_user(sequences, "test", user) == whole[n - tenth :]
        assert of_user(sequences, "validation", user) == whole[n - 2 * tenth : n - tenth]
        trained = sequences.histories.items[slice(*sequences.histories.offsets[user : user + 2])]
        assert trained.tolist() == whole[: n - 2 * tenth]
    for query, user in enumerate(sequences.test.user):
        whole = items[offsets[user] : offsets[user + 1]].tolist()
        tenth = max(lengths[user] // 10, 1)
        place = whole.index(sequences.test.target[query])
        assert asked_after(sequences, query) == whole[: len(whole) - tenth if one_list else place]
    held_out = {*sequences.test.target.tolist(), *sequences.validation.target.tolist()}
    assert not held_out & set(sequences.train.items.ravel().tolist())


@settings(max_examples=60, deadline=None)
@given(lengths=many, L=st.integers(1, 12), ratio=st.booleans())
def test_a_leak_trains_on_every_item_and_asks_the_same(
    lengths: list[int], L: int, ratio: bool
) -> None:
    bundle = Lengths(*lengths)
    how = "ratio" if ratio else "leave-one-out"
    plain = hold_out(bundle, L, split=how)  # type: ignore[arg-type]
    leaked = hold_out(bundle, L, split=how, leak=True)  # type: ignore[arg-type]
    items, offsets = bundle.sequences()
    assert leaked.histories.items.tolist() == items.tolist()
    assert leaked.histories.offsets.tolist() == offsets.tolist()
    pairs = [
        pair for start, stop in pairwise(offsets) for pair in pairwise(items[start:stop].tolist())
    ]
    assert counted(leaked.train) == Counter(pairs)
    for left, right in ((plain.validation, leaked.validation), (plain.test, leaked.test)):
        for name in ("user", "history", "target", "seen_items", "seen_offsets", "length"):
            assert np.array_equal(getattr(left, name), getattr(right, name))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=8, max_size=20),
    L=st.integers(1, 12),
    kept=st.integers(1, 3),
    asked=st.integers(1, 6),
)
def test_one_moment_for_all(lengths: list[int], L: int, kept: int, asked: int) -> None:
    """Nothing from the first moment on is trained on; every target lies in its span of time, and
    its history before it."""
    bundle = Lengths(*lengths)
    times = bundle.interactions["timestamp"].to_numpy()
    ordered = sorted(times.tolist())
    first, second = ordered[len(ordered) * 8 // 10], ordered[len(ordered) * 9 // 10]
    if not ordered[0] < first < second:
        with pytest.raises(InputError, match="different times"):
            hold_out(bundle, L, split="global-time")  # type: ignore[arg-type]
        return
    sequences = hold_out(
        bundle,
        L,
        split="global-time",
        validation_targets=kept,
        test_targets=asked,  # type: ignore[arg-type]
    )
    items, offsets = bundle.sequences()
    for user in range(len(lengths)):
        span = slice(*offsets[user : user + 2])
        own, at = items[span].tolist(), times[span].tolist()
        before = [item for item, t in zip(own, at, strict=True) if t < first]
        between = [i for i, t in zip(own, at, strict=True) if first <= t < second and i != own[0]]
        after = [i for i, t in zip(own, at, strict=True) if t >= second and i != own[0]]
        trained = sequences.histories.items[slice(*sequences.histories.offsets[user : user + 2])]
        assert trained.tolist() == before
        assert of_user(sequences, "validation", user) == between[:kept]
        assert of_user(sequences, "test", user) == after[:asked]
    for query, user in enumerate(sequences.test.user):
        own = items[slice(*offsets[user : user + 2])].tolist()
        assert asked_after(sequences, query) == own[: own.index(sequences.test.target[query])]
    held_out = {*sequences.test.target.tolist(), *sequences.validation.target.tolist()}
    assert not held_out & set(sequences.train.items.ravel().tolist())


@settings(max_examples=40, deadline=None)
@given(lengths=many, L=st.integers(1, 12), asked=st.integers(1, 4))
def test_shuffled_sequences_hold_the_same_items(lengths: list[int], L: int, asked: int) -> None:
    bundle = Lengths(*lengths)
    plain = hold_out(bundle, L, test_targets=asked)  # type: ignore[arg-type]
    mixed = hold_out(bundle, L, test_targets=asked, shuffled=True)  # type: ignore[arg-type]
    assert np.array_equal(plain.histories.offsets, mixed.histories.offsets)
    for user in range(len(lengths)):
        span = slice(*plain.histories.offsets[user : user + 2])
        assert sorted(mixed.histories.items[span]) == plain.histories.items[span].tolist()
    assert np.array_equal(plain.train.counts, mixed.train.counts)
    for left, right in ((plain.validation, mixed.validation), (plain.test, mixed.test)):
        assert np.array_equal(left.target, right.target)
        assert np.array_equal(left.seen_items, right.seen_items)
        assert np.array_equal(left.history > 0, right.history > 0)
        assert np.array_equal(np.sort(left.history, 1), np.sort(right.history, 1))


def test_shuffling_moves_something() -> None:
    mixed = hold_out(Lengths(40, 40), 30, shuffled=True)  # type: ignore[arg-type]
    plain = hold_out(Lengths(40, 40), 30)  # type: ignore[arg-type]
    assert (mixed.train.items != plain.train.items).mean() > 0.5
    assert (mixed.test.history != plain.test.history).mean() > 0.5
