"""The paper as data: its printed numbers (`cells.csv`) and checkable sentences (`claims.yaml`).

The paper is Wang et al., "FindRec: Stein-Guided Entropic Flow for Multi-Modal Sequential
Recommendation", KDD '25. Facts about the public data behind its Tables 1 and 4 are in
`benchmark.paper.data_facts`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.errors import InputError

CELLS = Path(__file__).with_name("cells.csv")
CLAIMS = Path(__file__).with_name("claims.yaml")
HEADLINE_METRICS = ("NDCG@5", "NDCG@10", "MRR@5", "MRR@10")

Dataset = Literal["ml-100k", "beauty", "microlens"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Strict):
    """One printed number and where it stands.

    row: registry name of the method, or the printed label of a variant, setting or bucket.
    group: the length bucket in Table 3 and in Table 4's parts, else empty.
    dataset_inferred: "yes" where the paper does not name the dataset (Tables 5-9).
    printed: the digits on the page, without marks; percentages keep their sign.
    mark: "underline" and "star", as far as the extracted text carries them; bold it does not.
    """

    table: str = Field(pattern=r"^[1-9]$")
    row: str = Field(min_length=1)
    printed_row: str = Field(min_length=1)
    group: str
    column: str = Field(min_length=1)
    dataset: Dataset
    dataset_inferred: Literal["yes", "no"]
    metric: str = Field(
        pattern=r"^((NDCG|MRR)@(5|10)|users|items|interactions|sparsity|average_length)$"
    )
    printed: str = Field(pattern=r"^[0-9][0-9,]*(\.[0-9]+)?%?$")
    mark: str = Field(pattern=r"^(underline|star|underline star)?$")

    @property
    def value(self) -> float:
        """The number; a percentage stays in per cent (3.06% is 3.06)."""
        return float(self.printed.rstrip("%").replace(",", ""))


def load_cells() -> pd.DataFrame:
    """Every printed number of Tables 1-9.

    Columns: those of `Cell` and `value` (float; percentages in per cent). One row per printed
    number, in the order of the page. Raises InputError if the file is damaged.
    """
    frame = pd.read_csv(CELLS, dtype=str, keep_default_na=False)
    values = []
    for line, record in enumerate(frame.to_dict("records"), start=2):
        try:
            values.append(Cell.model_validate(record).value)
        except ValidationError as error:
            raise InputError(f"{CELLS.name}, line {line}: {error}") from error
    return frame.assign(value=values)


class CellRef(_Strict):
    """A reference to one printed number."""

    table: str
    row: str
    metric: str
    dataset: Dataset = "beauty"
    group: str = ""


class ClaimTest(_Strict):
    """What tests a claim whose kind does not say it (`benchmark/analyse/claim_tests.py`)."""

    by: Literal[
        "gap",
        "noise",
        "long-tail",
        "significance",
        "gates",
        "alignment",
        "variants",
        "cost",
        "nothing",
    ]
    """alignment: stored states of FindRec; variants: the row against its own variants; cost: what
    the command `scale` measured of single layers; nothing: it cannot be tested here."""
    row: str = "FindRec"
    against: list[str] = []
    direction: Literal["narrows", "widens"] = "narrows"
    """Of "gap": with growing sequence length."""
    variants: list[str] = []
    """Of "variants"."""
    needs: str = ""
    """Of "nothing" what a test would take."""

    @model_validator(mode="after")
    def _check(self) -> ClaimTest:
        if self.by == "nothing" and not self.needs:
            raise ValueError("a test by 'nothing' says what it needs")
        if self.by == "variants" and not self.variants:
            raise ValueError("a test by 'variants' names them")
        if self.by in ("gap", "noise", "long-tail", "significance") and not self.against:
            raise ValueError(f"a test by {self.by!r} names the rows that it compares with")
        return self


class _Claim(_Strict):
    """A checkable sentence: its section, and the sentence in our words or as a short quotation."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    section: str
    text: str = Field(min_length=1)
    test: ClaimTest | None = None


class ValueClaim(_Claim):
    """The text repeats a number of a table."""

    kind: Literal["value"]
    cell: CellRef
    stated: str


