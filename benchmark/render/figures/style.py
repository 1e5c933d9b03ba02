"""The style of every picture: one style document, one colour for a method, readable in grey.

Any two colours of one of `PALETTES` are told apart with normal vision, protanopia and deuteranopia
(tests/benchmark/render/test_palettes.py measures it). Marker, line style or hatch say the same
again, for print in grey and for whom the colours are too close all the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke

from benchmark.files import atomic_file

STYLE = Path(__file__).parent / "figures.mplstyle"

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Inches."""

INK, QUIET, FAINT = "#222222", "#767676", "#d9d9d9"
TEXT_COLOUR, IMAGE_COLOUR, ID_COLOUR = "#0072B2", "#D55E00", "#009E73"
OWN_PART_COLOUR = "#882255"
"""Of the parts that the paper adds: IICM and routing."""

BETTER, WORSE, NEITHER = "#0072B2", "#D55E00", "#4d4d4d"
"""FindRec against another row."""
ALIKE = "#E8E8E8"
"""Of the users whom both serve alike; a fill, never a line."""

SERIES = ("#D55E00", "#0072B2", QUIET)
"""Of a sweep: test, another cut-off or protocol, validation."""

BEFORE, AFTER = QUIET, "#332288"
"""Training."""

EXPERT_COLOURS = ("#0072B2", "#D55E00", "#332288", "#88CCEE", "#DDCC77", "#444444")
"""In turn; with more experts line style and hatch tell them apart."""
EXPERT_LINES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
EXPERT_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "oooo")

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = ("svg", "pdf", "png")


@dataclass(frozen=True)
class MethodStyle:
    """Colour, line and marker of a method in every picture."""

    colour: str
    line: Any
    marker: str

    def line_kwargs(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker}


_DASH, _DOT, _LONG = (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5))

METHOD_STYLES = {
    "SASRec": MethodStyle("#332288", "-", "o"),
    "BERT4Rec": MethodStyle("#23C4FF", _DASH, "s"),
    "GRU4Rec": MethodStyle("#8B4B17", _DOT, "^"),
    "SMLP4Rec": MethodStyle("#418A75", _LONG, "v"),
    "Mamba4Rec": MethodStyle("#186A8A", "-", "D"),
    "SASRec (MM)": MethodStyle("#6B6EE7", _DASH, "o"),
    "Mamba4Rec (MM)": MethodStyle("#5099CF", _DASH, "D"),
    "NOVA": MethodStyle("#1AB99D", "-", "P"),
    "UniSRec": MethodStyle("#593BC1", _DASH, "X"),
    "IISAN": MethodStyle("#7B1A48", _DOT, "<"),
    "MMMLP": MethodStyle("#97BB43", _LONG, ">"),
    "FindRec": MethodStyle("#D55E00", "-", "*"),
}

_OTHERS = ("#4d4d4d", "#7a7a7a", "#a0a0a0", "#5e5e5e", "#8c8c8c", "#b3b3b3")
_OTHER_MARKERS = ("d", "p", "h", "8", "H", "s")

FIT_COLOURS = {"compatible": "#0B5D24", "undecided": "#B8860B"}
"""Of verdicts on a hypothesis about the protocol; others are grey."""

PALETTES: Mapping[str, Sequence[str]] = {
    "methods": tuple(style.colour for style in METHOD_STYLES.values()),
    "experts": EXPERT_COLOURS,
    "parts of the model": (TEXT_COLOUR, IMAGE_COLOUR, ID_COLOUR, OWN_PART_COLOUR),
    "against another row": (BETTER, WORSE, NEITHER),
    "users": (BETTER, ALIKE, WORSE),
    "series of a sweep": SERIES,
    "training": (BEFORE, AFTER),
    "fits": (*FIT_COLOURS.values(), QUIET),
}
"""Colours that stand beside one another in some picture."""


def method_style(method: str) -> MethodStyle:
    """The same for a method in every picture; greys for controls and rows of the user's own."""
    if method in METHOD_STYLES:
        return METHOD_STYLES[method]
    at = sum(method.encode())
    return MethodStyle(_OTHERS[at % len(_OTHERS)], _DOT, _OTHER_MARKERS[at % len(_OTHER_MARKERS)])


def halo(width: float) -> list[AbstractPathEffect]:
    """A white rim, so that a line of this width is seen on a dark fill."""
    return [Stroke(linewidth=width + 1.6, foreground="white"), Normal()]


@contextmanager
def styled() -> Iterator[None]:
    """The style document, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.style.use(STYLE)
        yield


def figure(width: float, height: float) -> Figure:
    """A figure without pyplot's global state; call it inside `styled`."""
    drawn = Figure(figsize=(width, height))
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Figure, folder: Path, name: str, formats: Sequence[Format] = FORMATS) -> list[Path]:
    """Write folder/NAME.{svg,pdf,png}, each whole or not at all; equal pictures give equal bytes
    but for the PNG's compression."""
    paths = []
    epoch = datetime(2025, 8, 3, tzinfo=UTC)
    metadata: dict[Format, dict[str, Any]] = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": epoch, "ModDate": epoch},
        "png": {},
    }
    for suffix in formats:
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as temporary:
            drawn.savefig(temporary, format=suffix, metadata=metadata[suffix])
        paths.append(path)
    return paths
