"""Where each target stands: what is stored of a run, and everything that a metric needs.

Glossary
    U   users of a split
    Q   queries: held-out targets; one a user (leave-one-out) unless the protocol holds out more
    N   items in the catalogue
    K   length of a stored top list
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]

PENALTIES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""What is taken from the scores of history items to see how far a constant alone would suppress
them, in standard deviations of a query's scores over all items."""


@dataclass(frozen=True)
class Ranks:
    """Where each query's target stands among all items: everything that a rank metric needs.

    The target's score is compared with every other item's. With ties the target's position is
    uniform on above + 1 ... above + equal + 1; metrics take the expectation over it.
    """

    above: IntArray
    """[Q] int32: items that score strictly above the target."""
    equal: IntArray
    """[Q] int32: other items that score the same."""
    above_masked: IntArray
    """[Q] int32: as `above`, the user's history removed from the competitors."""
    equal_masked: IntArray
    """[Q] int32: as `equal`, the user's history removed from the competitors."""
    n_candidates_masked: IntArray
    """[Q] int32: items that are ranked once the history is removed, the target among them. A target
    that the user has met before is never removed."""
    n_items: int
    """N, the items that are ranked when nothing is masked, the target among them."""
    top: IntArray | None = None
    """[Q, K] int32: ids (1..N) of the best K items, ties by smaller id first; None where it was not
    kept."""
    top_masked: IntArray | None = None
    """As `top`, the user's history removed. Where fewer than K items are left, 0 fills up."""
    popularity: IntArray | None = None
    """[6, Q] int32: how often the items are trained on, all together, that `above` counts, that
    `equal` counts, and that compete with the target at all; then the same three with the user's
    history removed from the competitors. None where it was not kept."""
    lowered: IntArray | None = None
    """[Q, C] int32: history items that still score above the target once `PENALTIES[c]` standard
    deviations of the query's scores are taken from theirs; None where it was not counted."""
    user: IntArray | None = None
    """[Q] int32, ascending: whose query it is; None where every user has one."""

    def __len__(self) -> int:
        return len(self.above)
