"""The lines of docs/paper-readings.md (`readings.yaml`): which arms measure each, or why none."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from benchmark.errors import InputError

FILE = Path(__file__).with_name("readings.yaml")


class Reading(BaseModel):
    """One line of the page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    section: str
    """Heading of the page's section."""
    choice: str
    """First cell of the line."""
    arms: tuple[str, ...] = ()
    """Rows with their variants, "FindRec reading-kl", that differ from the default in it."""
    not_measurable: str = ""
    """Why no arm measures it."""

    @model_validator(mode="after")
    def _check(self) -> "Reading":
        if bool(self.arms) == bool(self.not_measurable):
            raise ValueError(f"{self.choice!r} needs either `arms` or `not_measurable`")
        return self

    @property
    def effect(self) -> str:
        """What the page's last column says of it."""
        if self.not_measurable:
            return f"not measurable here: {self.not_measurable}"
        return f"`readings`: {', '.join(arm.removeprefix('FindRec ') for arm in self.arms)}"


@cache
def readings(path: Path = FILE) -> tuple[Reading, ...]:
    """All lines in the page's order. Raises InputError naming the file where it cannot be read: it
    maps a section to its choices, and a choice to a list of arms or to a reason."""
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple(
            Reading(section=section, choice=choice, **_said(value))
            for section, lines in sections.items()
            for choice, value in lines.items()
        )
    except (OSError, yaml.YAMLError, AttributeError, ValidationError) as error:
        raise InputError(f"{path}: cannot be read as readings of the paper: {error}") from error


def _said(value: object) -> Mapping[str, object]:
    return {"not_measurable": value} if isinstance(value, str) else {"arms": value}
