"""The only door to the host: files, and everything that is asked and not read (`reply`).

A `SysRoot` is a directory with `proc/`, `sys/` and `run/` below it: "/" is this host, another one a container's view of it
(`/host`) or a recording made by `agent record`. Paths are relative to it and never lead out of it. Here, and nowhere else,
an errno becomes one of the reasons of `agent.model.values`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from functools import cache
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from agent.model.values import ReadTimes, Reason, decode_value
from collectors.text import Malformed, printable

T = TypeVar("T")

MARK = "stratascope-recording.json"
LATER = "later"
FORMAT = 2
"""The newest format of recordings. 1: no `format`, no `read_times`."""

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


class Mark(msgspec.Struct, kw_only=True):
    """What a recording says of itself, beside the files: when it was made, what cannot be copied into a tree.

    `taken_at` is in Unix seconds; `read_times` are seconds of one unnamed clock, by what `SysRoot.date` was called with.
    """

    format: int = 1
    taken_at: float
    version: str
    page_bytes: int
    read_times: dict[str, float] = {}
    inodes: dict[str, int] = {}
    links: dict[str, str] = {}
    refusals: dict[str, Refusal] = {}


class _Header(msgspec.Struct):
    """The part of a mark that every format has."""

    format: int = 1
    version: str = ""


def read_mark(data: bytes, path: str) -> Mark:
    """The mark of a recording; `path` is where it was read. `Unavailable` where it is damaged, or of a newer format."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        if header.format > FORMAT:
            raise Unavailable(
                "unsupported",
                f"{path}: a recording of format {header.format}, and this agent reads formats up to {FORMAT}",
                f"read it with the agent that made it: version {header.version or 'not stated'}",
            )
        mark = msgspec.json.decode(data, type=Mark)
        if mark.format < 1:
            raise ValueError(f"format: there is no format {mark.format}")
        if not 0 <= mark.taken_at < _YEAR_10000:
            raise ValueError(f"taken_at: {mark.taken_at} is no time")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unavailable("failed", f"{path}: {error}", "record again with agent record") from None
    return mark


class Contents(msgspec.Struct, frozen=True):
    """Which of some words a file holds. `identity` is the file's, and changes with it."""

    identity: tuple[int, ...]
    words: frozenset[bytes]


class HeldDirectory:
    """A directory that was entered. `inode` with the path is its identity; held open, names in it are found without walking its path.

    Of a held one: `files` are held open, too, at most `most`, `opened` those of all places of its root; `parsed` is what its files said
    last, and what that means; `made` what a reader made of all that they said; `fresh` what they say now, where that was asked already.
    A file that is not there says None.
    """

    __slots__ = ("fd", "files", "fresh", "inode", "made", "most", "opened", "parsed", "path")

    def __init__(self, path: str, inode: int | None, fd: int = -1, opened: set[int] | None = None) -> None:
        self.path = path
        self.inode = inode
        self.fd = fd
        self.opened = set() if opened is None else opened
        self.files: dict[str, int] = {}
        self.most = 0
        self.parsed: dict[str, tuple[bytes | None, object]] = {}
        self.fresh: dict[str, bytes | None] = {}
        self.made: object = None

    def hold(self, name: str, fd: int) -> None:
        self.files[name] = fd
        self.opened.add(fd)

    def release(self, name: str) -> None:
        fd = self.files.pop(name)
        self.opened.discard(fd)
        os.close(fd)

    def __del__(self) -> None:
        for name in tuple(self.files):
            self.release(name)
        if self.fd >= 0:
            os.close(self.fd)


