"""What the tables are made of: categories of rows, swept settings, ablations, controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.analyse.cells import CellSpec, Grade
from benchmark.analyse.rules import RULES, Bucket
from benchmark.plan import OWN_MODEL, Planned, experiments
from benchmark.runs.spec import RunKey
from benchmark.settings.registry import methods

CATEGORIES = {
    "id": "ID-based",
    "simple": "Simple multimodal",
    "advanced": "Advanced multimodal",
    "ours": "The paper's method",
    "control": "Controls, not compared",
}


@dataclass(frozen=True)
class Sweep:
    """One hyperparameter's table or figure."""

    setting: str
    """Field of FindRec's config."""
    label: str

    def value(self, planned: Planned) -> float:
        """Of the settings, or of the variant's own file where they are not known: NaN for a base
        configuration without runs in results from elsewhere."""
        if planned.spec is not None:
            return float(planned.spec.config[self.setting])
        variant = methods()[planned.key.model].variants.get(planned.key.variant)
        return float(variant.model.get(self.setting, math.nan)) if variant else math.nan

    def paper_row(self, value: float) -> str:
        """As the paper prints the value: 1e-4, 512."""
        return f"{value:.0e}".replace("e-0", "e-") if value < 1 else f"{value:g}"


SWEEPS = {
    "table6": Sweep("iicm_weight", "λ"),
    "table7": Sweep("layers", "Mamba layers"),
    "table8": Sweep("align_dim", "alignment width"),
    "table9": Sweep("heads", "attention heads"),
    "fig3": Sweep("experts", "experts"),
}

ABLATIONS = {
    "base": (OWN_MODEL, "full model"),
    "without-cross-attention": ("w/o Cross-Attn", "without cross-attention"),
    "without-iicm": ("w/o IICM", "without IICM"),
    "without-moe": ("w/o MoE", "without mixture of experts"),
}
"""Variant -> (the paper's row, our label)"""

FEATURE_CONTROLS = {
    "permuted-features": "features permuted",
    "no-features": "without features",
    "raw-features": "raw features",
    "noise=0.25": "features of a quarter permuted",
    "noise=0.5": "features of half permuted",
    "permuted-images": "images permuted",
    "constant-features": "one constant vector",
}
"""Variant -> our label"""

FEATURES = {"base": "real features"} | FEATURE_CONTROLS
"""Variant -> our label, in the table of feature controls."""


@dataclass(frozen=True)
class ByMethod:
    """A table in which each method's variants are compared with its base, and with nothing else."""

    labels: Mapping[str, str]
    """Variant -> our label."""
    adds: str
    """What the base has and the variants lack."""


BY_METHOD = {
    "controls": ByMethod(FEATURES, "features add"),
    "order": ByMethod(
        {"base": "in the order of time", "shuffled-histories": "shuffled"}, "the order adds"
    ),
}

VARIANT_LABELS = {name: own.labels for name, own in BY_METHOD.items()} | {"machinery": FEATURES}
"""Table whose rows stand below their method -> variant -> our label."""

CROSS_MODAL = frozenset({"table5", "table6", "table9"})
"""Tables about parts that need both modalities."""


def category(key: RunKey) -> str:
    """Key of `CATEGORIES`. A control, or a method fed with other features or none, is shown for
    comparison and never judged."""
    if key.variant in FEATURE_CONTROLS:
        return "control"
    return methods()[key.model].category


def distinct(name: str, planned: Sequence[Planned]) -> list[Planned]:
    """One spec for each value of a sweep, in rising order: where a profile's base configuration has
    a swept value already, the base stands for it. Other tables' specs as they are."""
    if name not in SWEEPS:
        return list(planned)
    sweep = SWEEPS[name]
    known = [p for p in planned if not math.isnan(sweep.value(p))]
    found: dict[tuple[str, float], Planned] = {}
    for p in sorted(known, key=lambda p: (sweep.value(p), p.key.variant != "base")):
        found.setdefault((p.key.dataset, sweep.value(p)), p)
    return list(found.values())


def specs_of_cells(
    name: str, planned: Sequence[Planned], grades: dict[str, Grade]
) -> list[CellSpec]:
    """The places of a table (test split), in the order of the plan. grades: dataset -> grade.

    A reading or an arm that was asked for by name is no row of a table of rows, and none of those
    that FindRec is compared with there.
    """
    found = []
    base = next(iter(experiments()[name].row_variants), "base")  # what the table is about
    for p in planned:
        key = p.key
        cell_spec = CellSpec(
            row=key.model,
            run_key=key,
            runs=p.runs,
            grade=grades[key.dataset],
            column="" if key.variant == base else key.variant,
            family=name,
            subject=key.variant == base and key.model == OWN_MODEL and name not in SWEEPS,
            spec=p.spec,
        )
        if name in BY_METHOD:
            real = key.variant == base
            found.append(
                replace(cell_spec, family=f"{name} {key.model}", subject=real, paper_row="none")
            )
        elif experiments()[name].contrasts in (
            "all",
            "readings",
            "base",
        ):  # their contrasts are judged by themselves
            found.append(replace(cell_spec, compared=False, subject=False, paper_row="none"))
        elif name == "table5":
            found.append(replace(cell_spec, paper_row=ABLATIONS[key.variant][0]))
        elif name in SWEEPS:
            value = SWEEPS[name].value(p)
            paper_row = SWEEPS[name].paper_row(value)
            found.append(replace(cell_spec, column=f"{value:g}", paper_row=paper_row))
        elif category(key) in CATEGORIES:
            if category(key) == "control":  # beside it the paper prints nothing
                cell_spec = replace(
                    cell_spec, compared=False, paper_row=cell_spec.key.label + ", control"
                )
            buckets: tuple[Bucket | None, ...] = RULES.buckets if name == "table3" else (None,)
            found += [replace(cell_spec, bucket=bucket) for bucket in buckets]
    return found
