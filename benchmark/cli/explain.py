"""The command that says where each setting of a run comes from: explain."""

from collections.abc import Iterable
from typing import Annotated

import typer

from benchmark.cli.options import (
    RESULTS,
    DataOption,
    ProfileOption,
    available_devices,
    console,
    default_profile,
)
from benchmark.data.config import dataset_names, unknown_dataset
from benchmark.data.meta import default_root
from benchmark.runs.spec import slug
from benchmark.settings.explain import as_text, explanation
from benchmark.settings.registry import get_method, get_profile, methods, pick, profiles
from benchmark.settings.resolve import resolve

app = typer.Typer()


@app.command()
def explain(
    method: Annotated[
        str, typer.Argument(help="A row of the tables, in any case: NOVA, sasrec-mm")
    ],
    dataset: Annotated[str, typer.Argument(help="ml-100k, beauty, ... or your own.")],
    profile: ProfileOption = None,
    variant: Annotated[str, typer.Option(help="Of the method.")] = "base",
    data: DataOption = None,
) -> None:
    """Every setting of a method on a dataset: value, file and line, what it overrode, tuning."""
    name = get_method(_known(method, methods())).name
    chosen = get_profile(_known(profile or default_profile(available_devices(None)), profiles()))
    own = [path.parent.name for path in (data or default_root()).glob("*/bundle.json")]
    known = sorted({*dataset_names(), *own})
    found = _known(dataset, known)
    if found not in known:
        raise unknown_dataset(dataset, own)
    if variant != "base":
        variants = get_method(name).variants
        variant = _known(variant, variants)
        pick(variant, variants, f"variant of {name}")
    resolved = resolve(name, found, chosen, variant)
    text = as_text(explanation(resolved.spec, resolved.sources, RESULTS / "tuning"))
    console.print(text)


def _known(name: str, options: Iterable[str]) -> str:
    """The option of that name, else one with the same letters and digits in any case; the name
    itself if there is none."""
    options = list(options)
    alike = (option for option in options if slug(option) == slug(name))
    return name if name in options else next(alike, name)
