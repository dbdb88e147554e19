"""Whole files of a tree as bytes: what is read, up to which size, how bytes become text. Errors are the kernel's OSError."""

from __future__ import annotations

import copy
import errno
import fcntl
import os
import re
import stat
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Self

import msgspec

from collectors.root.budget import Budget
from collectors.root.opening import HOST, USERS, open_below, open_kernel_link
from collectors.root.reads import Reads
from collectors.root.reasons import Unavailable

MAX_FILE_BYTES = 32 << 20
"""Of answers that were recorded, and of what no row of the table names."""

_MAX_BYTES = (
    # By the number of mappings of a process, of which the kernel allows 65,530 (vm.max_map_count).
    (re.compile(r"proc/\d+/(?:maps|smaps|numa_maps)"), 32 << 20),
    # By the number of mounts. All else of a process is short, but for a command line.
    (re.compile(r"proc/(?:\d+|self)/mountinfo"), 8 << 20),
    (re.compile(r"proc/\d+/.*"), 1 << 20),
    # A line, or a column, a CPU: of 2,048 CPUs.
    (re.compile(r"proc/(?:cpuinfo|interrupts|schedstat|zoneinfo)"), 16 << 20),
    (re.compile(r"proc/stat"), 4 << 20),
    (re.compile(r"proc/.*"), 1 << 20),
    # Lists of processes. The other files of kernfs are a page long, and masks and lists of CPUs and tables of the firmware little more.
    (re.compile(r"sys/fs/cgroup/.*"), 4 << 20),
    (re.compile(r"sys/.*"), 1 << 20),
    # What runtimes keep of a container: its annotations are at most 256 KiB (Kubernetes), and as much is set by its image.
    (re.compile(r"run/user/.*"), 256 << 10),
    (re.compile(r"(?:run|var|etc)/.*"), 4 << 20),
)
"""The largest file that a kernel or a runtime writes, by path; the first row holds. What is larger is none of theirs."""

MAX_ENTRIES_OF_USER = 512

# What str.strip() takes for blank, of ASCII, and the NUL bytes that `decode` drops.
BLANK = b"\0\t\n\v\f\r\x1c\x1d\x1e\x1f "

# Of a program: the largest runtimes have a hundred MiB.
_MAX_PROGRAM_BYTES = 512 << 20

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Contents(msgspec.Struct, frozen=True):
    """Which of some words a file holds. `identity` (device, inode, bytes, modified ns) is the file's, and changes with it.

    `unread_from` is the offset up to which it was searched, None where it was searched to its end.
    """

    identity: tuple[int, ...]
    words: frozenset[bytes]
    unread_from: int | None = None


class Tree:
    """The files below one directory: of this host where `fd` is `HOST`. The descriptor is closed with the tree.

    `reads`: who waits for what is read, if anybody does. `origin`: the tree whose descriptor this one has.
    """

    reads: Reads | None = None
    origin: Tree | None = None

    def __init__(self, fd: int = HOST) -> None:
        self.fd = fd
        if fd != HOST:
            weakref.finalize(self, os.close, fd)

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The tree below an existing directory; `Unavailable` where it cannot be opened."""
        if os.path.realpath(path) == "/":
            return cls(HOST)
        if not os.path.isdir(path):
            raise Unavailable("absent", f"{path}: no such directory", "name an existing directory with --root")
        try:
            return cls(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise Unavailable("denied", f"{path}: {error.strerror}") from None

    @property
    def is_host(self) -> bool:
        return self.fd == HOST

    def with_reads(self, reads: Reads) -> Tree:
        """The same files, of whose reads somebody is told."""
        view = copy.copy(self)
        view.reads, view.origin = reads, self
        return view

    def begin(self, path: str) -> None:
        """Say what is read next. Raises OSError where a read of it has not returned."""
        if self.reads is not None:
            self.reads.begin(path)

    def open(self, path: str, flags: int) -> int:
        if self.reads is not None:
            self.reads.begin(path)
        return open_below(self.fd, path, flags)

    @contextmanager
    def near(self, paths: Collection[str]) -> Iterator[Tree]:
        """The same files; these directories stay open and listed: to one a thousand directories deep the kernel finds the way once."""
        listed: dict[str, tuple[int, frozenset[str]]] = {}
        try:
            for path in paths:
                # What cannot be opened says so for each of its files.
                with suppress(OSError):
                    fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
                    # One that vanishes meanwhile has nothing in it.
                    listed[path] = fd, frozenset()
                    listed[path] = fd, frozenset(os.listdir(fd))
            yield _NearTree(self, listed)
        finally:
            for fd, _ in listed.values():
                os.close(fd)

    def read(self, path: str) -> bytes:
        """The whole of a file."""
        fd = self.open(path, os.O_RDONLY)
        try:
            if self.fd != HOST or path.startswith(USERS):
                check_regular(fd)
            # procfs and kernfs hand out long files in pieces: only an empty read is the end.
            data = os.read(fd, 1 << 16)
            return read_rest(fd, data, path) if data else data
        finally:
            os.close(fd)

    def read_sealed(self, path: str, max_bytes: int) -> bytes:
        """The whole of a memfd that can neither shrink nor grow, through a link of the kernel's; EINVAL for any other file."""
        self.begin(path)
        fd, status = open_kernel_link(self.fd, path)
        try:
            try:
                seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            except OSError:
                seals = 0
            if seals & _SEALS != _SEALS:
                raise OSError(errno.EINVAL, "not sealed")
            if status.st_size > max_bytes:
                raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes")
            return os.pread(fd, status.st_size, 0)
        finally:
            os.close(fd)

    def words(
        self, path: str, words: Collection[bytes], cached: Mapping[tuple[int, ...], Contents], budget: Budget, max_bytes: int
    ) -> Contents:
        """Which of these words a program holds, through a link of the kernel's. One in `cached`, by its identity, is not read again.

        At most so many bytes are read, and no more than the budget allows; the next call goes on where this one ended.
        """
        self.begin(path)
        fd, status = open_kernel_link(self.fd, path)
        try:
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            contents = cached.get(identity) or Contents(identity, frozenset(), 0)
            return contents if contents.unread_from is None else _searched(fd, words, contents, budget, max_bytes)
        finally:
            os.close(fd)

    def entries(self, path: str) -> list[tuple[str, bool, int | None]]:
        """What a directory lists: name, whether it is a directory itself (a link to one is not), inode. Of a user's, the first of them."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                listed = islice(entries, MAX_ENTRIES_OF_USER) if path.startswith(USERS) else entries
                return [(entry.name, entry.is_dir(follow_symlinks=False), entry.inode()) for entry in listed]
        finally:
            os.close(fd)

    def status(self, path: str) -> os.stat_result:
        fd = self.open(path, os.O_PATH)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def link(self, path: str) -> str | None:
        """Where a symbolic link leads, as it is written; None where the path is another kind of file."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            # Of what leads to another user's process only the reading is refused.
            return os.readlink("", dir_fd=fd) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)


