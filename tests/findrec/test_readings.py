"""Settings, configuration and documentation of the readings agree."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from findrec import FindRecConfig, ReleasedFindRecConfig

ROOT = Path(__file__).parents[2]
ROW: dict[str, Any] = yaml.safe_load(
    (ROOT / "benchmark/configs/models/findrec.yaml").read_text(encoding="utf-8")
)
DOCS = (ROOT / "docs" / "paper-readings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ROW["variants"])
def test_variant_is_a_config(name: str) -> None:
    changes = ROW["variants"][name]
    config = FindRecConfig(**(ROW.get("model", {}) | changes.get("model", {})))
    field, _, value = name.partition("=")
    if value:
        if field == "noise":
            share = {"features": "permuted", "permuted_share": float(value)}
            assert changes == {"protocol": share}
            return
        if field == "spec":  # a combination of switches, checked in tests/benchmark/paper
            assert list(changes) == ["model"]
            return
        lambdas = ("lambda", "alignment-lambda")
        field = "iicm_weight" if field in lambdas else field
        assert getattr(config, field) == float(value)
        assert list(changes["model"]) == [field]


def test_every_reading_is_documented() -> None:
    for name in ROW["variants"]:
        if name.startswith(("reading-", "without-iicm", "without-moe")):
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", DOCS), name


@pytest.mark.parametrize("config", [FindRecConfig, ReleasedFindRecConfig])
def test_every_switch_is_documented(config: type) -> None:
    """Fields that choose between readings have a row; those with a Literal type all do."""
    for field in dataclasses.fields(config):
        chooses = "Literal" in str(field.type) or field.name.startswith("iicm_")
        if chooses:
            assert f"`{field.name}`" in DOCS, field.name
