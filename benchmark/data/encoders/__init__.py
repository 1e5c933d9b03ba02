"""Frozen encoders, as plug-ins: a class that keeps `Encoder`, and its entry in ENCODERS.

They need the extra `features` (pip install 'findrec-benchmark[features]') and are imported only
when used; features that the package ships need none of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from benchmark.data.config import Modality
from benchmark.errors import InputError, nearest


@dataclass(frozen=True)
class Encoded:
    """One batch of B items."""

    values: Tensor
    """[B, F] float32"""
    layers: tuple[Tensor, ...]
    """K tensors [B, F_k] float32: pooled states after K layers, shallow to deep."""


class Encoder(Protocol):
    """A frozen model that turns texts or pictures into vectors."""

    modality: Modality
    model: str
    """Model, weights and pooling, for the provenance."""
    packages: dict[str, str]
    """Name -> version of what computes the features."""
    layer_names: list[str]
    """What the K kept layers are."""
    licence: str
    """Of the weights."""

    def encode(self, batch: Sequence[str]) -> Encoded:
        """Vectors of a batch of texts, or of pictures given by their paths."""
        ...


ENCODERS: dict[str, tuple[Modality, str]] = {
    "minilm": ("text", "benchmark.data.encoders.text:MiniLM"),
    "roberta-large": ("text", "benchmark.data.encoders.text:RobertaLarge"),
    "efficientnet-lite0": ("image", "benchmark.data.encoders.image:EfficientNetLite0"),
    "blip-large": ("image", "benchmark.data.encoders.image:BlipLarge"),
}
"""Name -> modality and class, which is called with the device."""


def check_encoder(name: str, modality: Modality) -> None:
    """Raise InputError unless the modality has an encoder of that name."""
    known = [known for known, (its, _) in ENCODERS.items() if its == modality]
    if name not in known:
        raise InputError(f"unknown {modality} encoder {name!r}{nearest(name, known)}")


def load_encoder(name: str, modality: Modality, device: torch.device) -> Encoder:
    """Load an encoder; InputError for an unknown name, or if its package is not installed."""
    check_encoder(name, modality)
    module, attribute = ENCODERS[name][1].split(":")
    try:
        loader = getattr(import_module(module), attribute)
        return cast("Callable[[torch.device], Encoder]", loader)(device)
    except ImportError as error:
        raise InputError(
            f"encoder {name!r} needs {error.name}: pip install 'findrec-benchmark[features]'"
        ) from error


def hub_error(model: str, error: Exception) -> InputError:
    """The error for weights that cannot be loaded."""
    reason = str(error).strip().splitlines()[0]
    return InputError(
        f"{model}: the weights cannot be loaded ({reason}); they come from the Hugging Face hub: "
        "check the network, or let the variable HF_HOME name a folder that has them"
    )


def check_loaded(model: str, missing: Sequence[str]) -> None:
    """Refuse a checkpoint that leaves weights at their random start."""
    if missing:
        raise InputError(
            f"{model}: the checkpoint lacks {len(missing)} weights, such as {missing[0]!r}; it is "
            "not a checkpoint of this architecture"
        )
