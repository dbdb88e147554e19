"""One question to one source: its answer, its gaps, how long it took, and when its counters were read."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from agent.collect.sources import SOURCES, remedy
from agent.model.values import Detail, Gap, ReadTimes
from collectors.root import Budget, SysRoot, Unavailable
from collectors.text import Malformed

T = TypeVar("T")

_REPORT = "report it with a recording (agent record DIR)"


class Reading(NamedTuple, Generic[T]):
    """What one source said, None where it said nothing, and in how many seconds. `gaps` are in the order in which they are shown."""

    value: T | None
    gaps: tuple[Gap, ...]
    seconds: float
    read_at: ReadTimes


def ask(root: SysRoot, source: str, read: Callable[[SysRoot], T]) -> Reading[T]:
    """Call one reader. One that breaks costs its own source and no other: whatever it raises becomes a gap."""
    view = root.watch()
    value, gaps = None, []
    for_root = root.live and os.geteuid() == 0 if root.mark is None else root.mark.by_root
    started = time.perf_counter()
    try:
        value = read(view)
    except Unavailable as error:
        gaps.append(Gap(source, error.reason, error.detail, remedy(source, error.reason, error.remedy, for_root=for_root)))
    except Malformed as error:
        view.malformed.append(error)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        gaps.append(Gap(source, "failed", f"{type(error).__name__}: {error} ({place})", _REPORT))
    # Of the lines that were not understood, and of the paths that were refused for one reason, the first stands for all.
    if view.malformed:
        count = sum(1 + error.more for error in view.malformed)
        gaps.append(Gap(source, "failed", f"{view.malformed[0]}{f' and {count - 1} more' if count > 1 else ''}", _REPORT))
    for reason in sorted({refusal.reason for refusal in view.refusals}):
        first, *others = (refusal for refusal in view.refusals if refusal.reason == reason)
        more = f" and {len(others)} more" if others else ""
        gaps.append(Gap(source, reason, f"{first.path}: {first.detail}{more}", remedy(source, reason, for_root=for_root)))
    return Reading(value, tuple(gaps), time.perf_counter() - started, view.read_times)


class Pass:
    """The questions of one pass over the sources. Adds up their gaps, their seconds and their read times.

    `ages` are those of the answers of other programs (seconds), by source: 0 of one that was given in this pass.
    `cpu_seconds` is the CPU time that its readers have for what others can make large; for metrics, each within `patience_seconds`.
    """

    def __init__(
        self,
        root: SysRoot,
        only: tuple[str, ...],
        detail: Detail = "document",
        cpu_seconds: float = 1.0,
        patience_seconds: float = math.inf,
    ) -> None:
        self.root = root
        self.only = only
        self.detail = detail
        self.cpu_seconds = cpu_seconds
        self.patience_seconds = patience_seconds if detail == "metrics" else math.inf
        self.gaps: list[Gap] = []
        self.seconds: dict[str, float] = {}
        self.ages: dict[str, float] = {}
        self.read_at: ReadTimes = {}

    def budget(self, share: float) -> Budget:
        """A share of the CPU time of the pass, for a reader that begins now."""
        return Budget(share * self.cpu_seconds, time.monotonic() + self.patience_seconds)

    def wants(self, source: str) -> bool:
        """Whether this pass asks a source at all: `only` names some, and some are for documents."""
        return (not self.only or source in self.only) and (self.detail == "document" or SOURCES[source].asked != "for documents")

    def ask(self, source: str, read: Callable[[SysRoot], T]) -> T | None:
        """What the source says; None where it says nothing, or is not asked."""
        return self.add(source, ask(self.root, source, read)) if self.wants(source) else None

    def add(self, source: str, reading: Reading[T]) -> T | None:
        """Take in a reading, wherever it was made."""
        self.gaps += reading.gaps
        self.seconds[source] = reading.seconds
        self.read_at |= reading.read_at
        return reading.value
