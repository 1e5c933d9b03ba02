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

    items: id and text of the new bundle's items. brought: features that the new bundle has without
    it; a user's own, and those of the same encoder, are preferred. A user's own arrays in the old
    bundle are not kept, for they are imported again. remarks: takes what is kept, and what could
    not be, and why.
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
            if modality == "text":
                old = read_frame(path, "items.parquet").set_index("id")["text"]
                both = items.set_index("id")["text"].to_frame("new").join(old, how="inner")
                if (both["new"] != both["text"]).any():
                    raise InputError(f"{file}: the texts have changed since it was made")
        except (InputError, KeyError) as error:
            remarks.append(f"{modality} features are not kept ({error}); encode them again")
            continue
        found[modality] = table.select(list(items["id"]))
        remarks.append(
            f"{modality} features by {about.encoder} are kept from the dataset that stood here; "
            "delete its folder first to build without them"
        )
    return found
