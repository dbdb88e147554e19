"""The workload that the user names, for explain and what-if."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import fail
from agent.cli.root import open_root
from agent.cli.waiting import wait

if TYPE_CHECKING:
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
    from agent.model.workload import matching

    matches = matching(workloads, word)
    if len(matches) != 1:
        fail(2, _no_single_match(word, matches, workloads))
    return matches[0]


def _no_single_match(word: str, matches: Sequence[Workload], workloads: Sequence[Workload]) -> str:
    """Why a word names no single workload, and which ones there are to choose from."""
    from agent.model.values import safe

    if matches:
        problem = f"{safe(word)} matches {len(matches)} workloads:"
    else:
        problem = f"{safe(word)}: no such workload; {'there are' if workloads else 'none was found'}"
    candidates = matches or workloads
    lines = [f"  {safe(candidate.name)}  {candidate.paradigm}  {safe(candidate.id)}" for candidate in candidates[:LISTED_WORKLOADS]]
    if len(candidates) > LISTED_WORKLOADS:
        lines.append(f"  and {len(candidates) - LISTED_WORKLOADS} more")
    return "\n".join([problem, *lines])
