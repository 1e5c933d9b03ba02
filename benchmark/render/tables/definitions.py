"""What the tables are made of: categories of rows, swept settings, ablations, controls."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.analyse.cells import CellSpec, Grade
from benchmark.analyse.statistics import RULES, Bucket
from benchmark.plan import OWN_MODEL, Planned
from benchmark.runs.spec import RunSpec
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

    def value(self, spec: RunSpec) -> float:
        return float(spec.config[self.setting])

    def paper_row(self, spec: RunSpec) -> str:
        """As the paper prints the value: 1e-4, 512."""
        value = self.value(spec)
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
}
"""Variant -> our label"""

CROSS_MODAL = frozenset({"table5", "table6", "table9"})
"""Tables about parts that need both modalities."""


def category(spec: RunSpec) -> str:
    """Key of `CATEGORIES`. A control, or a method fed with permuted features or none, is shown
    for comparison and never judged."""
    if spec.variant in FEATURE_CONTROLS:
        return "control"
    return methods()[spec.model].category


def distinct(name: str, planned: Sequence[Planned]) -> list[Planned]:
    """One spec for each value of a sweep, in rising order: where a profile's base configuration has
    a swept value already, the base stands for it. Other tables' specs as they are."""
    if name not in SWEEPS:
        return list(planned)
    sweep = SWEEPS[name]
    order = sorted(planned, key=lambda p: (sweep.value(p.spec), p.spec.variant != "base"))
    found: dict[tuple[str, float], Planned] = {}
    for p in order:
        found.setdefault((p.spec.dataset, sweep.value(p.spec)), p)
    return list(found.values())


def usable(planned: Planned, *, reuse_stale: bool) -> tuple[int, ...]:
    """Seeds whose finished runs a request shows: current ones, and stale ones if it asks so."""
    wanted = ("complete", "stale") if reuse_stale else ("complete",)
    return tuple(seed for seed, state in planned.states.items() if state in wanted)


def specs_of_cells(
    name: str, planned: Sequence[Planned], grades: dict[str, Grade]
) -> list[CellSpec]:
    """The places of a table (test split), in the order of the plan. grades: dataset -> grade."""
    found = []
    for p in planned:
        spec = p.spec
        cell_spec = CellSpec(
            row=spec.model,
            spec=spec,
            seeds=tuple(p.states),
            grade=grades[spec.dataset],
            column="" if spec.variant == "base" else spec.variant,
            family=name,
        )
        if name == "table5":
            found.append(replace(cell_spec, paper_row=ABLATIONS[spec.variant][0]))
        elif name in SWEEPS:
            sweep = SWEEPS[name]
            column = f"{sweep.value(spec):g}"
            found.append(replace(cell_spec, column=column, paper_row=sweep.paper_row(spec)))
        else:
            if category(spec) == "control":  # beside it the paper prints nothing
                cell_spec = replace(
                    cell_spec, compared=False, paper_row=cell_spec.key.label + ", control"
                )
            buckets: tuple[Bucket | None, ...] = RULES.buckets if name == "table3" else (None,)
            found += [replace(cell_spec, bucket=bucket) for bucket in buckets]
    return found
