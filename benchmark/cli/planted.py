"""The command that generates data whose best possible predictions are known: planted."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from benchmark.cli.options import console
from benchmark.errors import InputError

app = typer.Typer()


@app.command()
def planted(
    image: Annotated[str, typer.Option(help="What images show: copy, noise or complement.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of dataset bundles; the usual one if none.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the dataset; planted-IMAGE-SEED if none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    users: Annotated[int | None, typer.Option(help="Users.")] = None,
    items: Annotated[int | None, typer.Option(help="Items.")] = None,
    length: Annotated[float | None, typer.Option(help="Mean interactions of a user.")] = None,
    shares: Annotated[
        str | None,
        typer.Option(help="Of next items: popularity=0.1,id=0.2,text=0.35,image=0.35"),
    ] = None,
) -> None:
    """Generate a dataset with known information in ids, texts and images; the truth beside it."""
    from benchmark.data.planted.dataset import write_planted
    from benchmark.data.planted.world import PlantedConfig
    from benchmark.data.report import next_command  # it needs torch, which rendering does without

    given = {"users": users, "items": items, "mean_length": length}
    fields: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if shares is not None:
        fields["shares"] = _shares(shares)
    try:
        config = PlantedConfig.model_validate({"image": image, "seed": seed} | fields)
    except ValidationError as error:
        raise InputError(_first(error)) from error
    bundle, truth = write_planted(config, name, root=out)
    console.print(
        f"{bundle.name}: {truth.n_users:,} users, {truth.n_items:,} items, "
        f"{bundle.meta.counts.interactions:,} interactions; {bundle.path}"
    )
    console.print(
        f"of what features tell of the next item, {truth.image_share:.0%} is in the images alone, "
        f"{truth.text_share:.0%} in the texts alone"
    )
    for who, oracle in truth.oracles.items():
        console.print(f"  {who:<14} NDCG@10 {oracle.ndcg:.4f}   {oracle.information:+.3f} nats")
    console.print(f"next: {next_command(bundle)}")


_OPTIONS = {"mean_length": "--length", "shares": "--shares"}
"""Fields of the configuration that the command calls otherwise."""


def _shares(text: str) -> dict[str, str]:
    """ "id=0.2,text=0.8" as fields; what is not named is 0."""
    pairs = [part.split("=", 1) for part in text.split(",")]
    if any(len(pair) < 2 for pair in pairs):
        raise InputError(f"--shares {text}: write NAME=SHARE, as in id=0.2,text=0.8")
    given = [name.strip() for name, _ in pairs]
    if twice := [name for name in given if given.count(name) > 1]:
        raise InputError(f"--shares {text}: names {twice[0]} twice")
    none = dict.fromkeys(("popularity", "id", "text", "image"), "0")
    return none | {name.strip(): share.strip() for name, share in pairs}


def _first(error: ValidationError) -> str:
    """What is wrong with the first option that is."""
    problem = error.errors()[0]
    field = str(problem["loc"][0]) if problem["loc"] else ""
    option = _OPTIONS.get(field, f"--{field}") if field else ""
    inner = "".join(f" {part}:" for part in problem["loc"][1:])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{option}:{inner} {message}" if option else message
