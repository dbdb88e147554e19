"""Opening below a root directory and never outside of it, by openat2(2) with RESOLVE_BENEATH.

A root is a directory's descriptor, or `HOST` for this host's own "/", where the kernel's files lie and nothing is confined.
Every function raises OSError as the kernel gives it; descriptors are closed across exec.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import cache

HOST = -1

_OPENAT2 = 437  # the same number on every architecture (include/uapi/asm-generic/unistd.h), since Linux 5.6
_TRIES = 1000  # EAGAIN: something was mounted or renamed, anywhere, while a link led through ".." (openat2(2))
_RESOLVE_BENEATH = 0x08  # include/uapi/linux/openat2.h; refuses magic links, too
_RESOLVE_NO_LINKS_NOR_MOUNTS = 0x01 | 0x04  # RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS

USERS = "run/user/"
"""Below it, each user's directory is all that user's: links, FIFOs, and file systems that never answer (FUSE)."""


def open_below(root_fd: int, path: str, flags: int) -> int:
    """A path relative to the root. EXDEV for "..", absolute paths and links that would lead outside.

    What lies in a user's directory is opened without following a link (ELOOP) or entering a mount (EXDEV).
    """
    if path.startswith(USERS):
        user, _, below = path.removeprefix(USERS).partition("/")
        if below:
            return _open_of_user(root_fd, USERS + user, below, flags)
    if root_fd == HOST:
        return os.open("/" + path, flags | os.O_CLOEXEC)
    # A FIFO in a foreign tree would block until somebody writes. openat2() refuses O_PATH with flags it would ignore.
    return _openat2()(root_fd, path, flags | _without_blocking(flags), _RESOLVE_BENEATH)


def _open_of_user(root_fd: int, user: str, path: str, flags: int) -> int:
    directory = open_below(root_fd, user, os.O_PATH | os.O_DIRECTORY)
    try:
        return _openat2()(directory, path, flags | _without_blocking(flags), _RESOLVE_BENEATH | _RESOLVE_NO_LINKS_NOR_MOUNTS)
    finally:
        os.close(directory)


def _without_blocking(flags: int) -> int:
    return os.O_CLOEXEC | (0 if flags & os.O_PATH else os.O_NONBLOCK)


def open_in(directory_fd: int, name: str) -> int:
    """A file in an open directory, to be read. A name without a path leads nowhere else, unless it is a link: ELOOP.

    Not blocking, as a FIFO in a foreign tree would block.
    """
    return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)


def open_kernel_link(root_fd: int, path: str) -> tuple[int, os.stat_result]:
    """The regular file that one of procfs' own links leads to (exe, map_files/, fd/), to be read; it may lie outside the root.

    Its type is checked before it is opened for reading: to open a device or a FIFO has effects.
    """
    directory, _, name = path.rpartition("/")
    opened = [open_below(root_fd, directory, os.O_PATH | os.O_DIRECTORY)]
    try:
        opened.append(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=opened[0]))
        status = os.fstat(opened[1])
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.open(f"/proc/self/fd/{opened[1]}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), status
    finally:
        for fd in opened:
            os.close(fd)


@cache
def _openat2() -> Callable[[int, str, int, int], int]:
    """The system call, which the C library has no function for. ctypes is imported where a tree is read that is not the kernel's."""
    import ctypes

    class OpenHow(ctypes.Structure):
        _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

    libc = ctypes.CDLL(None, use_errno=True)

    def openat2(root_fd: int, path: str, flags: int, resolve: int) -> int:
        how = OpenHow(flags, 0, resolve)
        for _ in range(_TRIES):
            fd: int = libc.syscall(_OPENAT2, root_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                return fd
            if (number := ctypes.get_errno()) != errno.EAGAIN:
                break
            os.sched_yield()
        raise OSError(number, os.strerror(number), path)

    return openat2
