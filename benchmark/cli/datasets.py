"""Commands that make datasets and features."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.console import progress_bar
from benchmark.cli.options import DataOption, console
from benchmark.data.config import Modality
from benchmark.errors import InputError
from benchmark.settings.registry import pick

app = typer.Typer()


@app.command(name="data")
def build_data(
    names: Annotated[
        list[str] | None, typer.Argument(help="Datasets; those at hand if none.")
    ] = None,
    raw: Annotated[Path | None, typer.Option(help="Folder of raw files.")] = None,
    data: DataOption = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Your own: CSV, TSV, Parquet or RecBole .inter.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Your own: descriptions of the items.")] = None,
    text: Annotated[Path | None, typer.Option(help="Your own: text features.")] = None,
    image: Annotated[Path | None, typer.Option(help="Your own: image features.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Your own: its names of columns: user=reviewerID,item=asin ..."),
    ] = None,
    core: Annotated[
        int | None, typer.Option(help="Your own: k of the k-core, 0 for none; 5 if not given.")
    ] = None,
    official: Annotated[
        bool, typer.Option("--official", help="Download official descriptions and pictures.")
    ] = False,
) -> None:
    """Build dataset bundles and report their counts."""
    from benchmark.data import meta
    from benchmark.data.bundle import build_bundle
    from benchmark.data.config import dataset_names
    from benchmark.data.official import fetch_official
    from benchmark.data.own import import_dataset
    from benchmark.data.report import import_report

    if interactions is None:
        _only_with_interactions(items=items, text=text, image=image, columns=columns, core=core)
    elif official or raw is not None:
        option = "--official" if official else "--raw"
        raise InputError(f"{option} is of known datasets; leave it out with --interactions")
    raw = meta.checked_raw(raw, "--raw") if raw else None
    core = 5 if core is None else core
    if core < 0:
        raise InputError(f"--core {core}: give the k of the k-core, or 0 for none")
    with progress_bar(console) as progress:
        if interactions is not None:
            if not names or len(names) != 1:
                raise InputError("name your dataset: ./reproduce.sh data NAME --interactions FILE")
            given: dict[Modality, Path | None] = {"text": text, "image": image}
            own = {modality: path for modality, path in given.items() if path is not None}
            bundles = [
                import_dataset(
                    names[0],
                    interactions,
                    items=items,
                    features=own,
                    core=core or None,
                    columns=_columns(columns),
                    root=data,
                )
            ]
        else:
            wanted = names or ["ml-100k", "beauty"]
            for name in wanted:
                own_folder = (data or meta.default_root()) / name
                if name not in dataset_names() and (own_folder / "bundle.json").is_file():
                    raise InputError(
                        f"{name} is a dataset of your own; it can be used as it is, or built anew "
                        "from its files: --interactions FILE ..."
                    )
                pick(name, dict.fromkeys(dataset_names()), "dataset")
            if official:
                for name in wanted:
                    fetch_official(name, root=data, raw=raw, progress=progress)
            bundles = [build_bundle(n, root=data, raw=raw, progress=progress) for n in wanted]
    for bundle in bundles:
        counts = bundle.meta.counts
        size = f"{counts.users:,} users, {counts.items:,} items"
        encoders = ", ".join(f"{m}: {e or 'none'}" for m, e in bundle.meta.encoders.items())
        console.print(
            f"{bundle.name}: {size}, {counts.interactions:,} interactions; "
            f"{bundle.meta.filter}; {encoders}; {bundle.path}"
        )
        for line in import_report(bundle):
            console.print(f"  {line}")


def _only_with_interactions(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"--{name}: describes your own data; give it together with --interactions FILE"
            )


def _columns(text: str | None) -> dict[str, str]:
    """ "user=reviewerID,item=asin" as a mapping."""
    pairs = [part.split("=", 1) for part in text.split(",")] if text else []
    if any(len(pair) < 2 or not pair[1].strip() for pair in pairs):
        raise InputError(f"--columns {text}: write NAME=COLUMN, as in user=reviewerID,item=asin")
    named = {name.strip(): column.strip() for name, column in pairs}
    if len(named) < len(pairs):
        raise InputError(f"--columns {text}: one name stands there twice")
    return named


@app.command()
def features(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    modality: Annotated[str, typer.Option(help="text or image.")],
    encoder: Annotated[
        str | None, typer.Option(help="minilm, roberta-large, blip-large ...")
    ] = None,
    raw: Annotated[Path | None, typer.Option(help="Folder of raw files.")] = None,
    images: Annotated[str | None, typer.Option(help="Path of a picture in it, with {id}.")] = None,
    data: DataOption = None,
) -> None:
    """Encode a dataset's texts or pictures; a killed run goes on where it was."""
    from benchmark.data import meta
    from benchmark.data.encode import build_features

    known: dict[str, Modality] = {"text": "text", "image": "image"}
    kind = pick(modality, known, "modality")
    raw = meta.checked_raw(raw, "--raw") if raw else None
    with progress_bar(console) as progress:
        bundle = build_features(
            name, kind, encoder, root=data, raw=raw, images=images, progress=progress
        )
    made = bundle.text if kind == "text" else bundle.image
    assert made is not None  # they have just been made
    present = made.present[1:].tolist()  # after the row of padding
    console.print(
        f"{bundle.name}: {modality} features by {bundle.meta.encoders[kind]} of "
        f"{sum(present):,} of {len(present):,} items"
    )
    if not all(present):
        without = bundle.items["id"].iloc[present.index(False)]
        what = "a text" if kind == "text" else "a picture (name and ending must be as they stand)"
        console.print(f"  the others are without {what}, {without!r} for one", style="yellow")
