"""Features that outlive a build: encoding takes hours, so a new bundle takes over the old one's."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmark.data.config import Modality
from benchmark.data.content import MODALITIES
from benchmark.data.features import FeatureTable, read_features
from benchmark.data.meta import read_frame
from benchmark.errors import InputError
from benchmark.files import sha256


def encoded_features(
    path: Path,
    items: pd.DataFrame,
    brought: Mapping[Modality, FeatureTable],
    remarks: list[str],
) -> dict[Modality, FeatureTable]:
    """What encoders have made for the bundle in `path`, of any version, for the items of a new one.

    items: id, title and text of the new bundle's items. brought: features that the new bundle has
    without it; a user's own, and those of the same encoder, are preferred. A user's own arrays in
    the old bundle are not kept, for they are imported again. remarks: takes what is kept, and what
    could not be, and why.
    """
    found: dict[Modality, FeatureTable] = {}
    try:
        outputs = dict(json.loads((path / "bundle.json").read_bytes())["outputs"])
    except (OSError, ValueError, TypeError, KeyError):
        return found
    for modality in MODALITIES:
        file = path / f"{modality}.safetensors"
        if not file.is_file():
            continue
        try:
            table = read_features(file)
            about, rival = table.provenance, brought.get(modality)
            if not about.packages:
                continue  # a user's own
            if rival and (
                not rival.provenance.packages or rival.provenance.encoder == about.encoder
            ):
                continue
            if sha256(file) != outputs.get(file.name):
                raise InputError(f"{file}: damaged (SHA-256 differs)")
            same = _same_items(items, read_frame(path, "items.parquet"), modality)
            if same is False:
                raise InputError(f"{file}: the texts or titles of its items have changed")
        except (InputError, KeyError) as error:
            remarks.append(f"{modality} features are not kept ({error}); encode them again")
            continue
        found[modality] = table.select(list(items["id"]))
        remarks.append(
            f"{modality} features by {about.encoder} are kept from the dataset that stood here; "
            "delete its folder first to build without them"
        )
        if same is None:
            remarks.append(
                f"whether those {modality} features belong to these items is known by ids alone, "
                "for nothing describes the items: delete the folder if ids have other items now"
            )
        lacking = int(((items["text"] != "") & ~found[modality].present).sum())
        if modality == "text" and lacking:
            remarks.append(
                f"{lacking:,} items with a text have no text features: encode them again (features "
                f"{path.name} --modality text --encoder {about.encoder})"
            )
    return found


def _same_items(new: pd.DataFrame, old: pd.DataFrame, modality: Modality) -> bool | None:
    """Whether ids that are in both are the same items, as far as their descriptions say: texts of
    text features must be equal, and texts and titles where both have one. None where nothing says
    it."""
    both = new.merge(old, on="id", suffixes=("", "_old"))
    if modality == "text" and (both["text"] != both["text_old"]).any():
        return False
    known = None
    for column in ("title", "text"):
        own, others = both[column], both[f"{column}_old"]
        described = (own != "") & (others != "")
        if (own != others)[described].any():
            return False
        known = True if described.any() else known
    return known
