"""A second process of the same program: to switch to, or to calibrate while the first one serves. It starts no other program."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def forked(run: Callable[[], object]) -> int:
    """The child's pid. It ends with `run`, whatever comes of that, and with its parent. Call it before there are threads."""
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
