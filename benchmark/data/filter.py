"""The iterative k-core."""

import numpy as np
import pandas as pd

from benchmark.errors import InputError


def k_core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest subset in which every user and every item has at least k interactions.

    interactions: columns user and item, any ids; rows keep their order. The result does not depend
    on the order of removals. Raises InputError if nothing remains.
    """
    users, _ = pd.factorize(interactions["user"])
    items, _ = pd.factorize(interactions["item"])
    kept = np.arange(len(interactions))
    while True:
        per_user = np.bincount(users[kept], minlength=1)
        per_item = np.bincount(items[kept], minlength=1)
        keep = (per_user[users[kept]] >= k) & (per_item[items[kept]] >= k)
        if keep.all():
            break
        kept = kept[keep]
    if len(kept) == 0:
        raise InputError(
            f"the {k}-core is empty: no group of users and items has {k} interactions each; "
            "choose a smaller core"
        )
    return interactions.iloc[kept].reset_index(drop=True)