class _NearTree(Tree):
    """A tree of which some directories are open and listed: by path, the descriptor of each and the names in it."""

    def __init__(self, tree: Tree, listed: Mapping[str, tuple[int, frozenset[str]]]) -> None:
        self.fd = tree.fd
        self.reads, self.origin = tree.reads, tree
        self.listed = listed

    def open(self, path: str, flags: int) -> int:
        directory, _, name = path.rpartition("/")
        if directory not in self.listed:
            return super().open(path, flags)
        fd, names = self.listed[directory]
        if name not in names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.begin(path)
        return open_below(fd, name, flags)


def check_regular(fd: int) -> None:
    """EISDIR where an open file is not a regular one: a foreign tree may hold devices that never end."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EISDIR, "not a regular file")


def max_bytes(path: str) -> int:
    """The largest file that is read whole, of those at this path below the root."""
    return next((size for pattern, size in _MAX_BYTES if pattern.fullmatch(path)), MAX_FILE_BYTES)


def read_rest(fd: int, data: bytes, path: str) -> bytes:
    """The whole of a file of which `data` was read already. EFBIG where it is larger than a file at this path below the root."""
    more = os.read(fd, 1 << 16)
    if not more:
        return data
    largest, pieces, total = max_bytes(path), [data], len(data)
    while more:
        pieces.append(more)
        total += len(more)
        _check_size(total, largest)
        more = os.read(fd, 1 << 20)
    return b"".join(pieces)


def pread_rest(fd: int, data: bytes, path: str) -> bytes:
    """`read_rest` by offset, of a file that stays open and is read from its beginning each time."""
    while more := os.pread(fd, 1 << 16, len(data)):
        data += more
        _check_size(len(data), max_bytes(path))
    return data


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise OSError(errno.EFBIG, f"larger than {largest >> 20} MiB")


def decode(data: bytes) -> str:
    """UTF-8, with bytes that are not as \\xNN, without NUL bytes: stored trees have them behind the text, live sysfs never does."""
    text = data.decode("utf-8", "backslashreplace")
    return text.replace("\0", "") if "\0" in text else text


def _searched(fd: int, words: Collection[bytes], contents: Contents, budget: Budget, max_bytes: int) -> Contents:
    """`contents`, and what is found from where it ends."""
    present, longest = set(contents.words), max(map(len, words))
    start = contents.unread_from or 0
    end = os.pread(fd, min(longest - 1, start), max(0, start - longest + 1))
    offset = os.lseek(fd, start, os.SEEK_SET)
    while offset < min(start + max_bytes, _MAX_PROGRAM_BYTES) and len(present) < len(words):
        if budget.is_spent:
            return Contents(contents.identity, frozenset(present), offset)
        piece = os.read(fd, 1 << 20)
        if not piece:
            return Contents(contents.identity, frozenset(present))
        offset += len(piece)
        # A word may lie across two pieces.
        piece = end + piece
        present.update(word for word in words if word not in present and word in piece)
        end = piece[1 - longest :]
    is_complete = len(present) == len(words) or offset >= _MAX_PROGRAM_BYTES
    return Contents(contents.identity, frozenset(present), None if is_complete else offset)