class SysRoot:
    """One tree. `watch()` gives a view with its own list of refusals and its own dates, one for each source that reads."""

    holds = True
    """Whether directories are held open from one pass to the next."""

    def __init__(self, path: str | Path = "/") -> None:
        if os.path.realpath(path) == "/":
            self._start("/", -1)
            return
        if not os.path.isdir(path):
            raise Unavailable("absent", f"{path}: no such directory", "name an existing directory with --root")
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable("denied", f"{path}: {error.strerror}") from None
        self._start(str(path), fd)

    def _start(self, path: str, fd: int) -> None:
        """`fd` is the tree's directory, which is closed with this root, or -1 for this host."""
        self.path = path
        self.refusals: list[Refusal] = []
        self.read_times: ReadTimes = {}
        self.held: dict[str, HeldDirectory] = {}
        self.opened: set[int] = set()
        self.last: dict[str, object] = {}
        self.room = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE)
        self._fd = fd
        self._whole: SysRoot | None = None
        self.mark: Mark | None = None
        if fd < 0:
            return
        weakref.finalize(self, os.close, fd)
        try:
            mark = self._read(MARK)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            # A recording whose mark cannot be read must not be taken for a live tree.
            reason, detail = _say(error)
            raise Unavailable(reason, f"{path}/{MARK}: {detail}") from None
        self.mark = read_mark(mark, f"{path}/{MARK}")

    def later(self) -> SysRoot | None:
        """The second pass of a recording, a recording of its own below `later/`; None where there is none, and of what is live.

        `Unavailable` where it is not to be had, or has no mark: it would be taken for a live tree.
        """
        if self.mark is None:
            return None
        path = f"{self.path}/{LATER}"
        try:
            fd = self._open(LATER, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            reason, detail = _say(error)
            raise Unavailable(reason, f"{path}: {detail}") from None
        root = SysRoot.__new__(SysRoot)
        root._start(path, fd)
        if root.mark is None:
            raise Unavailable("failed", f"{path}: no {MARK} in it", "record again with agent record")
        return root

    @property
    def live(self) -> bool:
        """Whether what is not a file may be asked: never on a recording."""
        return self.mark is None

    @property
    def page_bytes(self) -> int:
        """The size of a page on the host that is read."""
        return self.mark.page_bytes if self.mark else PAGESIZE

    def watch(self) -> SysRoot:
        """The same tree with its own list of refusals, and its own dates."""
        view = SysRoot.__new__(type(self))
        view.__dict__.update(self.__dict__)
        # The directory is closed with the root that opened it.
        view._whole = self
        view.refusals = []
        view.read_times = {}
        return view

    def date(self, key: str | int) -> None:
        """Note when counters are read (seconds): a group's by its path, a process' by its pid, or a file's by its path.

        A recording has the times of when it was made. One of format 1 has none, and its counters are dated as it is read.
        """
        if self.mark is None or self.mark.format < 2:
            self.read_times[key] = time.monotonic()
        elif (seconds := self.mark.read_times.get(str(key))) is not None:
            self.read_times[key] = seconds

    def text(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> str | None:
        """The whole file, None when it is absent or refused. Bytes that are not UTF-8 come as \\xNN; NUL bytes are dropped.

        Stored trees carry NUL bytes behind the text (hwloc's own fixtures do); live sysfs text never holds any.
        """
        data = self.raw(path, keep)
        return None if data is None else _decode(data)

    def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
        """The bytes of a file, or what `keep` leaves of them: a recording holds no more either, of a file that may hold secrets."""
        try:
            data = self._read(path)
        except OSError as error:
            self._refuse(path, error)
            return None
        return data if keep is None else keep(data)

    def sealed(self, path: str, most_bytes: int, keep: Callable[[bytes], bytes]) -> bytes | None:
        """What `keep` leaves of a memfd that can neither shrink nor grow, by one of the kernel's links to it: map_files, fd.

        Such a link leads out of every root, and is followed as it can lead to nothing else: a file of no file system has these seals.
        """
        if self.mark is not None:
            return self.raw(path, keep)
        try:
            data = self._read_sealed(path, most_bytes)
        except OSError as error:
            self._refuse(path, error)
            return None
        return keep(data)

    def words(self, path: str, words: Collection[bytes], known: Mapping[tuple[int, ...], Contents]) -> Contents | None:
        """Which of these words the program of a process holds, by the kernel's link to it: exe. One that is `known` is not read again.

        As with `sealed` the link leads out of every root; that it holds a word is all that is told of what it leads to.
        """
        if self.mark is not None:
            data = self.raw(path)
            return None if data is None else Contents((), frozenset(word for word in words if word in data))
        try:
            fd, status = self._follow(path)
            try:
                identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                return known.get(identity) or Contents(identity, _words_in(fd, words))
            finally:
                os.close(fd)
        except OSError as error:
            self._refuse(path, error)
            return None

    def require(self, path: str) -> str:
        """The whole file; `Unavailable` when it is not to be had."""
        return _decode(self._required(path))

    def require_raw(self, path: str, kept: Callable[[bytes], bytes]) -> bytes:
        """The bytes of the whole file; `Unavailable` when it is not to be had. A recording gets no more of it than `kept`."""
        return self._required(path, kept)

    def parse(self, path: str, parser: Callable[[str], T], blank: bool = False, keep: Callable[[bytes], bytes] | None = None) -> T | None:
        """`parser` of the file, None when it is absent or, unless `blank` says something, empty; `Malformed` names the path."""
        data = self.raw(path, keep)
        return None if data is None or not (blank or data.strip(_BLANK)) else self.parse_bytes(path, data, parser)

    def parse_bytes(self, path: str, data: bytes, parser: Callable[[str], T]) -> T:
        """`parser` of what was read of a file; `Malformed` names its path."""
        try:
            return parser(_decode(data))
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

    def link(self, path: str) -> str | None:
        """Where a symbolic link leads, as it is written; None when it is absent or none. A recording keeps it in its mark."""
        if self.mark is not None:
            self.refusals += filter(None, [self.mark.refusals.get(printable(path))])
            return self.mark.links.get(printable(path))
        try:
            fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
            try:
                # Of what leads to another user's process only the reading is refused.
                return printable(os.readlink("", dir_fd=fd)) if stat.S_ISLNK(os.fstat(fd).st_mode) else None
            finally:
                os.close(fd)
        except OSError as error:
            self._refuse(path, error)
            return None

    def enter(self, path: str, inode: int | None = None) -> HeldDirectory | None:
        """A directory; the held one where `inode`, the number that its parent lists now, is still its own, or, of what no parent lists,
        where it is still what is found there. None when it is absent.
        """
        if not (self.holds and self.live):
            return HeldDirectory(path, self.inode(path))
        place = self.held.get(path)
        if place is not None and place.inode == inode:
            return place
        if place is None and len(self.held) + len(self.opened) >= self.room:
            return HeldDirectory(path, inode or self.inode(path))
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._refuse(path, error)
            return None
        status = os.fstat(fd)
        if place is not None and inode is None and os.path.samestat(status, os.fstat(place.fd)):
            os.close(fd)
            return place
        place = self.held[path] = HeldDirectory(path, status.st_ino, fd, self.opened)
        return place

    def keep(self, paths: Collection[str]) -> None:
        """Let go of the directories that are not among `paths`: they are not there any more."""
        for path in self.held.keys() - paths:
            del self.held[path]

    def intern(self, name: str, value: T) -> T:
        """`value`, or the equal one that came under this name at the last pass, so that the next comparison need only ask which it is."""
        if self.last.get(name) != value:
            self.last[name] = value
        return cast(T, self.last[name])

    def directories_in(self, place: HeldDirectory) -> list[tuple[str, int | None]]:
        """The directories in a directory, links not counted, with their inodes where the place is held."""
        if place.fd < 0:
            return [(name, None) for name in self.directories(place.path)]
        # "." and the name in its parent: the links of a directory that has none below it (kernfs_refresh_inode() counts so, too).
        if os.fstat(place.fd).st_nlink == 2:
            return []
        try:
            with os.scandir(place.fd) as entries:
                return [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            self._refuse(place.path, error)
            return []

    def text_in(self, place: HeldDirectory, name: str) -> str | None:
        """`text` of a name in a place."""
        if place.fd < 0:
            return self.text(f"{place.path}/{name}")
        data = self._bytes_in(place, name)
        return None if data is None or data is _REFUSED else _decode(data)

    def parse_in(self, place: HeldDirectory, name: str, parser: Callable[[str], T], blank: bool = False) -> T | None:
        """`parse` of a name in a place; a name has one parser.

        Most files of most groups say what they said before: in a held place their value is known by their bytes.
        """
        if place.fd < 0:
            return self.parse(f"{place.path}/{name}", parser, blank)
        data = place.fresh.pop(name) if name in place.fresh else self._bytes_in(place, name)
        known = place.parsed.get(name)
        if known is not None and known[0] == data and data is not _REFUSED:
            return cast("T | None", known[1])
        value = None
        if data is not None and data is not _REFUSED and (blank or data.strip(_BLANK)):
            try:
                value = parser(_decode(data))
            except Malformed as error:
                raise Malformed(error.detail, error.line, f"{place.path}/{name}") from None
        place.parsed[name] = data, value
        return value

    def unchanged(self, places: Collection[HeldDirectory]) -> bool:
        """Whether all files that were read of these held places say what they said. `parse_in` does not read anew what was read here."""
        changed = [self._changed(place) for place in places]
        if not any(changed):
            return True
        for place, now in zip(places, changed, strict=True):
            place.fresh = {name: data for name, (data, _) in place.parsed.items()} | now
        return False

    def _changed(self, place: HeldDirectory) -> dict[str, bytes | None]:
        """What those files of a held place say that say something else than before, or are refused."""
        found: dict[str, bytes | None] = {}
        for name, (data, _) in place.parsed.items():
            now = self._bytes_in(place, name)
            # What was refused may have to be said again.
            if now != data or now is _REFUSED:
                found[name] = now
        return found

    def _bytes_in(self, place: HeldDirectory, name: str) -> bytes | None:
        """None where it is absent, _REFUSED where it is not to be read."""
        held = place.files.get(name)
        if held is not None:
            try:
                data = os.pread(held, 1 << 13, 0)
                return data if len(data) < 1 << 11 else self._rest_of(held, data)
            except OSError:
                # Its controller was switched off, or the group removed; there may be another one of its name.
                place.release(name)
        return self._opened_in(place, name)

    def _opened_in(self, place: HeldDirectory, name: str) -> bytes | None:
        """The same of what is not held.

        What is read again of this host is held open from then on, as far as its place may and there is room: to open and close a file of
        kernfs costs four times as much as to read a short one.
        """
        try:
            fd = os.open(name, _NAMED, dir_fd=place.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._refuse(f"{place.path}/{name}", error)
            return _REFUSED
        held = False
        try:
            data = os.read(fd, 1 << 13)
            # kernfs fills a page, or all that there is, before it hands out a part: only a long read may have more behind it.
            if len(data) >= 1 << 11:
                data = self._rest(fd, data)
            elif self._fd >= 0 and not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EISDIR, "not a regular file")
            # Files may not take the descriptors of directories, not even of those that come.
            if len(place.files) < place.most and self._fd < 0 and len(self.opened) + len(self.held) < self.room - self.room // 16:
                held = name in place.parsed and name not in _LISTS
            if held:
                place.hold(name, fd)
            return data
        except OSError as error:
            self._refuse(f"{place.path}/{name}", error)
            return _REFUSED
        finally:
            if not held:
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

    def drop_refusal(self, path: str) -> None:
        """A refusal that the kernel documents for such a file, and that hides nothing: no gap."""
        self.refusals[:] = [refusal for refusal in self.refusals if refusal.path != path]

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

    def _required(self, path: str, kept: Callable[[bytes], bytes] | None = None) -> bytes:
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
            return self._rest(fd, data) if data else data
        finally:
            os.close(fd)

    def _read_sealed(self, path: str, most_bytes: int) -> bytes:
        fd, status = self._follow(path)
        try:
            try:
                seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            except OSError:
                seals = 0
            if seals & _SEALS != _SEALS:
                raise OSError(errno.EINVAL, "not sealed")
            if status.st_size > most_bytes:
                raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes")
            return os.pread(fd, status.st_size, 0)
        finally:
            os.close(fd)

    def _follow(self, path: str) -> tuple[int, os.stat_result]:
        """A regular file by a link of the kernel's, to be read. Looked at before it is opened: another kind may do things when it is."""
        directory, _, name = path.rpartition("/")
        opened = [self._open(directory, os.O_PATH | os.O_DIRECTORY)]
        try:
            opened.append(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=opened[0]))
            status = os.fstat(opened[1])
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            return os.open(f"/proc/self/fd/{opened[1]}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), status
        finally:
            for fd in opened:
                os.close(fd)

    def _rest_of(self, fd: int, data: bytes) -> bytes:
        """The same by offset, of a file that is held."""
        while more := os.pread(fd, 1 << 16, len(data)):
            data += more
            if len(data) > MAX_FILE_BYTES:
                raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return data

    def _rest(self, fd: int, data: bytes) -> bytes:
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

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._refuse(path, error)
            return []
        try:
            with os.scandir(fd) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            self._refuse(path, error)
            return []
        finally:
            os.close(fd)
        if self.mark is None or not self.mark.links:
            return found
        # What was read through a link is a directory of the recording.
        links = {link.rpartition("/")[2] for link in self.mark.links if link.rpartition("/")[0] == printable(path)}
        return found + [(name, False) for name in links.difference(name for name, _ in found)]

    def _refuse(self, path: str, error: OSError) -> None:
        if error.errno == errno.ENOENT and not (self.mark and self.mark.refusals):
            # Half of all that is asked for is not there, and nothing is to be said of it.
            return
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


# What str.strip() takes for blank, of ASCII, and the NUL bytes that are dropped.
_BLANK = b"\0\t\n\v\f\r\x1c\x1d\x1e\x1f "

# Told apart from all that a file may hold by what it is, not by what it says.
_REFUSED = bytes(bytearray(b"refused"))

# A name without a path leads nowhere else, unless it is a link; a FIFO in a foreign tree would hold us.
_NAMED = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _words_in(fd: int, words: Collection[bytes]) -> frozenset[bytes]:
    found: set[bytes] = set()
    longest = max(map(len, words))
    rest = b""
    for _ in range(_MAX_PIECES):
        piece = os.read(fd, 1 << 20)
        if not piece or len(found) == len(words):
            break
        # One may lie across two pieces.
        piece = rest + piece
        found.update(word for word in words if word not in found and word in piece)
        rest = piece[1 - longest :]
    return frozenset(found)


# Of a program, in MiB: the largest runtimes have a hundred.
_MAX_PIECES = 512

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

# Descriptors that are left to sockets, pipes, libraries and the file that is read.
_SPARE = 256

# v1 makes such a list when it is first read, and shows the same one to who reads again within a second (kernel/cgroup/cgroup-v1.c,
# cgroup_pidlist_start()): whoever reads each second would never see another.
_LISTS = ("cgroup.procs", "tasks")


def _decode(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text.replace("\0", "") if "\0" in text else text


def _say(error: OSError) -> tuple[Reason, str]:
    number = error.errno or 0
    if number == errno.EXDEV:
        return "denied", "leads outside the root"
    return _REASONS.get(number, "failed"), error.strerror or os.strerror(number)


_OPENAT2 = 437  # the same number on every architecture (include/uapi/asm-generic/unistd.h), since Linux 5.6
_TRIES = 1000  # EAGAIN: something was mounted or renamed, anywhere, while a link led through ".." (openat2(2))
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
        for _ in range(_TRIES):
            fd: int = libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                return fd
            if (number := ctypes.get_errno()) != errno.EAGAIN:
                break
            os.sched_yield()
        raise OSError(number, os.strerror(number), path)

    return open_beneath
