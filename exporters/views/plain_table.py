"""Tables of thousands of rows, a line each: what is too long is cut, and no name can do anything to a terminal.

Rich's own tables look at each cell several times, and wrap; they take a minute where this takes a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from agent.model.values import safe


class Lines(Struct, frozen=True):
    """Lines of text that are as wide as they may be, each with its style."""

    lines: Sequence[tuple[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        styles = {name: Style.parse(name) for name in {style for _, style in self.lines}}
        for text, style in self.lines:
            yield Segment(text, styles[style])
            yield Segment.line()


def shown(text: str, ascii_only: bool) -> str:
    """Text that a terminal prints as it stands, in an encoding that has it."""
    text = safe(text)
    return text if not ascii_only or text.isascii() else text.encode("ascii", "backslashreplace").decode()


def wide(text: str) -> int:
    """How many cells of a terminal it takes."""
    return len(text) if text.isascii() else cell_len(text)


def padded(text: str, width: int, right: bool, ascii_only: bool) -> str:
    """Exactly so wide: blanks are added, or the end is cut and marked."""
    taken = wide(text)
    if taken > width:
        mark = ("." if ascii_only else "…") if width > 1 else ""
        return set_cell_size(text, width - len(mark)) + mark
    blanks = " " * (width - taken)
    return blanks + text if right else text + blanks


def table(
    heads: Sequence[str],
    rights: Sequence[bool],
    widths: Sequence[int],
    rows: Iterable[tuple[Sequence[str], str]],
    ascii_only: bool,
    gap: int,
) -> Lines:
    """Rows are cells that are `shown` text, with the style of the line."""
    between = " " * gap

    def joined(cells: Sequence[str]) -> str:
        return between.join(map(padded, cells, widths, rights, [ascii_only] * len(widths))).rstrip()

    return Lines([(joined(heads), "dim"), *((joined(cells), style) for cells, style in rows)])
