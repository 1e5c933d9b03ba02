"""One run's settings, whole and typed: what is trained on what, how, and how it is evaluated.

Plain data without torch: the settings resolve to it, the core trains from it, a stored record holds
it.
"""

import os
import re
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from benchmark.errors import InputError

FeatureUse = Literal["real", "raw", "permuted", "permuted-images", "constant", "none"]
"""How a method is fed its features: as the dataset has them (centred and scaled), as the encoder
made them, permuted among items that are trained on about as often (all features of an item
together, or the images alone; another permutation for each seed), as one and the same vector for
every item, or not at all."""

Precision = Literal["fp32", "tf32", "bf16"]


class Frozen(BaseModel):
    """Frozen, and strict about fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Training(Frozen):
    """How a method is trained. What has no default here, every profile says."""

    lr: float = Field(gt=0)
    """Learning rate of AdamW, at its highest."""
    weight_decay: float = Field(0.01, ge=0)
    batch_size: int = Field(ge=1)
    """Windows in a step."""
    schedule: Literal["stable-decay", "cosine"] = "stable-decay"
    """After the warm-up the rate stays and falls linearly to zero over the last steps, or falls as
    half a cosine from there on (benchmark/train/schedule.py)."""
    decay: float = Field(0.3, gt=0, le=1)
    """Share of the budget over which "stable-decay" lets the rate fall."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the budget over which the rate rises linearly."""
    warmup_steps: int | None = Field(None, ge=0)
    """The same in steps; overrides `warmup`."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of a seed's gradient; None clips nothing."""
    history_in_softmax: bool = True
    """Whether the items of a user's history compete with the target in the softmax of the loss.
    False takes those that stand in the window up to a position out of that position's competitors,
    but never its target. An earlier item that the window no longer has competes all the same. For
    the causal objective alone."""
    negatives: int | None = Field(None, ge=1)
    """How many items are drawn in a step to compete with its targets, in proportion to how often
    they are trained on, with their scores corrected for it (benchmark/train/negatives.py). For
    catalogues past some 10^5 items; None lets all items compete, which is the default and exact."""
    steps: int = Field(ge=1)
    """Budget in optimiser steps; a run takes all of them, and what it ends with is reported."""
    eval_every: int = Field(ge=1)
    """Steps between two evaluations on validation, for the learning curve alone: nothing is
    selected by them."""
    precision: Precision = "fp32"
    """Of a training step's products: float32; TF32, which takes 10 bits of each factor, on a GPU
    that has it; or bfloat16 in the model's forward and backward pass. Parameters, sums, the scan's
    state and the evaluation are float32 always."""

    @field_validator("negatives")
    @classmethod
    def _all_compete(cls, negatives: int | None, info: ValidationInfo) -> int | None:
        if negatives is not None and not info.data.get("history_in_softmax", True):
            raise ValueError(
                "drawn competitors cannot be combined with history_in_softmax: false; leave one of "
                "the two at its default"
            )
        return negatives


class Protocol(Frozen):
    """What is fed, how it is split, and what is ranked."""

    split: Literal["leave-one-out", "ratio", "global-time"] = "leave-one-out"
    """Which items of each user are held out (benchmark/data/splits.py)."""
    order: Literal["time", "shuffled"] = "time"
    """Whether histories stand in the order of time or in random order, in training and queries."""
    max_length: int = Field(ge=1)
    """L, the window: so many last items of a user are seen at most."""
    stride: int = Field(ge=1)
    """Items between the starts of two windows of a user who is longer than the window."""
    prefixes: bool = False
    """Train on every prefix as a sample of its own (the literal protocol), not on all positions."""
    max_users: int | None = Field(None, ge=1)
    """Keep so many first users alone, for tests; None keeps all."""
    validation_targets: int = Field(1, ge=1)
    """Items of each user that are held out before the test targets; more than one in trials of the
    tuning, to see through the noise of few users."""
    test_targets: int = Field(1, ge=1)
    """Items of each user that are test targets, each ranked given the history before it: the last
    ones, or under "global-time" the first ones after the moment. "ratio" has its own number."""
    one_list: bool = False
    """Rank all test targets of a user given the history before the first of them, not each given
    its own."""
    leak: bool = False
    """Train on the held-out items too: what a leak of the targets into training would do. For the
    diagnosis of printed levels alone."""
    features: FeatureUse = "real"
    permuted_share: float = Field(1.0, gt=0, le=1)
    """Share of the items whose features are permuted, where they are; drawn for each seed."""
    analysis_plan: str | None = None
    """Hash of the analysis plan that a run belongs to (benchmark/paper/analysis_plan.md); a changed
    plan makes its runs stale."""
    control: bool = False
    """Whether the class is a control, which is fitted once and not trained."""
    snapshot: bool = False
    """Whether the model's `snapshot`, before and after training, is kept with the ranks."""
    trial: bool = False
    """Whether it is a trial of the tuning: ranked on validation and never on test."""


Convergence = Literal["shown", "not shown", "gaining", "not established"]
"""What the ladder of budgets says of a row's (docs/tuning.md): longer ones gain less than 2 %
(shown), noise or cost forbids to say so (not shown), the last doubling did gain (gaining), or there
was no ladder (not established)."""


class RunKey(NamedTuple):
    """Names that a spec goes by; its folder on disk."""

    profile: str
    dataset: str
    model: str
    variant: str

    def __str__(self) -> str:
        variant = "" if self.variant == "base" else f" [{self.variant}]"
        return f"{self.model}{variant} on {self.dataset} ({self.profile})"


class RunSpec(Frozen):
    """One method on one dataset in one variant, with every setting resolved; seeds are its runs."""

    dataset: str
    model: str
    """Name in the registry, as tables print it."""
    variant: str = "base"
    """"base", a named variant, or a swept value such as "lambda=0.01"."""
    profile: str
    implementation: str
    """Class of the model, "baselines.sasrec:SASRec"."""
    modalities: tuple[str, ...] = ()
    """Modalities that the method is fed where the dataset has them."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's config dataclass, all of them."""
    training: Training | None = None
    """None for a control."""
    protocol: Protocol
    convergence: Convergence = "not established"
    """Of the budget; it decides no number and is in no hash."""

    @property
    def key(self) -> RunKey:
        return RunKey(self.profile, self.dataset, self.model, self.variant)

    def with_protocol(self, **changes: Any) -> "RunSpec":
        """The same spec with other protocol settings. Raises pydantic's ValidationError."""
        return RunSpec.model_validate(
            self.model_dump() | {"protocol": self.protocol.model_dump() | changes}
        )

    def with_training(self, **changes: Any) -> "RunSpec":
        """The same spec with other training settings. Raises pydantic's ValidationError, and
        ValueError for a control, which is not trained."""
        if self.training is None:
            raise ValueError(f"{self.key} is a control: it has no training settings to change")
        return RunSpec.model_validate(
            self.model_dump() | {"training": self.training.model_dump() | changes}
        )


def slug(name: str) -> str:
    """A file name for a registry name, dataset or variant: "SASRec (MM)" -> "sasrec-mm".

    Raises InputError where nothing printable is left.
    """
    text = re.sub(r"[^a-z0-9._=]+", "-", name.lower()).strip("-.")
    if not text or os.sep in text:
        raise InputError(f"the name {name!r} has no letter or digit to make a folder's name from")
    return text
