"""The specification curve (Simonsohn, Simmons and Nelson 2020): every combination of four open
choices against the default, sorted by its effect, with the choices as dots below. It describes; no
combination is chosen by it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmark.analyse.effects import Effect
from benchmark.analyse.judged import Judged
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import OWN_MODEL, Planned
from benchmark.render.figures.style import INK, QUIET, TWO_COLUMNS, figure
from benchmark.render.tables.inference import HEADINGS

SWITCHES = (
    ("iicm_sign", "sign", ("text", "equation")),
    ("iicm_entropy", "entropy", (0.01, 0.0)),
    ("attention", "attention", ("positions", "channels", "none")),
    ("score_with", "scores", ("id", "fused")),
)
"""(field of FindRec's config, what the picture calls it, its values)"""


def draw_specifications(judged: Judged, planned: Sequence[Planned]) -> Figure:
    """A column a protocol: effects with their intervals above, choices below. The default stands
    among them as an open mark at 0. Combinations without runs are counted in the title."""
    configs = {
        f"{OWN_MODEL} {p.key.variant}".removesuffix(" base"): p.spec.config
        for p in planned
        if p.spec is not None
    }
    labels = [(field, v, f"{name}: {v}") for field, name, values in SWITCHES for v in values]
    drawn = figure(TWO_COLUMNS, 3.6)
    axes = drawn.subplots(
        2, len(PROTOCOLS), squeeze=False, sharex="col", sharey="row", height_ratios=(1.3, 1)
    )
    for above, below, protocol in zip(axes[0], axes[1], PROTOCOLS, strict=True):
        effects = {
            one.claim: one.effect
            for one in judged.contrasts
            if one.protocol == protocol and one.effect is not None
        }
        _effects(above, effects, protocol, len(judged.contrasts) // len(PROTOCOLS))
        for at, name in enumerate(order(effects)):
            config = configs[name]
            for y, (field, value, _) in enumerate(labels):
                on = config[field] == value
                below.plot(at, y, "o", ms=2.6 if on else 1.2, color=INK if on else "#cccccc")
        below.set_yticks(range(len(labels)), [text for _, _, text in labels], fontsize=6)
        below.set_ylim(len(labels) - 0.4, -0.6)
        below.set_xticks([])
        below.grid(False)
    return drawn


def order(effects: dict[str, Effect]) -> list[str]:
    """Arms from the smallest effect to the largest, the default at 0 among them."""
    values = {name: effect.value for name, effect in effects.items()} | {OWN_MODEL: 0.0}
    return sorted(values, key=lambda name: values[name])


def _effects(panel: Axes, effects: dict[str, Effect], protocol: History, asked: int) -> None:
    for at, name in enumerate(order(effects)):
        if name == OWN_MODEL:
            panel.plot(at, 0, "o", ms=4, color=INK, mfc="white")
            continue
        value, low, high = effects[name].relative
        if not np.isnan(low):
            panel.plot([at, at], [low, high], color=QUIET, lw=0.9)
        panel.plot(at, value, "o", ms=2.8, color=INK)
    panel.axhline(0, color=INK, lw=0.7)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    missing = f"; {asked - len(effects)} without runs" if len(effects) < asked else ""
    panel.set_title(f"{HEADINGS[protocol]}{missing}", fontsize=7.5)
    if protocol == PROTOCOLS[0]:
        panel.set_ylabel(f"difference in {RULES.metric}", fontsize=7)
