"""docs/baselines.md prints true parameter counts."""

import re
from pathlib import Path

import pytest
import torch

from benchmark.settings.registry import get_profile
from benchmark.settings.resolve import resolve
from findrec.recommender import Attribute, Catalogue, Features

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "baselines.md"

# Items; width of the text and of the image features, and number and width of their layer states;
# sizes of the attributes. As the document says above its table.
DATASETS = {
    "Beauty": ("beauty", 2_423, (384, 3, 384), None, {"brand": 289, "category": 188}),
    "ML-100k": ("ml-100k", 1_349, (384, 3, 384), (1_280, 3, 320), {"genre": 18}),
    "MicroLens-100k": ("microlens", 17_228, (1_024, 6, 1_024), (1_024, 6, 1_024), {}),
}


def table() -> list[tuple[str, str, str, int]]:
    """(row, profile, dataset, printed count) of every cell of the document's table."""
    text = (
        DOCUMENT.read_text(encoding="utf-8").split("## Trainable parameters")[1].split("\n## ")[0]
    )
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head, cells = lines[0], lines[2:]
    return [
        (line[0], *column.split(", "), int(count.replace(",", "")))  # type: ignore[misc]
        for line in cells
        for column, count in zip(head[1:], line[1:], strict=True)
        if re.fullmatch(r"[\d,]+", count)
    ]


def features(items: int, shape: tuple[int, int, int] | None) -> Features | None:
    """Shapes alone: nothing is read, and expanded zeros take no memory."""
    if shape is None:
        return None
    width, depth, layer_width = shape
    zero = torch.zeros(1)
    return Features(
        zero.expand(items + 1, width),
        torch.arange(items + 1) > 0,
        zero.expand(items + 1, depth, layer_width),
    )


@pytest.mark.parametrize("cell", table(), ids=lambda cell: "-".join(cell[:3]))
def test_count(cell: tuple[str, str, str, int]) -> None:
    name, profile, dataset, printed = cell
    slug, items, text, image, attributes = DATASETS[dataset]
    resolved = resolve(name, slug, get_profile(profile))
    fed = resolved.method.modalities
    catalogue = Catalogue(
        items,
        features(items, text) if "text" in fed else None,
        features(items, image) if "image" in fed else None,
        {
            kind: Attribute(torch.zeros(items + 1, 1, dtype=torch.int64), size)
            for kind, size in attributes.items()
        },
    )
    model = resolved.method.cls(resolved.config, catalogue)
    assert sum(parameter.numel() for parameter in model.parameters()) == printed
