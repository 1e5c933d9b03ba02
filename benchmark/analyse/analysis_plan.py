"""The analysis plan (`benchmark/paper/analysis_plan.md`): its hash, its seeds and its contrasts."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, History

FILE = Path(__file__).parents[1] / "paper" / "analysis_plan.md"

_DEVIATIONS = "\n## Deviations\n"
"""What stands below may grow without another plan."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contrast(_Strict):
    """A sum of log means of NDCG@10 less another."""

    id: str
    claim: Literal["primary", "secondary"]
    protocol: History | None = None
    """None for both."""
    asks: str
    plus: tuple[str, ...] = Field(min_length=1)
    """Rows with their variants, "FindRec permuted-features"."""
    minus: tuple[str, ...] = Field(min_length=1)

    @property
    def protocols(self) -> tuple[History, ...]:
        return PROTOCOLS if self.protocol is None else (self.protocol,)


class BestRow(_Strict):
    """The claims that one row is above every other."""

    subject: str
    claims: Mapping[str, History]
    """Name of the claim -> protocol."""


class _Block(_Strict):
    datasets: Mapping[str, Literal["primary", "replication", "demonstration"]]
    best_row: BestRow
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class AnalysisPlan:
    """What is tested, and by which seeds."""

    hash: str
    """16 hexadecimal digits of the SHA-256 over the page up to "Deviations"."""
    datasets: Mapping[str, str]
    """Dataset -> its role."""
    best_row: BestRow
    contrasts: tuple[Contrast, ...]

    def seeds(self, number: int) -> list[int]:
        """The first `number` seeds of the plan, all different, below 2^31."""
        found: list[int] = []
        at = 0
        while len(found) < number:
            digest = hashlib.sha256(f"{self.hash} seed {at}".encode()).digest()
            seed = int.from_bytes(digest[:4], "big") >> 1
            found += [] if seed in found else [seed]
            at += 1
        return found


def split_arm(arm: str, rows: Collection[str]) -> tuple[str, str]:
    """(row, variant) of an arm's name, "FindRec permuted-features". Raises InputError where no row
    has that name."""
    row = max((row for row in rows if arm == row or arm.startswith(f"{row} ")), key=len, default="")
    if not row:
        raise InputError(f"{FILE}: the contrasts name {arm!r}, which begins with no row's name")
    return row, arm.removeprefix(row).strip() or "base"


@cache
def analysis_plan(path: Path = FILE) -> AnalysisPlan:
    """The plan of a page. Raises InputError naming the file for one that cannot be read as such."""
    text = path.read_text(encoding="utf-8")
    plan, found, _ = text.partition(_DEVIATIONS)
    blocks = re.findall(r"^```yaml\n(.*?)^```$", plan, re.MULTILINE | re.DOTALL)
    if not found or len(blocks) != 1:
        raise InputError(
            f"{path}: an analysis plan has one block of YAML and, below it, a section 'Deviations'"
        )
    try:
        block = _Block.model_validate(yaml.safe_load(blocks[0]))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{path}: its block of contrasts cannot be read: {error}") from error
    # the same page, whatever the line ends and trailing blanks of a checkout
    lines = "\n".join(line.rstrip() for line in plan.splitlines()).strip()
    return AnalysisPlan(
        hashlib.sha256(lines.encode()).hexdigest()[:16],
        block.datasets,
        block.best_row,
        block.contrasts,
    )
