"""The workload that the user names, for explain and what-if."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import fail
from agent.cli.root import open_root
from agent.cli.waiting import wait

if TYPE_CHECKING:
    from agent.model.names import NameIndex
    from agent.model.workload import Workload
    from agent.overhead.window import Window

LISTED_WORKLOADS = 20
"""An error lists at most so many workloads."""


def window_and_workload(parsed: argparse.Namespace) -> tuple[Window, Workload]:
    """The one workload that matches, in the window that a snapshot would be about; exit code 2 where none or several match."""
    from agent.session import Session, take_window

    config = arguments.config(parsed)
    window = take_window(Session(root=open_root(config), config=config), wait)
    return window, one_workload(window.after.workloads, parsed.workload)


def one_workload(workloads: Sequence[Workload], word: str) -> Workload:
    """The one workload that a word names; exit code 2 where it names none or several."""
    from agent.model import names

    index = names.index(workloads)
    matches = index.matching(word)
    if len(matches) != 1:
        fail(2, _no_single_match(index, word, matches))
    return matches[0]


def _no_single_match(index: NameIndex, word: str, matches: Sequence[Workload]) -> str:
    """Why a word names no single workload, and which ones there are to choose from, each with a word that names it alone."""
    from agent.model.values import safe

    if matches:
        problem, rows = f"{safe(word)} matches {len(matches)} workloads:", [(index.word_for(match), match) for match in matches]
    elif rows := index.nearest(word):
        problem = f"{safe(word)}: no such workload; the nearest names:"
    else:
        rows = [(index.word_for(workload), workload) for workload in index.workloads]
        problem = f"{safe(word)}: no such workload; {'there are' if rows else 'none was found'}"
    lines = [_row(suggestion, workload) for suggestion, workload in rows[:LISTED_WORKLOADS]]
    if len(rows) > LISTED_WORKLOADS:
        lines.append(f"  and {len(rows) - LISTED_WORKLOADS} more")
    return "\n".join([problem, *lines])


def _row(word: str, workload: Workload) -> str:
    """The word as a shell takes it, and whom it names."""
    from agent.model.values import safe

    name = () if quote(word) == workload.name else (safe(workload.name),)
    return "  ".join(("", quote(word), *name, workload.paradigm, safe(workload.id)))
