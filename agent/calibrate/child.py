"""A forked process of the same program: to switch to, or to calibrate while the first one serves. No other program is started."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def forked(run: Callable[[], object]) -> int:
    """The PID of a forked child that calls `run` and exits, also if `run` raises or the parent dies. Call it before there are threads."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            run()
        os._exit(0)
    finally:
        os._exit(1)
