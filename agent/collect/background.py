"""Questions to other programs, which may hang: each in a thread that can be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from agent.collect.ask import Pass, Reading, ask
from agent.model.values import Gap
from collectors.root import SysRoot

T = TypeVar("T")

_GIVEN_UP_SECONDS = 60.0
_MAX_ABANDONED = 4

_REMEDY = "look at the log of the program that is asked"


class BackgroundQueries:
    """The questions that are still out, from pass to pass.

    While a question has no answer yet it is not asked again: a hung daemon costs one thread, and not one a scrape. A peer that went away
    without a word may never answer, though its successor would: after 60 s the question is asked anew, and at most four threads are
    left behind like this.
    """

    def __init__(self) -> None:
        self._running: dict[str, tuple[threading.Thread, float]] = {}
        self._abandoned: list[threading.Thread] = []

    def start(self, source: str, run: Callable[[], None]) -> threading.Thread | None:
        """Run in a thread of its own; None while the last question to this source is still out."""
        previous, since = self._running.get(source, (None, 0.0))
        if previous is not None and previous.is_alive():
            self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
            if time.monotonic() - since < _GIVEN_UP_SECONDS or len(self._abandoned) >= _MAX_ABANDONED:
                return None
            self._abandoned.append(previous)
        # A daemon thread does not keep the process from ending.
        thread = threading.Thread(target=run, name=source, daemon=True)
        self._running[source] = (thread, time.monotonic())
        thread.start()
        return thread


def begin(current: Pass, source: str, read: Callable[[SysRoot], T], queries: BackgroundQueries) -> Callable[[float], T | None]:
    """Ask in the background. What is returned waits for the answer, at most until a deadline (time.monotonic), and gives it to the pass."""
    if not current.wants(source):
        return lambda _: None
    began = time.monotonic()
    readings: list[Reading[T]] = []
    thread = queries.start(source, lambda: readings.append(ask(current.root, source, read)))

    def wait(deadline: float) -> T | None:
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
        if readings:
            return current.add(source, readings[0])
        waited = time.monotonic() - began
        detail = "the question before this one is still out" if thread is None else f"no answer in {waited:.1f} s"
        return current.add(source, Reading[T](None, (Gap(source, "late", detail, _REMEDY),), waited, {}))

    return wait
