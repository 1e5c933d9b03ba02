"""What a dataset is made of: configs/datasets/NAME.yaml, validated."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from benchmark.errors import InputError, nearest
from benchmark.yaml_files import read_model

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "datasets"
SHIPPED = Path(__file__).resolve().parent / "shipped"

InteractionFormat = Literal["table", "sequences", "atomic", "grouplens", "amazon-reviews"]
ItemFormat = Literal["items", "movies", "brand-category", "titles", "atomic", "amazon-metadata"]
Grade = Literal["A", "B", "C"]
Modality = Literal["text", "image"]
"""As `findrec.recommender.Modality`, which cannot be had without torch."""
TieOrder = Literal["exact", "recbole"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Counts(_Strict):
    """Size of a dataset."""

    users: int
    items: int
    interactions: int


class Source(_Strict):
    """One place that a file can come from. A local copy is always preferred to a download."""

    file: str
    """Path inside the raw folder (or inside the shipped files)."""
    shipped: bool = False
    """Whether the file comes with this package."""
    url: str | None = None
    wheel: str | None = None
    """Requirement, such as `recbole==1.2.1`, whose wheel on PyPI holds the file."""
    member: str | None = None
    """The file's path inside that wheel."""
    wheel_sha256: str | None = None
    sha256: str | None = None
    """Of the file itself; a file that differs is refused."""

    @model_validator(mode="after")
    def _one_way(self) -> "Source":
        if self.shipped + (self.url is not None) + (self.wheel is not None) > 1:
            raise ValueError("a source is shipped, or at a url, or in a wheel")
        if (self.wheel is None) != (self.member is None):
            raise ValueError("wheel and member go together")
        return self


class InteractionSource(Source):
    """Interactions, and how to read them."""

    format: InteractionFormat
    ids: Source | None = None
    """For `sequences`: a CSV that maps the numbers of the sequences to the source's item ids."""


class ItemSource(Source):
    """Descriptions of the items, and how to read them."""

    format: ItemFormat
    title_tags: Source | None = None
    """For `brand-category`: a CSV with a short text (`tags`) by ASIN, which is put before brand and
    category."""
    complete: bool = False
    """Of `movies`: whether those without a plot or a poster are left out."""
    texts: bool = True
    """Of a shipped file: whether it holds the texts that were encoded. False where they are another
    author's, and only the features are shipped."""


class FeatureConfig(_Strict):
    """One modality's features."""

    encoder: str
    """Registry name of the encoder that the dataset's features come from by default."""
    shipped: list[str] = []
    """Features that come with this package, paths inside the shipped files. An item's are in one of
    them; the last is the dataset's own, those before it are other datasets' of the same items."""


class DatasetConfig(_Strict):
    """One dataset."""

    name: str
    title: str
    grade: Grade
    """A same data, modalities and encoders as the paper; B same interactions, other features;
    C other data."""
    core: int | None = None
    """Iterative k-core: every user and every item keeps at least so many interactions."""
    order: TieOrder = "exact"
    """How interactions are sorted; ties keep the source's row order. `exact`: by the timestamp;
    `recbole`: by the timestamp scaled to [0, 1] in float32, as RecBole does: more ties."""
    times: bool = True
    """Whether timestamps are moments, by which all users' interactions can be ordered; false where
    they only number a user's interactions."""
    interactions: list[InteractionSource]
    """Tried in order, those at hand before those to download."""
    items: list[ItemSource] = []
    """Likewise."""
    features: dict[Modality, FeatureConfig] = {}
    items_by_title: bool = False
    """Whether the interactions name items by title and year. An item then has the id of the
    described item with the same title, and interactions with others are left out."""
    images: str | None = None
    """Path of one item's picture inside the raw folder, with {id} for the item's id."""
    image_url: str | None = None
    """Where that picture is to be had, with {id}; for Amazon the metadata say it."""
    raw: Counts | None = None
    """What the source must hold before the filter; a build that differs is refused."""
    expected: Counts | None = None
    """What the filter must leave; a build that differs is refused."""
    settings_of: str | None = None
    """A dataset of the same domain, whose settings (rates, dropouts, batches) hold here too unless
    this dataset has its own."""
    licence: str
    notes: str = ""


def dataset_names() -> list[str]:
    """Names of all datasets that can be built by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def dataset_config(name: str) -> DatasetConfig:
    """The configuration of a dataset; raises InputError for an unknown name or a bad file."""
    if name not in dataset_names():
        raise unknown_dataset(name)
    path = FOLDER / f"{name}.yaml"
    config = read_model(path, DatasetConfig)
    if config.name != name:
        raise InputError(f"{path}: its name is {config.name!r}; the file's name says {name!r}")
    return config


def dataset_lineage(name: str) -> tuple[str, ...]:
    """The datasets whose settings hold on a dataset, the most particular, itself, last. One that
    has no configuration has its own settings alone."""
    of = dataset_config(name).settings_of if name in dataset_names() else None
    return (name,) if of is None else (*dataset_lineage(of), name)


def has_times(name: str) -> bool:
    """Whether a dataset's timestamps are moments; one that no file names is the user's own, whose
    times are taken at their word."""
    return name not in dataset_names() or dataset_config(name).times


def unknown_dataset(name: str, others: list[str] | None = None) -> InputError:
    """The error for a name that no dataset has, with the nearest one that exists."""
    known = sorted({*dataset_names(), *(others or [])})
    return InputError(f"unknown dataset {name!r}{nearest(name, known)}")
