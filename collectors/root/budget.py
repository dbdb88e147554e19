"""The CPU time that one pass may spend on what others can make large: maps of processes, programs, groups and threads."""

from __future__ import annotations

import math
import time
from typing import Self

# Not infinite: what is spent of it is a difference.
_ENDLESS = 1e9


class OverBudget(Exception):
    """What is being read takes more CPU time than is left."""


class Budget:
    """CPU seconds of the thread of one pass. What is done within a `with` of it counts, and none is left after `until` (time.monotonic).

    Without `seconds` it is never spent. To ask costs half a microsecond.
    """

    def __init__(self, seconds: float = _ENDLESS, until: float = math.inf) -> None:
        self._left = seconds
        self._until = until
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._left -= time.thread_time() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left, within a `with`."""
        return min(self._left - (time.thread_time() - self._began), self._until - time.monotonic())

    @property
    def is_spent(self) -> bool:
        return self.left <= 0

    def check(self) -> None:
        """Raises OverBudget where nothing is left."""
        if self.left <= 0:
            raise OverBudget
