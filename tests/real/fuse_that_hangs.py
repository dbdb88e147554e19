"""A file system of one file, whose read does not return. Run by Debian's own interpreter, which has fusepy (python3-fusepy)."""

from __future__ import annotations

import errno
import stat
import sys
import time

import fusepy  # type: ignore[import-not-found]

HANGS = "/hangs"


class Hanging(fusepy.Operations):  # type: ignore[misc]
    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != HANGS:
            raise fusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": 4096}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", HANGS[1:]]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        time.sleep(3600)
        return b""


fusepy.FUSE(Hanging(), sys.argv[1], foreground=True, nothreads=False, ro=True)
