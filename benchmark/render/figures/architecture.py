"""Figure 1: FindRec as it is built, drawn from a model's own modules.

Boxes, class names, sizes and parameter counts are read from the instance; only where a box stands
and which way the data flows is written here, and follows `FindRec.forward`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from benchmark.data.bundle import load_bundle
from benchmark.plan import OWN_MODEL
from benchmark.render.document import count
from benchmark.render.figures.style import (
    ID_COLOUR,
    IMAGE_COLOUR,
    INK,
    OWN_PART_COLOUR,
    QUIET,
    TEXT_COLOUR,
    TWO_COLUMNS,
    figure,
)
from benchmark.settings.registry import Profile
from benchmark.settings.resolve import resolve
from findrec.model import FindRec

_STREAM_COLOURS = {"id": ID_COLOUR, "text": TEXT_COLOUR, "image": IMAGE_COLOUR}
_ROWS = {"id": 2.45, "text": 1.35, "image": 0.25}
_HEIGHT, _WIDTH = 0.62, 1.42


@dataclass(frozen=True)
class Part:
    """A module of the model as a box."""

    path: str
    """Its name in the module tree."""
    title: str
    detail: str
    parameters: int


def model_of(dataset: str, profile: Profile, data: Path | None) -> FindRec:
    """FindRec as the profile configures it for a dataset, untrained. data: folder of bundles."""
    config = resolve(OWN_MODEL, dataset, profile).config
    return FindRec(config, load_bundle(dataset, root=data).catalogue())


def parts(model: FindRec) -> list[Part]:
    """The model's modules down to the level that the figure shows. Every parameter of the model is
    in exactly one of them."""
    found = []
    for path, module in model.named_children():
        if isinstance(module, nn.ModuleDict):
            found += [_part(model, f"{path}.{name}", child) for name, child in module.items()]
        else:
            found.append(_part(model, path, module))
    return found


def _part(model: FindRec, path: str, module: nn.Module) -> Part:
    config = model.config
    name = path.rpartition(".")[2]
    details = {
        "ItemEmbedding": f"{count(model.items.weight.shape[0] - 1)} items × {config.dim}",
        "FeatureProjection": f"{_inputs(module)} → {config.align_dim}",
        "Stream": f"{_blocks(module)} Mamba blocks × {_width(module)}",
        "CrossAttention": f"{config.heads} heads over {config.attention}",
        "ExpertRouting": f"{config.experts} experts, {config.heads} heads",
        "Fusion": f"FFN to {config.dim}",
    }
    titles = {
        "ItemEmbedding": "Item embedding",
        "FeatureProjection": f"{name.capitalize()} projection",
        "Stream": f"{'ID' if name == 'id' else name.capitalize()} stream",
        "CrossAttention": "Cross-attention",
        "ExpertRouting": "Expert routing",
    }
    kind = type(module).__name__
    parameters = sum(p.numel() for p in module.parameters())
    return Part(path, titles.get(kind, kind), details.get(kind, ""), parameters)


def _inputs(module: nn.Module) -> int:
    return next((m.in_features for m in module.modules() if isinstance(m, nn.Linear)), 0)


def _blocks(module: nn.Module) -> int:
    return len(getattr(module, "blocks", ()))


def _width(module: nn.Module) -> int:
    norm = getattr(module, "norm", None)
    return norm.normalized_shape[0] if isinstance(norm, nn.LayerNorm) else 0


def draw_architecture(model: FindRec, dataset: str) -> Figure:
    """The whole model above; a Mamba block and the router with its experts below.

    dataset: its title, for the caption. A modality that the model was built without has no boxes.
    """
    drawn = figure(TWO_COLUMNS, 4.3)
    top, bottom = drawn.subfigures(2, 1, height_ratios=[3.25, 1.25], hspace=0.0)  # type: ignore[misc]
    total = count(sum(p.numel() for p in model.parameters()))
    axes = _canvas(top.subplots(), (-0.05, 9.55), (0.05, 3.3))
    axes.set_title(f"FindRec on {dataset}: {total} parameters", fontsize=9)
    _draw_model(axes, model)
    left, right = bottom.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1]})
    (block, *_) = model.streams["id"].blocks  # type: ignore[misc]
    _draw_chain(left, block, "One Mamba block of a stream")
    if hasattr(model, "routing"):
        _draw_routing(right, model)
    else:
        right.set_axis_off()
    return drawn


def _canvas(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> Axes:
    axes.set(xlim=x, ylim=y)
    axes.set_axis_off()
    return axes


def _draw_model(axes: Axes, model: FindRec) -> None:
    found = {part.path: part for part in parts(model)}
    columns = {"in": 0.0, "embed": 1.4, "stream": 3.2, "attend": 5.15, "route": 6.85, "fuse": 8.3}
    centre = {}
    for name, y in _ROWS.items():
        colour = _STREAM_COLOURS[name]
        embed = "items" if name == "id" else f"features.{name}"
        if embed not in found:
            continue
        label = {"id": "item ids", "text": "text features", "image": "image features"}[name]
        axes.text(columns["in"] + 1.08, y + _HEIGHT / 2, label, ha="right", va="center", color=INK)
        _arrow(axes, (columns["in"] + 1.14, y + _HEIGHT / 2), (columns["embed"], y + _HEIGHT / 2))
        _box(axes, columns["embed"], y, found.pop(embed), colour)
        _arrow(
            axes,
            (columns["embed"] + _WIDTH, y + _HEIGHT / 2),
            (columns["stream"], y + _HEIGHT / 2),
        )
        _box(axes, columns["stream"], y, found.pop(f"streams.{name}"), colour)
        centre[name] = (columns["stream"] + _WIDTH, y + _HEIGHT / 2)
        symbol = {"id": "$z_{id}$", "text": "$z_{txt}$", "image": "$z_{img}$"}[name]
        axes.text(centre[name][0] + 0.06, centre[name][1] + 0.07, symbol, fontsize=7.5)
    middle = (_ROWS["text"] + _ROWS["image"]) / 2
    modalities = [name for name in ("text", "image") if name in centre]
    fuse_y = (_ROWS["id"] + middle) / 2
    if len(modalities) == 2:
        _box(axes, columns["attend"], middle, found.pop("attention"), "#555555", width=1.35)
        for name in modalities:
            _elbow(axes, centre[name], (columns["attend"], middle + _HEIGHT / 2), 0.36)
        _arrow(
            axes,
            (columns["attend"] + 1.35, middle + _HEIGHT / 2),
            (columns["route"], middle + _HEIGHT / 2),
            "$O$",
        )
    elif modalities:
        _elbow(axes, centre[modalities[0]], (columns["route"], middle + _HEIGHT / 2), 0.5)
    if model.coordinated:
        _loss(axes, columns["stream"] + _WIDTH / 2, model)
    if "routing" in found:
        _box(axes, columns["route"], middle, found.pop("routing"), OWN_PART_COLOUR, width=1.2)
        _elbow(
            axes,
            (columns["route"] + 1.2, middle + _HEIGHT / 2),
            (columns["fuse"], fuse_y + _HEIGHT / 2 - 0.12),
            0.12,
        )
    _elbow(axes, centre["id"], (columns["fuse"], fuse_y + _HEIGHT / 2 + 0.12), 3.55)
    _box(axes, columns["fuse"], fuse_y, found.pop("fusion"), "#555555", width=1.2)
    below = fuse_y - 0.62
    _arrow(axes, (columns["fuse"] + 0.6, fuse_y), (columns["fuse"] + 0.6, below + 0.26), "$S$")
    axes.text(
        columns["fuse"] + 0.6,
        below + 0.17,
        "scores: inner product\nwith every item's $e_{id}$",
        ha="center",
        va="top",
        fontsize=6.5,
    )
    for at, part in enumerate(found.values()):  # switches that add a module: readings of the paper
        _box(axes, columns["attend"] + 1.2 * at, 0.0, part, QUIET, width=1.0)


def _box(axes: Axes, x: float, y: float, part: Part, colour: str, width: float = _WIDTH) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=f"{colour}14",
            edgecolor=colour,
            linewidth=0.9,
        )
    )
    centre = x + width / 2
    axes.text(centre, y + 0.46, part.title, ha="center", va="center", weight="bold", fontsize=7)
    axes.text(centre, y + 0.285, part.detail, ha="center", va="center", fontsize=5.8)
    size = f"{count(part.parameters)} parameters" if part.parameters else "no parameters"
    axes.text(centre, y + 0.13, size, ha="center", va="center", fontsize=6, color=QUIET)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str = ""
) -> None:
    style = {"arrowstyle": "-|>", "color": "#555555", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style | {"mutation_scale": 7})
    if label:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        vertical = start[0] == end[0]
        axes.text(x + 0.06 * vertical, y + 0.07 * (not vertical), label, fontsize=7.5, ha="center")


def _elbow(axes: Axes, start: tuple[float, float], end: tuple[float, float], before: float) -> None:
    """Right, then up or down, then right again into the box."""
    turn = start[0] + before
    axes.plot([start[0], turn, turn], [start[1], start[1], end[1]], color="#555555", lw=0.8)
    _arrow(axes, (turn, end[1]), end)


def _loss(axes: Axes, x: float, model: FindRec) -> None:
    """IICM stands between the text and the image stream; it has no parameters."""
    low, high = _ROWS["image"] + _HEIGHT, _ROWS["text"]
    arrow = {"arrowstyle": "<|-|>", "color": OWN_PART_COLOUR, "lw": 0.9, "ls": (0, (3, 1.5))}
    axes.annotate("", (x, high), (x, low), arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0})
    text = f"IICM, λ = {model.config.iicm_weight:g}\n−E[K] and entropy"
    style: dict[str, Any] = {
        "ha": "right",
        "va": "center",
        "fontsize": 6.5,
        "color": OWN_PART_COLOUR,
    }
    axes.text(x - 0.08, (low + high) / 2, text, **style)


def _draw_chain(axes: Axes, module: nn.Module, title: str) -> None:
    """The children of a module that have parameters, one after another."""
    axes = _canvas(axes, (-0.1, 4.4), (-0.05, 1.1))
    axes.set_title(title, fontsize=7.5)
    items: list[tuple[str, int]] = []
    for name, child in module.named_children():
        grandchildren = [(n, g) for n, g in child.named_children() if _size(g)]
        if len(grandchildren) > 1:
            items += [(n, _size(g)) for n, g in grandchildren]
            own = sum(p.numel() for p in child.parameters(recurse=False))
            items.insert(-1, ("scan", own))
        elif _size(child):
            items.append((name, _size(child)))
    step = 4.3 / max(len(items), 1)
    for at, (name, size) in enumerate(items):
        _small_box(
            axes, at * step, 0.42, step - 0.12, name.replace("_", " "), count(size), ID_COLOUR
        )
        if at:
            _arrow(axes, (at * step - 0.12, 0.62), (at * step, 0.62))
    scale = getattr(module, "alpha", None)
    if isinstance(scale, nn.Parameter):
        y = 0.2
        axes.plot([-0.06, -0.06, 4.24], [0.62, y, y], color="#555555", lw=0.8)
        _arrow(axes, (4.24, y), (4.24, 0.42))
        text = f"residual, scaled by α ({count(scale.numel())})"
        axes.text(2.1, y - 0.05, text, ha="center", va="top", fontsize=6.5, color=QUIET)


def _draw_routing(axes: Axes, model: FindRec) -> None:
    axes = _canvas(axes, (-0.1, 4.4), (-0.05, 1.1))
    axes.set_title("Expert routing, in every head", fontsize=7.5)
    routing = model.routing
    axes.text(0.0, 0.62, "$O^h$", va="center")
    experts = f"{routing.n_experts} experts"
    _small_box(axes, 0.9, 0.66, 1.3, experts, count(_size(routing.experts)), OWN_PART_COLOUR)
    _arrow(axes, (0.28, 0.64), (0.9, 0.84))
    if routing.router is not None:
        _small_box(
            axes, 0.9, 0.1, 1.3, "router, softmax", count(_size(routing.router)), OWN_PART_COLOUR
        )
        _arrow(axes, (0.28, 0.6), (0.9, 0.28))
        _arrow(axes, (2.2, 0.28), (2.72, 0.56), "$g^h$")
    _arrow(axes, (2.2, 0.84), (2.72, 0.66))
    axes.text(2.78, 0.61, r"$\sum_k g^h_k\,\mathrm{Expert}_k(O^h)$", va="center", fontsize=8)


def _small_box(
    axes: Axes, x: float, y: float, width: float, title: str, size: str, colour: str
) -> None:
    box: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.05", "lw": 0.8}
    axes.add_patch(
        FancyBboxPatch((x, y), width, 0.38, facecolor=f"{colour}14", edgecolor=colour, **box)
    )
    axes.text(x + width / 2, y + 0.25, title, ha="center", va="center", fontsize=6)
    axes.text(x + width / 2, y + 0.11, size, ha="center", va="center", fontsize=5.5, color=QUIET)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
