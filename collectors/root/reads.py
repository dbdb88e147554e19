"""Which file a pass reads, for whoever waits for it, and which files it must not read, as a read of them has not returned.

A read may never return where a file system of a user's own (FUSE) stands behind it: of a file in a foreign tree, and of a process' memory,
in which such a file may be mapped. The kernel reads a command line out of that memory, and holds the lock of its map meanwhile.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection

# What waits for the lock of a process' memory map (fs/proc/base.c, task_mmu.c).
_OF_MEMORY = ("cmdline", "environ", "maps", "numa_maps", "smaps", "smaps_rollup")
_PROCESS_MEMORY = re.compile(rf"proc/(\d+)/(?:{'|'.join(_OF_MEMORY)}|task/.*)")


class LeftBehind(SystemExit):
    """The pass is over, and its thread ends: nobody waits for what it would still read."""


class Reads:
    """The reads of one pass. `path` is what was opened last; `hung` are the files that did not return, of which none is opened again."""

    def __init__(self, hung: Collection[str] = ()) -> None:
        self.path = ""
        self.is_left = False
        self.refused = frozenset(path for one in hung for path in _beside(one))
        self.directories = tuple(path for path in self.refused if path.endswith("/"))

    def begin(self, path: str) -> None:
        """Say what is opened next. Raises OSError (ETIMEDOUT) where a read of it, or beside it, has not returned."""
        if self.is_left:
            raise LeftBehind
        self.path = path
        if self.refused and (path in self.refused or path.startswith(self.directories)):
            raise OSError(errno.ETIMEDOUT, "a read of it has not returned")


def _beside(path: str) -> tuple[str, ...]:
    """What hangs with a file: what needs the same memory map, or stands in the same directory; its own path where that is a large one."""
    match = _PROCESS_MEMORY.fullmatch(path)
    if match is not None:
        return tuple(f"proc/{match[1]}/{name}" for name in _OF_MEMORY)
    directory = path.rpartition("/")[0]
    return (path, f"{directory}/") if "/" in directory else (path,)
