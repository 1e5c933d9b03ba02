"""Runs of one store as references of another: what `promote` copies, and what it leaves out."""

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.errors import InputError
from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.schema import RunRecord, RunResult
from benchmark.runs.spec import RunKey
from benchmark.runs.split_table import SplitDraft, SplitTable
from benchmark.runs.store import Store

Promoted = Literal["added", "replaced", "unchanged"]


def promote(
    source: Store,
    target: Store,
    *,
    keep_top: bool = False,
    profile: str | None = None,
    side_counts_of: Collection[str] | None = None,
) -> dict[Path, Promoted]:
    """Put finished runs of `source` among the references in `target`; path -> what was done.

    The runs stay where they are. Top lists, most of a run's bytes, are dropped unless asked for; so
    are two counts that are most of the rest and that no table of scores needs: the sums of
    popularity, for the diagnosis of leave-one-out splits, of which the first seed of a row keeps
    them; and, where a user has several test targets, the history items above a target at every
    constant taken from their scores. Of runs on other datasets than `side_counts_of`, of which
    tables say no more than scores, both are dropped; None: all datasets. Failed runs and trials are
    no references and are passed over. What is written leans on the table of its split, a new one,
    made from all these runs of it, where `target` has none; what no reference is of any more
    leaves `code.json` and `splits/`. Raises InputError, before anything is written, if a run,
    `code.json` or a table that is needed is damaged or if there is nothing to promote; and where a
    run is trained anew meanwhile.
    """
    finished, tables = _survey(source, target, profile)
    target.code_table.whole()
    first: dict[RunKey, int] = {}
    for record in finished:
        key = record.spec.key
        first[key] = min(record.seed, first.get(key, record.seed))
    done: dict[Path, Promoted] = {}
    for record in finished:
        key, seed = record.spec.key, record.seed
        result = source.read(key, seed)
        own = next((table for table in tables if table.fits(result)), None)
        if own is None:
            raise InputError(
                f"{source.path(key, seed)} changed while it was promoted: a command is training; "
                "promote again when it has ended"
            )
        result = result if keep_top else result.without_top()
        in_full = side_counts_of is None or record.spec.dataset in side_counts_of
        result = _without_side_counts(result, first=seed == first[key], in_full=in_full)
        there = target.status(key, seed)
        if there.result is not None and _same(there.result, result):
            done[there.path] = "unchanged"
            continue
        done[target.write(result, own)] = "added" if there.status == "missing" else "replaced"
    target.forget_unused()
    return done


def _survey(
    source: Store, target: Store, profile: str | None
) -> tuple[list[RunRecord], list[SplitTable]]:
    """What there is to promote, and the tables of its splits, new ones among them. Raises
    InputError if a run or a table that is needed is damaged, or if there is nothing."""
    damaged: list[str] = []
    finished: list[RunRecord] = []
    tables: dict[tuple[str, str], SplitTable] = {}  # of two datasets they may be equal
    drafts: list[SplitDraft] = []
    for run in source.scan():
        record = run.record
        if run.result is None or record is None:
            if source.may_be_of(run.path, profile):
                damaged.append(run.problem)
        elif profile in (None, record.spec.profile) and (
            record.status == "ok" and not record.spec.protocol.trial
        ):
            finished.append(record)
            if (table := target.split_tables.matching(run.result)) is not None:
                tables[table.dataset, table.sha256] = table
            elif not any(draft.add(run.result) for draft in drafts):
                drafts.append(SplitDraft(run.result))
    if damaged:
        raise InputError("nothing was promoted: " + "; ".join(damaged))
    if not finished:
        raise InputError(f"no finished run in {source.root} to promote")
    return finished, [*tables.values(), *(draft.table() for draft in drafts)]


def _same(a: RunResult, b: RunResult) -> bool:
    """Whether two finished runs have the same record, but for what the store sets, and the same
    arrays. To read them takes a tenth of the time of packing them densely."""
    stored = {"arrays_sha256", "split_sha256", "sha256", "schema_version"}
    if a.record.model_dump(exclude=stored) != b.record.model_dump(exclude=stored):
        return False
    return all(
        np.array_equal(mine, others) if mine is not None and others is not None else mine is others
        for mine, others in zip(_arrays(a), _arrays(b), strict=True)
    )


def _arrays(result: RunResult) -> list[IntArray | int | None]:
    """All of a finished run's; None for one that was not kept."""
    ranks = [getattr(r, f.name) for r in (result.validation, result.test) for f in fields(Ranks)]
    return [result.length, *ranks]


def _without_side_counts(result: RunResult, *, first: bool, in_full: bool) -> RunResult:
    """The same run without the counts that `promote` drops. first: of the row's seeds. in_full:
    whether tables describe its dataset by more than scores."""
    validation, test = result.validation, result.test
    assert validation is not None  # a finished run
    assert test is not None  # and no trial
    if test.user is not None or not in_full:
        validation, test = (
            replace(ranks, popularity=None, lowered=None) for ranks in (validation, test)
        )
    elif not first:
        test = replace(test, popularity=None)
    return replace(result, validation=validation, test=test)
