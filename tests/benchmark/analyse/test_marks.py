"""Bold, underline and star by both rules."""

import numpy as np

from benchmark.analyse.significance_marks import SignificanceMarks, corrected_marks, paper_marks


def over_seeds(mean: float, spread: float = 0.001) -> np.ndarray:
    """Five seeds; their order differs from row to row, so that paired differences vary."""
    order = np.random.default_rng(round(mean * 1e6)).permutation(5)
    return mean + spread * (order - 2)


def test_papers_rule():
    rows = {"a": over_seeds(0.10), "b": over_seeds(0.12), "c": over_seeds(0.08)}
    assert paper_marks(rows) == SignificanceMarks(frozenset("b"), frozenset("a"), frozenset("b"))


def test_papers_rule_without_significance():
    rows = {"a": over_seeds(0.1000, 0.02), "b": over_seeds(0.1010, 0.02)}
    assert paper_marks(rows).star == frozenset()
    assert paper_marks(rows).bold == {"b"}


def test_rows_that_print_alike_are_marked_alike():
    rows = {"a": over_seeds(0.10001), "b": over_seeds(0.10004), "c": over_seeds(0.08)}
    marks = paper_marks(rows)
    assert (marks.bold, marks.underline) == ({"a", "b"}, {"c"})


def test_one_row_or_none():
    assert paper_marks({"a": over_seeds(0.1)}) == SignificanceMarks(bold=frozenset("a"))
    assert paper_marks({}) == corrected_marks({}, {}) == SignificanceMarks()


def test_corrected_rule_bolds_what_cannot_be_told_from_the_best():
    means = {"best": 0.12, "close": 0.119, "far": 0.10, "worst": 0.05}
    marks = corrected_marks(means, {"best": 0.6, "close": 0.6, "far": 0.001, "worst": 0.001})
    assert marks == SignificanceMarks(frozenset({"best", "close"}), frozenset({"far"}))


def test_corrected_star_needs_the_best_of_the_others():
    means = {"best": 0.12, "second": 0.10}
    marks = corrected_marks(means, {"best": 1.0, "second": 0.01})
    assert marks == SignificanceMarks(
        frozenset({"best"}), frozenset({"second"}), frozenset({"best"})
    )


def test_too_few_seeds_mark_the_best_and_star_nothing():
    nan = float("nan")
    marks = corrected_marks({"a": 0.2, "b": 0.1}, {"a": nan, "b": nan})
    assert marks == SignificanceMarks(frozenset({"a"}), frozenset({"b"}))
