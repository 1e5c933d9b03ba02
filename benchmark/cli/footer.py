"""Lines that stay at the foot of a terminal while other lines are printed above them.

Of rich's `Live` it differs in three ways: the lines are made for the size that the terminal has
now, so that none is cut off at the foot; after the terminal got narrower, the rows that the old
lines have become are erased, not only as many as there were; and nothing is drawn from a second
thread.
"""

from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text


class Footer(RenderHook):
    """Used as a context manager; does nothing where the console is no terminal.

    lines: (columns, rows) -> at most so many rows, none wider than the columns.
    """

    def __init__(self, console: Console, lines: Callable[[int, int], Sequence[Text]]) -> None:
        self.console, self.lines = console, lines
        self.shown = console.is_terminal and not console.is_dumb_terminal
        self.drawn: list[int] = []
        """Widths of the lines on the screen."""

    def __enter__(self) -> "Footer":
        if self.shown:
            self.console.show_cursor(False)
            self.console.push_render_hook(self)
            self.draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.shown:
            self.console.pop_render_hook()
            self.console.control(self._erase())
            self.console.show_cursor(True)
            self.drawn = []

    def draw(self) -> None:
        """Draw the lines anew."""
        if self.shown:
            self.console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Called by rich for whatever is printed: it goes above the lines."""
        erase = self._erase()
        # One column and one row are left free: a full last column makes some terminals wrap, and a
        # full screen would scroll.
        columns, rows = self.console.size
        lines = self.lines(columns - 1, rows - 1)
        self.drawn = [line.cell_len for line in lines]
        foot = Text("\n", style="default", no_wrap=True, overflow="ignore", end="").join(lines)
        return [erase, *renderables, foot]

    def _erase(self) -> Control:
        """The cursor stands at the end of the last line that was drawn; afterwards at the start of
        the first, with nothing under it."""
        if not self.drawn:
            return Control()
        columns = self.console.size.width
        rows = sum(max(-(-width // columns), 1) for width in self.drawn)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        return Control(
            ControlType.CARRIAGE_RETURN,
            (ControlType.ERASE_IN_LINE, 2),
            *(up * (rows - 1)),
        )
