"""The log of the trials and what they decide, for `results/tuning/`.

`<profile>.csv` has a line a trial, `<profile>-budgets.csv` a line for every rung of every ladder
that is decided, `<profile>.md` both as tables, and the lines for the rows' own files. Nothing here
writes a config: a choice enters by a commit (docs/tuning.md).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.files import atomic_file
from benchmark.runs.spec import slug
from benchmark.settings.registry import Profile
from benchmark.tune.grid import Trial, Tuning
from benchmark.tune.search import Choice, Search
from benchmark.tune.trials import METRIC, Row, place

POINTS = 8
"""Of a learning curve. More would cost time and select nothing."""


def trials_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line a trial, failed ones included."""
    lines = []
    for row in rows:
        choice = row.search.choice()
        for trial, (status, record) in sorted(row.stored.items()):
            values = row.search.tried[trial].values
            means = {p: math.nan if values is None else values[p].mean() for p in PROTOCOLS}
            own = record.timings
            lines.append(
                {
                    "dataset": row.dataset,
                    "model": row.model,
                    **trial.point._asdict(),
                    "steps": trial.steps,
                    "validation_kept": round(means["kept"], 6),
                    "validation_left_out": round(means["left out"], 6),
                    "seed": trial.seed,
                    "seconds": round(own.training + own.evaluation - own.inherited, 1),
                    "status": status,
                    "code": record.hashes.code,
                    "chosen": choice is not None
                    and (trial.point, trial.steps) == (choice.point, choice.steps),
                }
            )
    return pd.DataFrame(lines)


