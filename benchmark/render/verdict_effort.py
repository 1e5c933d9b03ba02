"""The verdict's sections on effort: trials and time of every row, and what the seeds can show."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.analyse.analysis_plan import AnalysisPlan
from benchmark.analyse.power import Power, smallest_detectable
from benchmark.analyse.rules import RULES
from benchmark.data.config import dataset_lineage
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.render.document import duration, percent, with_range
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.tables.writers import markdown_table
from benchmark.settings.registry import Profile


def tuning_spent(profile: Profile, folder: Path, plan: AnalysisPlan) -> list[str]:
    """Trials and time of every row, over the profiles whose settings hold here."""
    logs = [folder / f"{own.name}.csv" for own in profile.lineage]
    frames = [_read(path) for path in logs if path.is_file()]
    if not frames:
        return [
            f"Not reached: no log of trials in `results/tuning` for profile `{profile.name}`.",
            "",
        ]
    trials = pd.concat(frames, ignore_index=True)
    datasets = [name for name in dict.fromkeys(trials["dataset"]) if name in plan.datasets]
    rows = []
    for model in dict.fromkeys(trials["model"]):
        own = trials[trials["model"] == model]
        spent = [own[own["dataset"] == dataset]["seconds"] for dataset in datasets]
        rows.append(
            (
                model,
                *(f"{len(one)}, {duration(float(one.sum()))}" if len(one) else "" for one in spent),
            )
        )
    note = (
        "Trials and their time on one core. Every row, FindRec among them, has the same grid of "
        "rates and dropouts and the same rule for its budget; ranks on test chose none of them. "
        "MovieLens-1M takes its dropouts from MovieLens-100k; its rate is the better of that of "
        "MovieLens-100k and the next lower one, by a ladder of budgets of its own "
        "([tuning](tuning.md))."
    )
    return [*markdown_table(("row", *datasets), rows), note, ""]


def last_doublings(profile: Profile, folder: Path, dataset: str, title: str) -> list[str]:
    """What the doubling to each row's budget gained on validation, where nothing longer was tried.
    Nothing of a profile whose budgets no ladder of its own has chosen."""
    path = folder / f"{profile.name}-budgets.csv"
    if not path.is_file():
        return []
    log = _read(path, ("dataset", "model", "steps", "protocol", "rung", "gain", "low", "high"))
    rows = []
    for model, own in log[log.dataset == dataset].groupby("model", sort=False):
        steps = int(own["steps"].iloc[0])
        if steps < own["rung"].max():
            continue
        before = own[own["rung"] * 2 == steps].set_index("protocol")
        gains = before.reindex(list(PROTOCOLS))[["gain", "low", "high"]].to_numpy(float)
        said = [with_range(gain, low, high) for gain, low, high in gains.tolist()]
        rows.append((str(model), f"{steps:,}", *said))
    if not rows:
        return []
    note = (
        f"What the doubling to its budget gained each row on validation of {title}, with bounds of "
        "90 % on either side; no ladder has anything longer. Rows that are still gaining may "
        "change places with longer budgets, and rows that gained alike in the last doubling need "
        "not gain alike in the next ([twice the budget](tuning.md#twice-the-budget))."
    )
    return [*markdown_table(("row", "steps", *(HEADINGS[p] for p in PROTOCOLS)), rows), note, ""]


def _read(path: Path, columns: Sequence[str] = ("dataset", "model", "seconds")) -> pd.DataFrame:
    try:
        return pd.read_csv(path)[[*columns]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a log of trials ({error}); run `tune` again") from error


def what_could_be_shown(power: Power, plan: AnalysisPlan, profile: Profile) -> list[str]:
    """The smallest differences that six seeds show, before anything was run, with one target a user
    and with as many as the profile has."""
    rows = [
        (
            dataset + (" (provisional pilot)" if pilot.provisional else ""),
            HEADINGS[protocol],
            *(
                percent(
                    smallest_detectable(
                        spread, users=pilot.users, seeds=RULES.minimum_seeds, targets=k
                    )
                ).lstrip("+")
                for k in (1, _test_targets(dataset, profile))
            ),
        )
        for dataset, pilot in power.pilots.items()
        if dataset in plan.datasets
        for protocol, spread in pilot.histories.items()
    ]
    if not rows:
        return ["Not reached: no pilot of a dataset of the plan.", ""]
    columns = ("dataset", "protocol", "one target a user", "rolling split")
    note = (
        f"The smallest difference of two rows that {RULES.minimum_seeds} seeds show with "
        f"{percent(RULES.power, 0).lstrip('+')} power, from validation targets of trials "
        "(`./reproduce.sh power`); beside the runs stands what they could show themselves."
    )
    lacking = [dataset for dataset in plan.datasets if dataset not in power.pilots]
    if lacking:
        note += f" Not reached: a pilot of {', '.join(lacking)}."
    return [*markdown_table(columns, rows), note, ""]


def _test_targets(dataset: str, profile: Profile) -> int:
    """Of a user, as the profile has it for all of its rows."""
    found = 1
    for _, _, layer in profile.layers(dataset_lineage(dataset)):
        found = layer.protocol.get("test_targets", found)
    return found
