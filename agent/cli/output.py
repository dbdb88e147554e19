"""How a verb ends: a document on standard output, or one line on standard error and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agent.model.values import Fact

PIPE_COLUMNS = 100
"""The width of text where no terminal says its own."""


def write(document: bytes) -> int:
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


def text_width(parsed: argparse.Namespace) -> int | None:
    """The width to break lines at; None: the terminal's."""
    width: int | None = parsed.width
    return width or (None if sys.stdout.isatty() else PIPE_COLUMNS)


def show(parsed: argparse.Namespace, record: Fact, view: Callable[..., bytes]) -> int:
    """Writes a record as JSON where --json was given, else as text."""
    if parsed.json:
        from exporters.views import json

        return write(json.render(record))
    return write(view(record, width=text_width(parsed), terminal=sys.stdout.isatty(), encoding=sys.stdout.encoding))


def fail(code: int, message: str) -> NoReturn:
    """Ends with a message on stderr, in which the names that others chose are made safe for a terminal."""
    from agent.model.values import safe

    lines = "\n".join(safe(line) for line in message.split("\n"))
    print(f"agent: {lines}", file=sys.stderr)
    raise SystemExit(code)