def budgets_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line for every protocol and rung of the ladders that are decided."""
    lines = []
    for row in rows:
        choice = row.search.choice()
        if choice is None:
            continue
        for protocol in PROTOCOLS:
            budget = choice.budgets[protocol]
            separate, error = separate_gain(row.search, choice, protocol)
            for rung in row.search.rungs:
                gain = budget.gains.get(rung)
                lines.append(
                    {
                        "dataset": row.dataset,
                        "model": row.model,
                        **choice.point._asdict(),
                        "steps": choice.steps,
                        "convergence": choice.convergence,
                        "trials": len(row.stored),
                        "cpu_minutes": round(row.cpu_seconds / 60, 1),
                        "separate_gain": round(separate, 4),
                        "separate_se": round(error, 4),
                        "protocol": protocol,
                        "rung": rung,
                        "ndcg@10": round(_mean(row.search, choice, protocol, rung), 6),
                        "gain": math.nan if gain is None else round(gain.estimate, 4),
                        "low": math.nan if gain is None else round(gain.low, 4),
                        "high": math.nan if gain is None else round(gain.high, 4),
                        "own": rung == budget.rung,
                        "own_convergence": budget.convergence,
                    }
                )
    return pd.DataFrame(lines)


def separate_gain(search: Search, choice: Choice, protocol: History) -> tuple[float, float]:
    """What the trial that is best under one protocol alone gains over the one that serves both, as
    a share, and its paired standard error over users; among all trials with the first seed. The
    best of so many is flattered by their noise, so that the gain is an upper estimate."""
    values = {
        trial: tried.values[protocol]
        for trial, tried in search.tried.items()
        if trial.seed == search.seed and tried.values is not None
    }
    ours = values[Trial(choice.point, choice.steps, search.seed)]
    best = max(values.values(), key=lambda v: float(v.mean()))
    error = np.std(best - ours, ddof=1) / np.sqrt(len(ours)) / ours.mean()
    return float(best.mean() / ours.mean() - 1), float(error)


def _mean(search: Search, choice: Choice, protocol: History, rung: int) -> float:
    values = [search.tried[Trial(choice.point, rung, seed)].values for seed in search.tuning.seeds]
    return float(np.mean([v[protocol].mean() for v in values if v is not None]))


def merged(frame: pd.DataFrame, earlier: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """The lines of `rows`, and those that an earlier log has of other rows, so that a call for some
    loses nobody else's. Raises InputError for a log that cannot be read or has other columns: what
    it says of other rows would be lost."""
    if not earlier.exists():
        return frame
    try:
        before = pd.read_csv(earlier)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{earlier}: no log of trials ({error}); mend it, or move it away"
        ) from error
    if not len(frame):
        frame = before.iloc[:0]
    if list(before.columns) != list(frame.columns) or not {"dataset", "model"} <= set(before):
        raise InputError(
            f"{earlier}: has the columns {', '.join(map(str, before.columns))} where a log of "
            f"trials has {', '.join(frame.columns)}; mend it, or move it away"
        )
    ours = {(row.dataset, row.model) for row in rows}
    others = [pair not in ours for pair in zip(before["dataset"], before["model"], strict=True)]
    whole = pd.concat([before[others], frame], ignore_index=True)
    pairs = list(zip(whole["dataset"], whole["model"], strict=True))
    return whole.iloc[sorted(range(len(whole)), key=lambda at: place(pairs[at]))]


def markdown(trials: pd.DataFrame, budgets: pd.DataFrame, tuning: Tuning, profile: Profile) -> str:
    """Tables for people, then the lines for the configs."""
    percent = f"{tuning.gain:.0%}"
    lines = [
        f"# Trials of the profile {profile.name}",
        "",
        f"{METRIC} on validation, full ranking, history kept / left out, over several held-out "
        "items a user (configs/tuning.yaml). Test targets took no part. Trial seeds "
        f"{', '.join(map(str, tuning.seeds))}; no profile reports them.",
    ]
    for dataset, of_dataset in trials.groupby("dataset", sort=False):
        minutes = of_dataset["seconds"].sum() / 60
        lines += [
            "",
            f"## {dataset}",
            "",
            f"{len(of_dataset)} trials, {minutes:.0f} CPU minutes.",
            "",
        ]
        own = budgets[budgets["dataset"] == dataset] if len(budgets) else budgets
        if len(own):
            lines += [
                f"Budgets: {METRIC} of each rung (mean over the trial seeds), and in brackets the "
                f"one-sided {tuning.level:.0%} upper bound of what the best longer budget gains. "
                f"The smallest rung whose bound is below {percent} is enough.",
                "",
                "| row | rate, dropout | protocol | rungs | budget | convergence | CPU min |",
                "| :-- | :-- | :-- | :-- | --: | :-- | --: |",
            ]
            for (model, protocol), ladder in own.groupby(["model", "protocol"], sort=False):
                first = ladder.iloc[0]
                cells = ", ".join(
                    f"{r['rung']}: {r['ndcg@10']:.4f}"
                    + ("" if math.isnan(r["high"]) else f" ({100 * r['high']:+.1f} %)")
                    for _, r in ladder.iterrows()
                )
                lines.append(
                    f"| {model} | {first['lr']:g}, {first['dropout']:g} | {protocol} | {cells} | "
                    f"{ladder[ladder['own']]['rung'].iloc[0]} of {first['steps']} | "
                    f"{first['own_convergence']} | {first['cpu_minutes']:.0f} |"
                )
        lines += ["", "Rates and dropouts, at the second rung, first seed:", ""]
        lines += ["| row | rate, dropout: kept / left out |", "| :-- | :-- |"]
        for name, of_row in of_dataset.groupby("model", sort=False):
            rungs = sorted(of_row["steps"].unique())
            if len(rungs) < 2:
                continue  # begun
            second = rungs[1]
            searched = of_row[(of_row["seed"] == tuning.seeds[0]) & (of_row["steps"] == second)]
            cells = "; ".join(
                f"{t['lr']:g}, {t['dropout']:g}: "
                f"{t['validation_kept']:.4f} / {t['validation_left_out']:.4f}"
                for _, t in searched.iterrows()
            )
            lines.append(f"| {name} | {cells} |")
    if len(budgets):
        lines += ["", "## Lines for the configs", "", "```yaml", choices(budgets, profile), "```"]
    return "\n".join(lines) + "\n"


def choices(budgets: pd.DataFrame, profile: Profile) -> str:
    """YAML for the rows' files: `profiles: <profile>: datasets:` with what was chosen."""
    parts = []
    for model, of_row in budgets.groupby("model", sort=False):
        lines = [f"# configs/models/{slug(str(model))}.yaml", "profiles:", f"  {profile.name}:"]
        lines.append("    datasets:")
        for dataset, own in of_row.groupby("dataset", sort=False):
            first = own.iloc[0]
            lines += [
                f"      {dataset}:",
                f"        training: {{lr: {first['lr']:g}, steps: {first['steps']}, "
                f"eval_every: {first['steps'] // POINTS}}}",
                f"        model: {{dropout: {first['dropout']:g}}}",
                f"        convergence: {first['convergence']}",
            ]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def write_log(
    rows: Sequence[Row], tuning: Tuning, profile: Profile, folder: Path
) -> tuple[Path, ...]:
    """Write the three files, each whole or not at all; their paths, the Markdown last."""
    names = (f"{profile.name}.csv", f"{profile.name}-budgets.csv", f"{profile.name}.md")
    paths = tuple(folder / name for name in names)
    trials = merged(trials_frame(rows), paths[0], rows)
    budgets = merged(budgets_frame(rows), paths[1], rows)
    texts = (
        trials.to_csv(index=False),
        budgets.to_csv(index=False),
        markdown(trials, budgets, tuning, profile),
    )
    for path, text in zip(paths, texts, strict=True):
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths
