"""Commands on results that exist: verify, compare, promote, audit, list."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.cli.options import (
    AUDIT,
    REFERENCE,
    RESULTS,
    ROOT,
    RUNS,
    DataOption,
    FromOption,
    ProfileOption,
    console,
    own_runs,
    source_folder,
)
from benchmark.cli.pages import filled_pages, pages_with_parts
from benchmark.data.meta import bundle_meta
from benchmark.errors import InputError
from benchmark.files import atomic_file
from benchmark.runs.code import code_of, digest
from benchmark.runs.identity import hashes, why_stale
from benchmark.runs.runset import RunSet
from benchmark.runs.spec import slug
from benchmark.runs.store import Store
from benchmark.settings.registry import Profile, get_profile, methods, profiles

app = typer.Typer()

WORST = 10
"""Findings on the paper that the terminal shows."""


@app.command()
def verify(
    profile: ProfileOption = None, source: FromOption = None, data: DataOption = None
) -> None:
    """Derive every number of the rendered tables anew from stored ranks; fail on any difference.

    Each table is derived as it was rendered; --from and --data say where runs and bundles lie now.
    In a checkout of this suite README.md and the tables in docs/ are derived too, from the
    committed runs, unless --from or --profile says what is meant.
    """
    from benchmark.render.experiment import SUBSET
    from benchmark.render.pages import differences
    from benchmark.render.tables.build import TABLES

    source = source_folder(source)
    chosen = [get_profile(profile)] if profile is not None else profiles().values()
    rendered = [
        (own, folder / "tables" / f"{name}.csv")
        for own in chosen
        for folder in (RESULTS / own.name, RESULTS / own.name / SUBSET)
        for name in TABLES
    ]
    rendered = [(own, path) for own, path in rendered if path.is_file()]
    own_pages = pages_with_parts() if source is None and profile is None else []
    if not rendered and not own_pages:
        where = RESULTS if profile is None else RESULTS / profile / "tables"
        raise InputError(f"{where} holds no table; render one first")
    folders: dict[Path, RunSet] = {}
    wrong: list[str] = []
    for own, path in rendered:
        try:
            wrong += _differences(path, own, source, data, folders)
        except InputError as error:  # one table that cannot be read hides no other's differences
            wrong.append(str(error))
    for page in filled_pages(own_pages, data):
        wrong += differences(page.name, page.text, page.wanted)
    for line in wrong:
        console.print(line, style="red")
    said = f"{len(rendered)} table(s)" + (f" and {len(own_pages)} page(s)" if own_pages else "")
    console.print(f"{said} checked, {len(wrong)} difference(s)")
    raise typer.Exit(1 if wrong else 0)


def _differences(
    path: Path,
    profile: Profile,
    source: Path | None,
    data: Path | None,
    folders: dict[Path, RunSet],
) -> list[str]:
    """Of a rendered table, in all its files, from what its runs give.

    folders: the run sets of the folders that were read before; new ones are added.
    """
    from benchmark.analyse.verify import verify as differences
    from benchmark.render.selection import read_selection
    from benchmark.render.tables.build import build_table

    selection = read_selection(path.with_suffix(".json"))
    source = source or selection.source
    selection = selection.model_copy(update={"data": data or selection.data})
    root = source or RUNS
    runs = folders.setdefault(root, own_runs() if root == RUNS else RunSet(Store(root)))
    table = build_table(
        path.stem,
        selection.planned([path.stem], profile, runs, as_stored=source is not None),
        profile,
        root=runs.root,
        datasets=selection.datasets,
        reuse_stale=selection.reuse_stale,
        data=selection.data,
    )
    wrong = differences(path, table.cells)
    for suffix, text in table.texts().items():
        other = path.with_suffix(f".{suffix}")
        if suffix != "csv" and (not other.is_file() or other.read_bytes() != text.encode()):
            wrong.append(f"{other}: not what the stored ranks render to")
    return wrong


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A results folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="Write the comparison as CSV.")] = None,
) -> None:
    """Differences between two results folders, cell by cell, with intervals."""
    from benchmark.analyse.compare import compare_runs

    for folder in (a, b):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    frame = compare_runs(RunSet(Store(a)), RunSet(Store(b)))
    if out is not None:
        with atomic_file(out) as temporary:
            temporary.write_text(frame.to_csv(index=False), encoding="utf-8")
    console.print(frame.to_string(index=False))
    for left_out in frame.attrs["left_out"]:
        console.print(f"left out: {left_out}", style="yellow")


@app.command()
def promote(
    profile: Annotated[str, typer.Option(help="Whose runs: smoke, quick, paper, ci ...")],
    keep_top: Annotated[
        bool, typer.Option(help="Keep the top lists, most of a run's size.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Copy a profile's finished runs of runs/ into the committed references, results/reference/."""
    from benchmark.runs.promote import promote as promote_runs

    chosen, store = get_profile(profile), Store(RUNS)
    stale = _stale(store, chosen, data)
    if stale:
        raise InputError(
            f"nothing was promoted: {len(stale)} stale run(s), to train anew or delete first: "
            + "; ".join(stale[:5])
        )
    done = promote_runs(
        store,
        Store(REFERENCE),
        keep_top=keep_top,
        profile=chosen.name,
        # a slice of the users serves the regression check alone
        side_counts_of=chosen.run_on if chosen.max_users is None else (),
    )
    for path, what in done.items():
        console.print(f"{what} {path.relative_to(ROOT)}")


def _stale(store: Store, profile: Profile, data: Path | None) -> list[str]:
    """Finished runs of a profile that would come out otherwise if they were made now."""
    found, seen, code = [], {}, cache(code_of)
    for run in store.scan():
        record = run.record
        if record is None or record.status != "ok" or record.spec.protocol.trial:
            continue
        spec = record.spec
        if spec.profile != profile.name:
            continue
        if spec.dataset not in seen:
            seen[spec.dataset] = bundle_meta(spec.dataset, root=data).data_hash
        try:
            now = planning.spec_of(spec.model, spec.dataset, profile, spec.variant)
        except InputError as error:  # the row or the variant is no more
            found.append(f"{run.path}: {error}")
            continue
        if reason := why_stale(record, hashes(now, seen[spec.dataset], code=code)):
            found.append(f"{run.path}: {reason}")
    return found


@app.command()
def audit(
    csv: Annotated[
        Path | None,
        typer.Argument(help="Printed results (CSV, LaTeX or Markdown); if none, the paper."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where audit.md, .html and .json go; below results/audit if none."),
    ] = None,
    base_rate: Annotated[
        bool, typer.Option("--base-rate", help="Audit the sample of other published results.")
    ] = False,
) -> None:
    """Check printed numbers: what no ranking, subgroup or rounding can produce; no training."""
    # the paper's own audit, which the report shows, is not replaced by another table's
    if base_rate and csv is not None:
        raise InputError(f"--base-rate audits a sample of its own; leave out {csv}, or the option")
    if csv is not None and not csv.is_file():
        raise InputError(f"{csv}: no such file")
    out = out or (AUDIT if csv is None else AUDIT / _folder_of(csv))
    if base_rate:
        from benchmark.paper.base_rate import run_base_rate

        run_base_rate(out / "base_rate")
        console.print((out / "base_rate" / "base_rate.md").read_text(encoding="utf-8"))
        return
    show_audit(csv, out)


def _folder_of(csv: Path) -> str:
    """A name for what is found in a file; one without a Latin letter or digit gets a number."""
    try:
        return slug(csv.stem)
    except InputError:
        return digest([csv.name])[:8]


@app.command(name="list")
def show_everything() -> None:
    """Tables, rows, datasets and profiles that there are, and the runs that are stored."""
    from benchmark.data.config import dataset_names

    for title, lines in (
        ("tables and figures", {n: e.title for n, e in planning.experiments().items()}),
        ("profiles", {n: p.title for n, p in profiles().items()}),
        ("datasets", dict.fromkeys(dataset_names(), "")),
        ("methods", {n: f"{r.category}; {', '.join(r.variants)}" for n, r in methods().items()}),
    ):
        console.print(title, style="bold")
        for name, text in lines.items():
            console.print(f"  {name:18} {text}")
    counts = Counter(stored.status for stored in Store(RUNS).scan())
    stored = ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
    console.print("runs", style="bold")
    console.print(f"  {stored}")


def show_audit(csv: Path | None, out: Path) -> None:
    """Run the audit, of the paper where there is no CSV file, and print its summary."""
    from benchmark.paper.audit import TITLES, audit_paper
    from rankaudit import audit_csv
    from rankaudit.report import write_report
    from rankaudit.terminal import summary

    found = audit_paper() if csv is None else audit_csv(csv)
    write_report(found, out, TITLES)
    width = console.width if console.is_terminal else None
    # The paper's findings fill screens; a table's own stand in the terminal.
    for line in summary(found, width, most=WORST if csv is None else None):
        console.print(line)
    console.print(f"wrote audit.md, audit.html and audit.json to {out}")
