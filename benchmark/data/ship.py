"""Renew the files that the package ships: `python -m benchmark.data.ship ml-100k beauty`.

For maintainers who hold the raw files and the encoders; users never need it. What may not be
redistributed (MovieLens ratings) is never written.
"""

import json
import sys

import pandas as pd

from benchmark.data.bundle import load_bundle
from benchmark.data.config import SHIPPED, dataset_config
from benchmark.data.content import Bundle
from benchmark.data.features import read_features, write_features
from benchmark.files import atomic_file, sha256


def ship(bundle: Bundle) -> None:
    """Write the bundle's items and features, interactions where a source names them, and
    provenance.json, which says for a reader what the files' own headers say."""
    config = dataset_config(bundle.name)
    items = bundle.items.drop(columns="item")
    frames = {
        **{
            source.file: items if source.texts else items.assign(text="")
            for source in config.items
            if source.shipped
        },
        **{source.file: _interactions(bundle) for source in config.interactions if source.shipped},
    }
    for name, frame in frames.items():
        with atomic_file(SHIPPED / name) as temporary:
            frame.to_parquet(temporary, index=False, compression="zstd", compression_level=19)
    record: dict[str, object] = {name: {"sha256": sha256(SHIPPED / name)} for name in frames}
    for modality, feature in config.features.items():
        if feature.shipped:
            *others, own = feature.shipped
            table = read_features(bundle.path / f"{modality}.safetensors")
            elsewhere = {item for file in others for item in read_features(SHIPPED / file).ids}
            # without constants, which are fitted when a bundle is built
            table = table.select([item for item in table.ids if item not in elsewhere])
            write_features(SHIPPED / own, table)
            record[own] = {
                "sha256": sha256(SHIPPED / own),
                **table.provenance.model_dump(mode="json"),
            }
    with atomic_file(SHIPPED / bundle.name / "provenance.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _interactions(bundle: Bundle) -> pd.DataFrame:
    """User number, the source's item id, timestamp; users in the order of the source."""
    ids = bundle.items["id"].to_numpy()
    frame = bundle.interactions
    return pd.DataFrame(
        {
            "user": frame["user"].astype("int32"),
            "item": ids[frame["item"].to_numpy() - 1],
            "timestamp": frame["timestamp"].astype("int32"),
        }
    )


if __name__ == "__main__":
    for dataset in sys.argv[1:]:
        ship(load_bundle(dataset))
