"""Texts and pictures -> features, in batches; a killed run goes on where it stopped."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from benchmark.data.bundle import attach_features, load_bundle
from benchmark.data.config import Modality, dataset_config, dataset_names
from benchmark.data.content import Bundle
from benchmark.data.encoders import Encoder, check_encoder, load_encoder
from benchmark.data.features import FeatureTable
from benchmark.data.meta import Provenance, default_raw, default_root
from benchmark.errors import InputError
from benchmark.files import atomic_file, sha256, writing

BATCH = 32


def build_features(
    name: str,
    modality: Modality,
    encoder: str | None = None,
    *,
    root: Path | None = None,
    raw: Path | None = None,
    images: str | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Encode a bundle's texts or pictures and put the features into the bundle.

    encoder: registry name, by default the dataset's own. images: for datasets without a
    configuration, the path of one item's picture inside `raw`, with {id} for the item's id. An item
    without text or picture is marked as missing. Batches that an earlier, killed run finished are
    taken over. Raises InputError if encoder, texts or pictures cannot be had.
    """
    root = root or default_root()
    raw = raw or default_raw()
    bundle = load_bundle(name, root=root, raw=raw, progress=progress)
    config = dataset_config(name) if name in dataset_names() else None
    default = config.features.get(modality) if config else None
    encoder = encoder or (default.encoder if default else None)
    if encoder is None:
        raise InputError(
            f"{name} has no {modality} encoder of its own: name one (option --encoder)"
        )
    check_encoder(encoder, modality)
    ids = list(bundle.items["id"])
    if modality == "text":
        inputs = list(bundle.items["text"])
        present = np.array([bool(text.strip()) for text in inputs])
    else:
        pattern = images or (config.images if config else None)
        if pattern is None:
            raise InputError(f"{name}: no pictures are known; say where they are (option --images)")
        if "{id}" not in pattern:
            raise InputError(
                f"--images {pattern}: write {{id}} where the item's id stands, such as "
                "posters/{id}.jpg"
            )
        inputs = [str(picture(pattern, item, raw, root)) for item in ids]
        present = np.array([os.path.isfile(path) for path in inputs])
    if not present.any():
        if modality == "text" and config and any(not source.texts for source in config.items):
            raise InputError(
                f"{name}: its texts are not shipped, only their features; build it from a folder "
                "of raw files (option --raw), or fetch the official descriptions (docs/data.md)"
            )
        where = bundle.path / "items.parquet" if modality == "text" else f"such as {inputs[0]}"
        raise InputError(f"{name}: no item has a {modality} ({where}); nothing to encode")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_encoder(encoder, modality, device)
    provenance = Provenance(
        encoder=encoder,
        model=model.model,
        packages=model.packages,
        inputs=_fingerprint(modality, ids, inputs, present),
        layers=model.layer_names,
        created=date.today(),
        licence=f"weights: {model.licence}; inputs: {bundle.meta.licence}",
    )
    parts = bundle.path / f".{modality}.parts"
    table = encode(model, ids, inputs, present, provenance, parts, progress)
    bundle = attach_features(bundle, modality, table)
    shutil.rmtree(parts)
    return bundle


def picture(pattern: str, item: str, raw: Path | None, root: Path) -> Path:
    """Where an item's picture lies: in the user's raw folder, else among the downloads."""
    file = pattern.replace("{id}", item)
    if Path(item).is_absolute() or ".." in Path(item).parts:
        raise InputError(
            f"{pattern}: item {item!r} would lead out of the folder of pictures; rename it in the "
            "source"
        )
    own = raw / file if raw else None
    return own if own is not None and os.path.isfile(own) else root / "raw" / file


def encode(
    encoder: Encoder,
    ids: list[str],
    inputs: Sequence[str],
    present: np.ndarray,
    provenance: Provenance,
    parts: Path,
    progress: Progress | None = None,
) -> FeatureTable:
    """Encode the inputs that are present, batch by batch, each kept in `parts`, which the caller
    deletes once the table is stored.

    inputs: texts or paths of pictures, one an id; present: [N] bool. Parts of another encoder or of
    other inputs are not taken over.
    """
    key = hashlib.sha256(f"{provenance.encoder} {provenance.inputs}".encode()).hexdigest()
    folder = parts / key[:16]
    with writing(parts):
        folder.mkdir(parents=True, exist_ok=True)
    rows = np.flatnonzero(present)
    starts = range(0, len(rows), BATCH)
    label = f"encode with {provenance.encoder}"
    task = progress.add_task(label, total=len(rows)) if progress else None
    batches = []
    for start in starts:
        chosen = rows[start : start + BATCH]
        path = folder / f"{start:08d}.safetensors"
        batch = _finished(path, len(chosen))
        if batch is None:
            encoded = encoder.encode([inputs[row] for row in chosen])
            tensors = {"values": encoded.values}
            tensors |= {f"layers.{k}": layer for k, layer in enumerate(encoded.layers)}
            batch = {name: tensor.numpy().astype(np.float16) for name, tensor in tensors.items()}
            with atomic_file(path) as temporary:
                save_file(batch, temporary)
        batches.append(batch)
        if progress and task is not None:
            progress.advance(task, len(chosen))
    arrays = {}
    for name in batches[0]:
        joined = np.concatenate([batch[name] for batch in batches])
        arrays[name] = np.zeros((len(ids), joined.shape[1]), dtype=np.float16)
        arrays[name][rows] = joined
    table = FeatureTable(
        ids=ids,
        values=arrays["values"],
        present=present,
        layers=tuple(arrays[f"layers.{k}"] for k in range(len(arrays) - 1)),
        provenance=provenance,
    )
    table.check(f"encoder {provenance.encoder}")
    return table


def _finished(path: Path, rows: int) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        batch: dict[str, np.ndarray] = load_file(path)
    except SafetensorError:
        return None
    return batch if len(batch.get("values", ())) == rows else None


def _fingerprint(
    modality: Modality, ids: Sequence[str], inputs: Sequence[str], present: np.ndarray
) -> str:
    digest = hashlib.sha256()
    for item, value, there in zip(ids, inputs, present, strict=True):
        content = (sha256(Path(value)) if modality == "image" else value) if there else ""
        digest.update(f"{item}\0{content}\0".encode())
    return digest.hexdigest()
