"""What came of reading a dataset, for the user who has just built it."""

from datetime import UTC, datetime
from shlex import quote

import pandas as pd

from benchmark.data.content import MODALITIES, Bundle, attribute_names
from benchmark.data.meta import default_root
from benchmark.data.readers import READ_ATTRIBUTES

_UNITS = (
    (1e8, 1e10, 1.0, "seconds"),
    (1e11, 1e13, 1e3, "milliseconds"),
    (1e14, 1e16, 1e6, "microseconds"),
    (1e17, 9.3e18, 1e9, "nanoseconds"),
)
"""Timestamps from .. up to, how many to a second, name: each range is the years 1973 to 2286."""


def import_report(bundle: Bundle) -> list[str]:
    """Lines of text: rows read and kept and why not, items described, features, span of times, what
    was noticed, and the next command."""
    meta, items = bundle.meta, bundle.items
    read, kept = meta.read, meta.counts
    lines = [f"{read.interactions:,} interactions read, {kept.interactions:,} kept"]
    if kept.interactions < read.interactions:
        lines[0] += (
            f"; the {meta.filter} leaves out {read.interactions - kept.interactions:,}, with "
            f"{read.users - kept.users:,} of {read.users:,} users and "
            f"{read.items - kept.items:,} of {read.items:,} items"
        )
    columns = ["title", "text", *attribute_names(items)]
    described = int((items[columns] != "").any(axis=1).sum())
    lines.append(f"items described {described:,}/{kept.items:,}")
    texts = items["text"][items["text"] != ""].nunique()
    if texts:
        lines[-1] += f"; {texts:,} different texts"
    for name in attribute_names(items):
        values = {v for cell in items[name] for v in str(cell).split("|") if v}
        lines[-1] += f"; {name}: {len(values):,} values"
        if name not in READ_ATTRIBUTES:
            lines.append(
                f"no row reads {name}: those that are read are called {', '.join(READ_ATTRIBUTES)} "
                f"(--columns {READ_ATTRIBUTES[0]}={name}, for one)"
            )
        elif len(values) > kept.items / 2:
            lines.append(f"{name} has a value for almost every item: is it a category?")
    for modality in MODALITIES:
        features = bundle.text if modality == "text" else bundle.image
        count = 0 if features is None else int(features.present.sum())
        lines.append(f"{modality} features {count:,}/{kept.items:,}")
        if features is not None:
            rows = features.values[features.present].numpy()
            different = len({(row + 0.0).tobytes() for row in rows})  # -0 is 0
            lines[-1] += f" ({meta.encoders[modality]})"
            lines[-1] += f", {different:,} different" * (different < count)
            if different == 1 < count:
                lines.append(f"{modality} features are the same for all items: they tell nothing")
    lines += _times(bundle.interactions)
    lines += _repeats(bundle.interactions)
    shortest = int(bundle.interactions["user"].value_counts().min())
    if shortest < 3:
        lines.append(
            f"a user has {shortest} interactions, and training needs 3 of each: build it again "
            "with --core 3 or more"
        )
    lines += meta.remarks
    lines.append(f"next: {next_command(bundle)}")
    return lines


def _times(interactions: pd.DataFrame) -> list[str]:
    """Their span, how many are of one user at one time, and those that may stand for no time."""
    times = interactions["timestamp"]
    lines = [f"times {span(times)}"]
    tied = int(interactions.duplicated(["user", "timestamp"], keep=False).sum())
    if tied:
        lines[0] += f"; {tied:,} of {len(times):,} tie with another of the user's: in file order"
    for value in (-1, 0):
        others = times[(times != 0) & (times != -1)]
        odd = int((times == value).sum())
        if odd and len(others) and span(others).endswith("since 1970)"):
            lines.append(
                f"{odd:,} interactions are at time {value}, all others {span(others)}: if that "
                "stands for a missing time, drop those rows"
            )
    return lines


def _repeats(interactions: pd.DataFrame) -> list[str]:
    """Interactions with an item that the user had met before, and what they do to the ranking."""
    again = int(interactions.duplicated(["user", "item"]).sum())
    if not again:
        return []
    return [
        f"{again:,} interactions are with an item that the user had met before: where the history "
        "is left out, such a target stays while the rest of the history goes, so that a row which "
        "ranks the history first finds it for nothing; read the scores with the history kept"
    ]


def span(times: "pd.Series[int] | pd.Series[float]") -> str:
    """First and last timestamp, as dates where they can be dates."""
    first, last = times.min(), times.max()
    for low, high, per_second, unit in _UNITS:
        if low <= first <= last < high:
            days = (datetime.fromtimestamp(t / per_second, UTC).date() for t in (first, last))
            return " to ".join(map(str, days)) + f" (read as {unit} since 1970)"
    units = [u for t in (first, last) for low, high, _, u in _UNITS if low <= t < high]
    mixed = f" (are {units[0]} and {units[1]} mixed?)" if len(units) == 2 else ""
    return f"{first} to {last}{mixed}"


def next_command(bundle: Bundle) -> str:
    """What a user would do next with the dataset."""
    root = bundle.path.parent
    data = "" if root.resolve() == default_root().resolve() else f" --data {quote(str(root))}"
    if bundle.text is None and (bundle.items["text"] != "").any():
        return f"./reproduce.sh features {bundle.name} --modality text --encoder minilm{data}"
    return f"./reproduce.sh table2 --datasets {bundle.name}{data}"
