"""The style of every picture: one style document, one colour for a method, readable in grey.

Colours are from Okabe and Ito's palette and Paul Tol's "muted", which people with colour-blindness
tell apart; line style and marker say the same again for print in grey.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmark.files import atomic_file

STYLE = Path(__file__).parent / "figures.mplstyle"

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Inches."""

INK, QUIET, FAINT = "#222222", "#767676", "#d9d9d9"
TEXT_COLOUR, IMAGE_COLOUR, ID_COLOUR = "#0072B2", "#D55E00", "#117733"

FORMATS: tuple[Literal["svg", "pdf", "png"], ...] = ("svg", "pdf", "png")


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
    "BERT4Rec": MethodStyle("#56B4E9", _DASH, "s"),
    "GRU4Rec": MethodStyle("#44AA99", _DOT, "^"),
    "SMLP4Rec": MethodStyle("#117733", _LONG, "v"),
    "Mamba4Rec": MethodStyle("#0072B2", "-", "D"),
    "SASRec (MM)": MethodStyle("#7A6FC2", _DASH, "o"),
    "Mamba4Rec (MM)": MethodStyle("#4B9CD3", _DASH, "D"),
    "NOVA": MethodStyle("#B89B2E", "-", "P"),
    "UniSRec": MethodStyle("#AA4499", _DASH, "X"),
    "IISAN": MethodStyle("#882255", _DOT, "<"),
    "MMMLP": MethodStyle("#7F7F2A", _LONG, ">"),
    "FindRec": MethodStyle("#D55E00", "-", "*"),
}

_OTHERS = ("#4d4d4d", "#7a7a7a", "#a0a0a0", "#5e5e5e", "#8c8c8c", "#b3b3b3")
_OTHER_MARKERS = ("d", "p", "h", "8", "H", "s")


def method_style(method: str) -> MethodStyle:
    """The same for a method in every picture; greys for controls and rows of the user's own."""
    if method in METHOD_STYLES:
        return METHOD_STYLES[method]
    at = sum(method.encode())
    return MethodStyle(_OTHERS[at % len(_OTHERS)], _DOT, _OTHER_MARKERS[at % len(_OTHER_MARKERS)])


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


def save(drawn: Figure, folder: Path, name: str) -> list[Path]:
    """Write folder/NAME.{svg,pdf,png}, each whole or not at all; equal pictures give equal bytes
    but for the PNG's compression."""
    paths = []
    epoch = datetime(2025, 8, 3, tzinfo=UTC)
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": epoch, "ModDate": epoch},
        "png": {},
    }
    for suffix in FORMATS:
        path = folder / f"{name}.{suffix}"
        with atomic_file(path) as temporary:
            drawn.savefig(temporary, format=suffix, metadata=metadata[suffix])
        paths.append(path)
    return paths
