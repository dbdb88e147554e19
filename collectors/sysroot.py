"""The only door to the host: files, and everything that is asked and not read (`reply`).

A `SysRoot` is a directory with `proc/`, `sys/` and `run/` below it: "/" is this host, another one a container's view of it
(`/host`) or a recording made by `agent record`. Paths are relative to it and never lead out of it. Here, and nowhere else,
an errno becomes one of the reasons of `agent.model.values`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import cache
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.model.values import Reason, decode_value
from collectors.text import Malformed, printable

T = TypeVar("T")

MARK = "stratascope-recording.json"
MAX_FILE_BYTES = 32 << 20
_YEAR_10000 = 253402300800

# What the kernel says when a file has nothing for us. ESRCH: the task ended while it was read. ENODEV, ENXIO: a device or CPU
# went offline. EOPNOTSUPP: a cgroup file whose controller is off, cpu.pressure with psi=0. EINVAL: cpufreq of an offline CPU.
# EXDEV: openat2() met a path that leads outside the root. ELOOP: the same through a /proc magic link.
_REASONS: dict[int, Reason] = {
    errno.ENOENT: "absent",
    errno.ENOTDIR: "absent",
    errno.ENODEV: "absent",
    errno.ENXIO: "absent",
    errno.ESRCH: "absent",
    errno.ENAMETOOLONG: "absent",
    errno.EOPNOTSUPP: "unsupported",
    errno.EINVAL: "unsupported",
    errno.ENOSYS: "unsupported",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EXDEV: "denied",
    errno.ELOOP: "denied",
}


class Unavailable(Exception):
    """A source that has nothing to say, and why."""

    def __init__(self, reason: Reason, detail: str, remedy: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.remedy = remedy


class Refusal(msgspec.Struct, frozen=True):
    """One path that exists but was not readable, or one question that was not answered."""

    path: str
    reason: Reason
    detail: str
    remedy: str | None = None


class Mark(msgspec.Struct):
    """What a recording says of itself, beside the files: when it was made, what cannot be copied into a tree."""

    taken_at: float
    version: str
    page_bytes: int
    inodes: dict[str, int] = {}
    refusals: dict[str, Refusal] = {}


class SysRoot:
    """One tree. `watch()` gives a view with its own list of refusals, one for each source that reads."""

    def __init__(self, path: str | Path = "/") -> None:
        self.path = str(path)
        self.refusals: list[Refusal] = []
        self._fd = -1
        self.mark: Mark | None = None
        if os.path.realpath(self.path) == "/":
            self.path = "/"
            return
        if not os.path.isdir(self.path):
            raise Unavailable("absent", f"{self.path}: no such directory", "name an existing directory with --root")
        try:
            self._fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable("denied", f"{self.path}: {error.strerror}") from None
        try:
            mark = self._read(MARK)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            # Not to be taken for a live root.
            reason, detail = _say(error)
            raise Unavailable(reason, f"{self.path}/{MARK}: {detail}") from None
        try:
            self.mark = msgspec.json.decode(mark, type=Mark)
            if not 0 <= self.mark.taken_at < _YEAR_10000:
                raise ValueError(f"taken_at: {self.mark.taken_at} is no time")
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unavailable("failed", f"{self.path}/{MARK}: {error}", "record again with agent record") from None

    @property
    def live(self) -> bool:
        """Whether what is not a file may be asked: never on a recording."""
        return self.mark is None

    @property
    def page_bytes(self) -> int:
        """The size of a page on the host that is read."""
        return self.mark.page_bytes if self.mark else PAGESIZE

    def watch(self) -> SysRoot:
        """The same tree with its own list of refusals."""
        view = SysRoot.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view.refusals = []
        return view

    def text(self, path: str) -> str | None:
        """The whole file, None when it is absent or refused. Bytes that are not UTF-8 come as \\xNN; NUL bytes are dropped.

        Stored trees carry NUL bytes behind the text (hwloc's own fixtures do); live sysfs text never holds any.
        """
        data = self.raw(path)
        return None if data is None else _decode(data)

    def raw(self, path: str) -> bytes | None:
        try:
            return self._read(path)
        except OSError as error:
            self._refuse(path, error)
            return None

    def require(self, path: str) -> str:
        """The whole file; `Unavailable` when it is not to be had."""
        return _decode(self._required(path))

    def parse(self, path: str, parser: Callable[[str], T], blank: bool = False) -> T | None:
        """`parser` of the file, None when it is absent or, unless `blank` says something, empty; `Malformed` names the path."""
        text = self.text(path)
        if text is None or not (blank or text.strip()):
            return None
        try:
            return parser(text)
        except Malformed as error:
            raise Malformed(error.detail, error.line, path) from None

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; none when it is absent."""
        return tuple(sorted(name for name, _ in self._entries(path)))

    def directories(self, path: str) -> tuple[str, ...]:
        """The names of the directories in a directory (links to directories are not), sorted."""
        return tuple(sorted(name for name, is_directory in self._entries(path) if is_directory))

    def inode(self, path: str) -> int | None:
        """The inode: with the path, the identity of a cgroup. A recording keeps it in its mark."""
        if self.mark is not None:
            return self.mark.inodes.get(printable(path))
        try:
            fd = self._open(path, os.O_PATH)
        except OSError as error:
            self._refuse(path, error)
            return None
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)

    def socket(self, path: str) -> str | None:
        """The absolute path of a socket below the root, for a client library; None when there is none or nothing live may be asked."""
        if not self.live:
            return None
        try:
            fd = self._open(path, os.O_PATH)
        except OSError as error:
            self._refuse(path, error)
            return None
        try:
            return os.path.join(self.path, path) if stat.S_ISSOCK(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def note(self, path: str, reason: Reason, detail: str) -> None:
        """Say that a reader left something out, and why: part of a gap, not an error."""
        self.refusals.append(Refusal(path, reason, detail))

    def reply(self, name: str, kind: type[T], ask: Callable[[], T]) -> T:
        """What is asked and not read: `ask()` on a live root, the stored answer on a recording."""
        if self.live:
            return ask()
        path = f"replies/{name}.json"
        try:
            answer = self._read(path)
        except OSError as error:
            if (refusal := self._then(error).get(path)) is not None:
                raise Unavailable(refusal.reason, refusal.detail, refusal.remedy) from None
            raise Unavailable("unsupported", f"{path}: {_say(error)[1]}", "this recording was made without it: record again") from None
        try:
            # Not _decode(): a backslash that it puts for a bad byte would not be JSON.
            return msgspec.json.decode(answer.decode("utf-8", "replace"), type=kind, dec_hook=decode_value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Malformed(str(error), path=path) from None

    def _required(self, path: str) -> bytes:
        try:
            return self._read(path)
        except OSError as error:
            refusal = self._refusal(path, error)
            raise Unavailable(refusal.reason, f"{path}: {refusal.detail}") from None

    def _read(self, path: str) -> bytes:
        fd = self._open(path, os.O_RDONLY)
        try:
            if self._fd >= 0 and not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EISDIR, "not a regular file")
            # procfs and kernfs hand out long files in pieces: only an empty read is the end.
            data = os.read(fd, 1 << 16)
            if not data:
                return data
            more = os.read(fd, 1 << 16)
            if not more:
                return data
            pieces = [data]
            total = len(data)
            while more:
                pieces.append(more)
                total += len(more)
                if total > MAX_FILE_BYTES:
                    raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES >> 20} MiB")
                more = os.read(fd, 1 << 20)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._refuse(path, error)
            return []
        try:
            with os.scandir(fd) as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            self._refuse(path, error)
            return []
        finally:
            os.close(fd)

    def _refuse(self, path: str, error: OSError) -> None:
        refusal = self._refusal(path, error)
        if refusal.reason != "absent":
            self.refusals.append(refusal)

    def _refusal(self, path: str, error: OSError) -> Refusal:
        path = printable(path)
        return self._then(error).get(path) or Refusal(path, *_say(error))

    def _then(self, error: OSError) -> dict[str, Refusal]:
        """What the recorded host refused: it stands for what is absent from the recording."""
        return self.mark.refusals if self.mark is not None and error.errno == errno.ENOENT else {}

    def _open(self, path: str, flags: int) -> int:
        if self._fd < 0:
            return os.open("/" + path, flags | os.O_CLOEXEC)
        # A FIFO in a foreign tree would hold us until somebody writes. openat2() refuses O_PATH with flags it would ignore.
        wait = 0 if flags & os.O_PATH else os.O_NONBLOCK
        return _openat2()(self._fd, path, flags | os.O_CLOEXEC | wait)


def _decode(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text.replace("\0", "") if "\0" in text else text


def _say(error: OSError) -> tuple[Reason, str]:
    number = error.errno or 0
    if number == errno.EXDEV:
        return "denied", "leads outside the root"
    return _REASONS.get(number, "failed"), error.strerror or os.strerror(number)


_OPENAT2 = 437  # the same number on every architecture (include/uapi/asm-generic/unistd.h), since Linux 5.6
_RESOLVE_BENEATH = 0x08  # include/uapi/linux/openat2.h; refuses magic links, too


@cache
def _openat2() -> Callable[[int, str, int], int]:
    """open() that cannot leave a directory: EXDEV for "..", absolute paths and links that would."""
    import ctypes

    class OpenHow(ctypes.Structure):
        _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

    libc = ctypes.CDLL(None, use_errno=True)

    def open_beneath(root: int, path: str, flags: int) -> int:
        how = OpenHow(flags, 0, _RESOLVE_BENEATH)
        fd: int = libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return fd

    return open_beneath
