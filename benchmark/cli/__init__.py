"""The command line. Nothing is computed here: each command plans, launches and renders."""

import typer
from rich.console import Console

from benchmark.cli import datasets, doctor, explain, results, tables, tuning
from benchmark.errors import InputError

app = typer.Typer(
    help="Reproduce the tables and figures of FindRec (KDD '25), ours beside the paper's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (tables, tuning, results, datasets, explain, doctor):
    app.registered_commands += part.app.registered_commands


def main() -> None:
    """Run a command; errors that the user can mend are printed without a traceback."""
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
