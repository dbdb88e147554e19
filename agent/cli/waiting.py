"""The time between two passes, with a bar on a terminal where it is long."""

from __future__ import annotations

import time

LONG_SECONDS = 2.0
_STEP_SECONDS = 0.25


def wait(seconds: float) -> None:
    """Returns after so many seconds."""
    if seconds < LONG_SECONDS:
        time.sleep(seconds)
        return
    from agent.calibrate.progress import progress

    began = time.monotonic()
    with progress() as show:
        while (left := began + seconds - time.monotonic()) > 0:
            show("between passes", 1 - left / seconds)
            time.sleep(min(left, _STEP_SECONDS))
