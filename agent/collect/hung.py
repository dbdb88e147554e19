"""A pass in a thread that can be left behind: a file whose read never returns costs that file, and no scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from collectors.root import LeftBehind, Reads, SysRoot

T = TypeVar("T")

_POLL_SECONDS = 0.25
_STILL = 6
"""So many times in a row nothing happens in a pass that hangs. It waits for other programs for a second at most."""
_MAX_LEFT = 8


class HungReads:
    """The reads that have not returned, from pass to pass: the thread that each has, by path. At most eight threads are left behind."""

    def __init__(self) -> None:
        self.threads: dict[str, threading.Thread] = {}

    def paths(self) -> tuple[str, ...]:
        """Those that are still out."""
        self.threads = {path: thread for path, thread in self.threads.items() if thread.is_alive()}
        return tuple(self.threads)


def supervised(root: SysRoot, run: Callable[[SysRoot], T], hung: HungReads) -> T:
    """`run` of the root in a thread. Where a read of it hangs, it is left behind, and runs again without that file: a gap, `late`."""
    while True:
        reads = Reads(hung.paths())
        view, answers = root.with_reads(reads), list[T]()
        # A daemon thread does not keep the process from ending.
        thread = threading.Thread(target=_answer, args=(run, view, answers), name="pass", daemon=True)
        thread.start()
        if not _ends(thread, reads) and len(hung.threads) < _MAX_LEFT:
            reads.is_left = True
            hung.threads[reads.path] = thread
            continue
        thread.join()
        if not answers:
            raise RuntimeError("a pass has failed: its traceback stands before this one")
        return answers[0]


def _answer(run: Callable[[SysRoot], T], root: SysRoot, answers: list[T]) -> None:
    with suppress(LeftBehind):
        answers.append(run(root))


def _ends(thread: threading.Thread, reads: Reads) -> bool:
    """Waits for the end of a thread; False where it hangs: it opens nothing, and the process takes no CPU time."""
    last, still = ("", 0.0), 0
    while still < _STILL:
        thread.join(_POLL_SECONDS)
        if not thread.is_alive():
            return True
        now = reads.path, round(time.process_time(), 1)
        still, last = still + 1 if now == last else 0, now
    return False
