"""The only door to the host: files, and everything that is asked and not read (`reply`).

A `SysRoot` is a directory with `proc/`, `sys/` and `run/` below it: "/" is this host, another one a container's view of it
(`/host`) or a recording made by `agent record`. Paths are relative to it and never lead out of it.
"""

from __future__ import annotations

import copy
import errno
import os
import resource
import stat
import time
from collections.abc import Callable, Collection, Mapping
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar, cast

from agent.model.values import ReadTimes, Reason
from collectors.root.files import BLANK, Contents, Tree, check_regular, decode, pread_rest, read_rest
from collectors.root.opening import open_in
from collectors.root.reasons import Refusal, Unavailable, reason_of
from collectors.root.recording import LATER, MARK, Mark, read_mark, recorded_links, recorded_refusals, replay
from collectors.text import Malformed, printable

T = TypeVar("T")

# Descriptors that are left to sockets, pipes, libraries and the file that is read.
_SPARE = 256

# Told apart from all that a file may hold by what it is, not by what it says.
_REFUSED = bytes(bytearray(b"refused"))

# v1 makes such a list when it is first read, and shows the same one to who reads again within a second (kernel/cgroup/cgroup-v1.c,
# cgroup_pidlist_start()): whoever reads each second would never see another.
_LISTS = ("cgroup.procs", "tasks")


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
    """One tree of files, and what its host answers.

    `path` is where it lies, for messages. `mark` is that of a recording, None of what is live. `refusals` are the paths that were not
    readable, `read_times` when counters were read.
    """

    holds = True
    """Whether directories are held open from one pass to the next."""

    def __init__(self, path: str | Path = "/", tree: Tree | None = None) -> None:
        """`tree`: the files below `path`, where they are open already. `Unavailable` where there is no such directory."""
        self.tree = Tree.at(path) if tree is None else tree
        self.path = "/" if self.tree.is_host else str(path)
        self.mark: Mark | None = None if self.tree.is_host else read_mark(self.tree, self.path)
        self.refusals: list[Refusal] = []
        self.read_times: ReadTimes = {}
        self.held: dict[str, HeldDirectory] = {}
        self.opened: set[int] = set()
        self.last: dict[str, object] = {}
        self.room = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE)

    @property
    def live(self) -> bool:
        """Whether what is not a file may be asked: never on a recording."""
        return self.mark is None

    @property
    def page_bytes(self) -> int:
        """The size of a page on the host that is read."""
        return self.mark.page_bytes if self.mark else PAGESIZE

    def watch(self) -> SysRoot:
        """The same tree with its own refusals and its own read times, for one source."""
        view = copy.copy(self)
        view.refusals = []
        view.read_times = {}
        return view

    def later(self) -> SysRoot | None:
        """The second pass of a recording, a recording of its own below `later/`; None where there is none, and of what is live.

        `Unavailable` where it is not to be had, or has no mark: it would be taken for a live tree.
        """
        if self.mark is None:
            return None
        path = f"{self.path}/{LATER}"
        try:
            fd = self.tree.open(LATER, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            reason, detail = reason_of(error)
            raise Unavailable(reason, f"{path}: {detail}") from None
        root = SysRoot(path, Tree(fd))
        if root.mark is None:
            raise Unavailable("failed", f"{path}: no {MARK} in it", "record again with agent record")
        return root

    def date(self, key: str | int) -> None:
        """Note when counters are read (seconds): a group's by its path, a process' by its pid, or a file's by its path.

        A recording has the times of when it was made. One of format 1 has none, and its counters are dated as it is read.
        """
        if self.mark is None or self.mark.format < 2:
            self.read_times[key] = time.monotonic()
        elif (seconds := self.mark.read_times.get(str(key))) is not None:
            self.read_times[key] = seconds

    def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
        """The bytes of a file, None when it is absent or refused; or what `keep` leaves of them.

        A recording, too, holds no more than that of a file that may hold secrets.
        """
        try:
            data = self.tree.read(path)
        except OSError as error:
            self.refuse(path, error)
            return None
        return data if keep is None else keep(data)

    def text(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> str | None:
        """`raw` as text. Bytes that are not UTF-8 come as \\xNN; NUL bytes are dropped."""
        data = self.raw(path, keep)
        return None if data is None else decode(data)

    def parse(self, path: str, parser: Callable[[str], T], blank: bool = False, keep: Callable[[bytes], bytes] | None = None) -> T | None:
        """`parser` of the file, None when it is absent or, unless `blank` is a value of it, empty; `Malformed` names the path."""
        data = self.raw(path, keep)
        return None if data is None or not (blank or data.strip(BLANK)) else self.parse_bytes(path, data, parser)

    def parse_bytes(self, path: str, data: bytes, parser: Callable[[str], T]) -> T:
        """`parser` of what was read of a file; `Malformed` names its path."""
        try:
            return parser(decode(data))
        except Malformed as error:
            raise Malformed(error.detail, error.line, path) from None

    def require(self, path: str) -> str:
        """The whole file as text; `Unavailable` when it is not to be had."""
        return decode(self.require_raw(path))

    def require_raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes:
        """The bytes of the whole file; `Unavailable` when it is not to be had. A recording gets no more of it than `keep` leaves."""
        try:
            return self.tree.read(path)
        except OSError as error:
            refusal = self._refusal(path, error)
            raise Unavailable(refusal.reason, f"{path}: {refusal.detail}") from None

    def sealed(self, path: str, max_bytes: int, keep: Callable[[bytes], bytes]) -> bytes | None:
        """What `keep` leaves of a memfd that can neither shrink nor grow, by one of the kernel's links to it: map_files, fd.

        Such a link leads out of every root, and is followed as it can lead to nothing else: a file of no file system has these seals.
        """
        if self.mark is not None:
            return self.raw(path, keep)
        try:
            data = self.tree.read_sealed(path, max_bytes)
        except OSError as error:
            self.refuse(path, error)
            return None
        return keep(data)

    def words(self, path: str, words: Collection[bytes], known: Mapping[tuple[int, ...], Contents]) -> Contents | None:
        """Which of these words the program of a process holds, by the kernel's link to it: exe. One that is `known` is not read again.

        As with `sealed` the link leads out of every root; nothing else of the program leaves this call.
        """
        if self.mark is not None:
            data = self.raw(path)
            return None if data is None else Contents((), frozenset(word for word in words if word in data))
        try:
            return self.tree.words(path, words, known)
        except OSError as error:
            self.refuse(path, error)
            return None

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
            return self.tree.status(path).st_ino
        except OSError as error:
            self.refuse(path, error)
            return None

    def link(self, path: str) -> str | None:
        """Where a symbolic link leads, as it is written; None when it is absent or none. A recording keeps it in its mark."""
        if self.mark is not None:
            self.refusals += filter(None, [self.mark.refusals.get(printable(path))])
            return self.mark.links.get(printable(path))
        try:
            target = self.tree.link(path)
        except OSError as error:
            self.refuse(path, error)
            return None
        return None if target is None else printable(target)

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
            fd = self.tree.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.refuse(path, error)
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
            self.refuse(place.path, error)
            return []

    def text_in(self, place: HeldDirectory, name: str) -> str | None:
        """`text` of a name in a place."""
        if place.fd < 0:
            return self.text(f"{place.path}/{name}")
        data = self._bytes_in(place, name)
        return None if data is None or data is _REFUSED else decode(data)

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
        if data is not None and data is not _REFUSED and (blank or data.strip(BLANK)):
            try:
                value = parser(decode(data))
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
                return data if len(data) < 1 << 11 else pread_rest(held, data)
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
            fd = open_in(place.fd, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.refuse(f"{place.path}/{name}", error)
            return _REFUSED
        held = False
        try:
            data = os.read(fd, 1 << 13)
            # kernfs fills a page, or all that there is, before it hands out a part: only a long read may have more behind it.
            if len(data) >= 1 << 11:
                data = read_rest(fd, data)
            elif not self.tree.is_host:
                check_regular(fd)
            # Files may not take the descriptors of directories, not even of those that come.
            if len(place.files) < place.most and self.tree.is_host and len(self.opened) + len(self.held) < self.room - self.room // 16:
                held = name in place.parsed and name not in _LISTS
            if held:
                place.hold(name, fd)
            return data
        except OSError as error:
            self.refuse(f"{place.path}/{name}", error)
            return _REFUSED
        finally:
            if not held:
                os.close(fd)

    def socket(self, path: str) -> str | None:
        """The absolute path of a socket below the root, for a client library; None when there is none or nothing live may be asked."""
        if not self.live:
            return None
        try:
            status = self.tree.status(path)
        except OSError as error:
            self.refuse(path, error)
            return None
        return os.path.join(self.path, path) if stat.S_ISSOCK(status.st_mode) else None

    def reply(self, name: str, kind: type[T], ask: Callable[[], T]) -> T:
        """What is asked and not read: `ask()` on a live root, the stored answer on a recording."""
        return ask() if self.mark is None else replay(self.tree, self.mark, name, kind)

    def note(self, path: str, reason: Reason, detail: str) -> None:
        """Say that a reader left something out, and why: part of a gap, not an error."""
        self.refusals.append(Refusal(path, reason, detail))

    def drop_refusal(self, path: str) -> None:
        """Forget a refusal that the kernel documents for such a file, and that hides nothing: no gap."""
        self.refusals[:] = [refusal for refusal in self.refusals if refusal.path != path]

    def refuse(self, path: str, error: OSError) -> None:
        """Note what was not readable; nothing of what is absent."""
        if error.errno == errno.ENOENT and not (self.mark and self.mark.refusals):
            # Half of all files that are asked for do not exist.
            return
        refusal = self._refusal(path, error)
        if refusal.reason != "absent":
            self.refusals.append(refusal)

    def _refusal(self, path: str, error: OSError) -> Refusal:
        path = printable(path)
        return recorded_refusals(self.mark, error).get(path) or Refusal(path, *reason_of(error))

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        """The names in a directory, and whether each is a directory itself."""
        try:
            entries = [(name, is_directory) for name, is_directory, _ in self.tree.entries(path)]
        except OSError as error:
            self.refuse(path, error)
            return []
        if self.mark is None or not self.mark.links:
            return entries
        links = recorded_links(self.mark, path)
        return entries + [(name, False) for name in links.difference(name for name, _ in entries)]
