"""Groups that the user says are workloads: by regular expressions that match the end of a path and name it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from agent.model.runtimes import PLAIN_GROUP
from collectors.cgroup.owner import Owner
from collectors.text import printable

MAX_PATH = 512
"""Characters of a path that is matched. A match takes up to the cube of them (`agent.config.workload_group`)."""
MAX_SECONDS = 0.25
"""CPU time in a pass; groups that are new after it wait for the next one."""
_PARTS = 4


class PointedOut:
    """The expressions, what one pass has spent on them, and the groups that have to wait."""

    def __init__(self, patterns: tuple[re.Pattern[str], ...]) -> None:
        self.patterns = patterns
        self.seconds = 0.0
        self.waiting: list[str] = []

    def owner(self, path: str) -> Owner | None:
        """Of a group that an expression matches: its name is what `name` matched, where that is something."""
        if not self.patterns or len(path) > MAX_PATH:
            return None
        if self.seconds > MAX_SECONDS:
            self.waiting.append(path)
            return None
        began = time.thread_time()
        matches = (pattern.fullmatch(path, start) for start in _starts(path) for pattern in self.patterns)
        name = next((match["name"] for match in matches if match and match["name"]), None)
        self.seconds += time.thread_time() - began
        return None if name is None else Owner(PLAIN_GROUP.name, printable(name), path, PLAIN_GROUP.paradigm)


def _starts(path: str) -> Iterator[int]:
    """Where an expression may begin to match: the path's start, and the last parts, with their slash and without."""
    start = len(path)
    for _ in range(_PARTS):
        start = path.rfind("/", 0, start)
        if start < 0:
            return
        yield from (start, start + 1)
    yield 0
