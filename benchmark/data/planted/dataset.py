"""Planted data as a dataset: a bundle like any other, with the truth beside its files."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from benchmark.data.bundle import write_bundle
from benchmark.data.config import DatasetConfig, Modality
from benchmark.data.content import Bundle
from benchmark.data.features import FeatureTable
from benchmark.data.meta import Provenance, default_root
from benchmark.data.names import TRUTH, check_name
from benchmark.data.planted.truth import Truth, truth_of
from benchmark.data.planted.world import (
    FloatArray,
    IntArray,
    PlantedConfig,
    World,
    draw_sequences,
    rng_of,
    world_of,
)
from benchmark.errors import InputError
from benchmark.files import write_bytes

DRAWN = date(2025, 8, 3)
"""The features' date. Today's would make equal data different files; this is the conference's."""

_WIDTHS: dict[Modality, int] = {"text": 32, "image": 48}


def write_planted(
    config: PlantedConfig, name: str | None = None, *, root: Path | None = None
) -> tuple[Bundle, Truth]:
    """Generate the data and write them as the bundle root/name, with truth.json beside its files.

    name: planted-IMAGE-SEED if None. Raises InputError for a name that a dataset cannot have, and
    where the folder cannot be written.
    """
    name = name or f"planted-{config.image}-{config.seed}"
    check_name(name)
    root = root or default_root()
    world = world_of(config)
    sequences = draw_sequences(world)
    truth = truth_of(world, sequences)
    bundle = write_bundle(
        DatasetConfig(
            name=name,
            title=f"Planted, image: {config.image}",
            grade="C",
            interactions=[],
            licence="generated",
            notes="Synthetic; what is planted says truth.json.",
        ),
        _interactions(world, sequences),
        None,
        _features(world),
        root=root,
        source=f"generated with seed {config.seed}",
        inputs={},
    )
    write_bytes(root / name / TRUTH, (truth.model_dump_json(indent=1) + "\n").encode())
    return bundle, truth


def read_truth(folder: Path) -> Truth:
    """What is planted in the bundle in `folder`. Raises InputError where nothing readable is."""
    path = folder / TRUTH
    try:
        return Truth.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path}: missing or damaged ({type(error).__name__}); make the dataset again with "
            "`./reproduce.sh planted`"
        ) from error


def _interactions(world: World, sequences: Sequence[IntArray]) -> pd.DataFrame:
    """Users begin at random times and take an item a tick."""
    start = rng_of(world.config, "times").integers(0, 1_000_000, len(sequences))
    lengths = [len(sequence) for sequence in sequences]
    user = np.repeat(np.arange(len(sequences)), lengths)
    tick = np.concatenate([np.arange(length) for length in lengths])
    return pd.DataFrame(
        {
            "user": [f"u{k}" for k in user],
            "item": [item_id(k) for k in np.concatenate(sequences)],
            "timestamp": start[user] + tick,
        }
    )


def item_id(item: int) -> str:
    """The source's id of an item of the world."""
    return f"i{item}"


def _features(world: World) -> dict[Modality, FeatureTable]:
    config = world.config
    rng = rng_of(config, "maps")
    shows = {"copy": world.text, "noise": world.noise, "complement": world.image}[config.image]
    tables: dict[Modality, FeatureTable] = {}
    factors_of: dict[Modality, FloatArray] = {"text": world.text, "image": shows}
    for modality, factors in factors_of.items():
        values = factors @ rng.normal(size=(config.factors, _WIDTHS[modality]))
        tables[modality] = FeatureTable(
            ids=[item_id(k) for k in range(config.items)],
            values=values.astype(np.float32),
            present=np.ones(config.items, dtype=bool),
            layers=(),
            provenance=Provenance(encoder="planted", model="linear map of factors", created=DRAWN),
        )
    return tables