class ChangeClaim(_Claim):
    """The text states a relative change in per cent, from one cell to another."""

    kind: Literal["change"]
    start: CellRef
    end: CellRef
    direction: Literal["increase", "decrease"]
    stated: str


class RangeClaim(_Claim):
    """The text states the smallest and largest number of a row."""

    kind: Literal["range"]
    table: str
    row: str
    low: str
    high: str


class OrderClaim(_Claim):
    """Every row in `above` beats every row in `below`, in every dataset, group and metric named."""

    kind: Literal["order"]
    display_item: str
    above: list[str] = Field(min_length=1)
    below: list[str] = Field(min_length=1)
    datasets: list[Dataset] = ["beauty"]
    metrics: list[str] = list(HEADLINE_METRICS)
    groups: list[str] = [""]


class MixedClaim(_Claim):
    """Some comparisons of `pairs` go one way and some the other."""

    kind: Literal["mixed"]
    display_item: str
    pairs: list[tuple[str, str]] = Field(min_length=1)
    datasets: list[Dataset]
    metrics: list[str] = list(HEADLINE_METRICS)


class GapClaim(_Claim):
    """The gap between two methods changes from group to group in one direction."""

    kind: Literal["gap"]
    display_item: str
    row: str
    baseline: str
    metric: str
    groups: list[str] = Field(min_length=2)
    direction: Literal["narrows", "widens"]


class ShapeClaim(_Claim):
    """A hyper-parameter's curve over its printed settings: rising throughout, or with a turn."""

    kind: Literal["shape"]
    display_item: str
    rows: list[str] = Field(min_length=2)
    shape: Literal["rises", "turns"]
    metrics: list[str] = list(HEADLINE_METRICS)


class SettingClaim(_Claim):
    """A stated choice; two different values of one name contradict each other.

    scope: datasets or part of the experiment that the sentence limits itself to; empty for all.
    """

    kind: Literal["setting"]
    name: str
    value: str
    scope: list[str] = []


class BaseClaim(_Claim):
    """A row that stands for the base configuration; several names where the text leaves it open."""

    kind: Literal["base"]
    table: str
    rows: list[str] = Field(min_length=1)


class ReferenceClaim(_Claim):
    """The text sends the reader to a table or figure for a topic."""

    kind: Literal["reference"]
    display_item: str
    topic: str


class PromiseClaim(_Claim):
    """The text announces content; kept if some table or figure has the topic."""

    kind: Literal["promise"]
    topic: str


class LooseEndClaim(_Claim):
    """A place where the text at hand is unfinished."""

    kind: Literal["loose_end"]
    what: str


class QualityClaim(_Claim):
    """A statement without a printed number behind it; `needs` says what would test it, `evidence`
    what is known of it all the same."""

    kind: Literal["quality"]
    needs: str
    evidence: str = ""


Claim = Annotated[
    ValueClaim
    | ChangeClaim
    | RangeClaim
    | OrderClaim
    | MixedClaim
    | GapClaim
    | ShapeClaim
    | SettingClaim
    | BaseClaim
    | ReferenceClaim
    | PromiseClaim
    | LooseEndClaim
    | QualityClaim,
    Field(discriminator="kind"),
]


class DisplayItem(_Strict):
    """A table or figure: what its caption says it shows and which marks the caption explains."""

    caption: str
    topics: list[str]
    marks: list[Literal["bold", "underline", "star"]] = []
    header: str | None = None


class Claims(_Strict):
    """The paper's tables and figures by name ("table 2", "figure 3"), and its claims in order."""

    display_items: dict[str, DisplayItem]
    claims: list[Claim]

    @model_validator(mode="after")
    def _check(self) -> Claims:
        ids = [claim.id for claim in self.claims]
        doubled = {i for i in ids if ids.count(i) > 1}
        if doubled:
            raise ValueError(f"claim ids used twice: {sorted(doubled)}")
        for claim in self.claims:
            display_item = getattr(claim, "display_item", None)
            if display_item is not None and display_item not in self.display_items:
                raise ValueError(f"claim {claim.id}: no display item '{display_item}'")
        return self


def load_claims() -> Claims:
    """The claims ledger, validated. Raises InputError if the file is damaged."""
    try:
        return Claims.model_validate(yaml.safe_load(CLAIMS.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{CLAIMS.name}: {error}") from error
