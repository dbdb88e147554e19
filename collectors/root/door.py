"""The only door to the host: files, and everything that is asked and not read (`reply`).

A `SysRoot` is a directory with `proc/`, `sys/` and `run/` below it: "/" is this host, another one a container's view of it
(`/host`) or a recording made by `agent record`. Paths are relative to it and never lead out of it.
"""

from __future__ import annotations

import copy
import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar

from agent.model.values import ReadTimes, Reason
from collectors.root.budget import Budget
from collectors.root.files import BLANK, Contents, Tree, decode
from collectors.root.reads import Reads
from collectors.root.reasons import Refusal, Unavailable, reason_of
from collectors.root.recording import LATER, MARK, Mark, read_mark, recorded_links, recorded_refusals, recorded_reply
from collectors.text import Malformed, printable

T = TypeVar("T")


class SysRoot:
    """One tree of files, and what its host answers.

    `path` is where it lies, for messages. `mark` is that of a recording, None of what is live. `refusals` are the paths that were not
    readable, `malformed` those that were not understood, all or in part, `read_times` when counters were read. `can_hold`: whether a reader
    may keep files open from one pass to the next, and read them beside this door.
    """

    def __init__(self, path: str | Path = "/", tree: Tree | None = None) -> None:
        """`tree`: the files below `path`, where they are open already. `Unavailable` where there is no such directory."""
        self.tree = Tree.at(path) if tree is None else tree
        self.path = "/" if self.tree.is_host else str(path)
        self.mark: Mark | None = None if self.tree.is_host else read_mark(self.tree, self.path)
        self.refusals: list[Refusal] = []
        self.malformed: list[Malformed] = []
        self.read_times: ReadTimes = {}
        self.can_hold = self.mark is None

    @property
    def live(self) -> bool:
        """Whether what is not a file may be asked: never on a recording."""
        return self.mark is None

    @property
    def page_bytes(self) -> int:
        """The size of a page on the host that is read."""
        return self.mark.page_bytes if self.mark else PAGESIZE

    def watch(self) -> SysRoot:
        """The same tree with its own refusals, malformed texts and read times, for one source."""
        view = copy.copy(self)
        view.refusals = []
        view.malformed = []
        view.read_times = {}
        return view

    def with_reads(self, reads: Reads) -> SysRoot:
        """The same door, of whose reads somebody is told."""
        view = copy.copy(self)
        view.tree = self.tree.with_reads(reads)
        return view

    @contextmanager
    def near(self, paths: Collection[str]) -> Iterator[SysRoot]:
        """The same door, in which these directories are open already."""
        view = copy.copy(self)
        with self.tree.near(paths) as view.tree:
            yield view

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

        In a recording these are the times at which it was made. One of format 1 has none: there it is the time of the replay.
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
        """`parser` of the file, None when it is absent or, unless `blank` is a value of it, empty.

        What it cannot understand is noted, and costs the lines that `Malformed` names, else the file: None.
        """
        data = self.raw(path, keep)
        return None if data is None or not (blank or data.strip(BLANK)) else self.parse_bytes(path, data, parser)

    def parse_bytes(self, path: str, data: bytes, parser: Callable[[str], T]) -> T | None:
        """The same of what was read of a file."""
        try:
            return parser(decode(data))
        except Malformed as error:
            rest: T | None = error.rest
            self.note_malformed(path, error)
            return rest

    def require(self, path: str) -> str:
        """The whole file as text; `Unavailable` when it is not to be had."""
        return decode(self.require_raw(path))

    def require_parsed(self, path: str, parser: Callable[[str], T]) -> T:
        """`parser` of the whole file; `Unavailable` when it is not to be had, `Malformed` when nothing of it can be understood."""
        text = self.require(path)
        try:
            return parser(text)
        except Malformed as error:
            rest: T | None = error.rest
            if rest is None:
                raise error.at(path) from None
            self.note_malformed(path, error)
            return rest

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

    def words(
        self, path: str, words: Collection[bytes], cached: Mapping[tuple[int, ...], Contents], budget: Budget, max_bytes: int
    ) -> Contents | None:
        """Which of these words the program of a process holds, by the kernel's link to it: exe.

        One that is in `cached`, by its identity, is not read again. At most so many bytes are read, and no more than the budget allows.

        As with `sealed` the link leads out of every root; nothing else of the program leaves this call.
        """
        if self.mark is not None:
            data = self.raw(path)
            return None if data is None else Contents((), frozenset(word for word in words if word in data))
        try:
            return self.tree.words(path, words, cached, budget, max_bytes)
        except OSError as error:
            self.refuse(path, error)
            return None

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; none when it is absent."""
        return tuple(sorted(name for name, _, _ in self._entries(path)))

    def directories(self, path: str) -> tuple[str, ...]:
        """The names of the directories in a directory (links to directories are not), sorted."""
        return tuple(sorted(name for name, is_directory, _ in self._entries(path) if is_directory))

    def directory_inodes(self, path: str) -> list[tuple[str, int | None]]:
        """`directories` with the inode of each: None in a recording, which keeps none of what is listed, and while one is made."""
        return sorted((name, inode if self.can_hold else None) for name, is_directory, inode in self._entries(path) if is_directory)

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

    def open_directory(self, path: str) -> int | None:
        """The descriptor of an open directory, None when it is absent or refused. It is the caller's to close."""
        try:
            return self.tree.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.refuse(path, error)
            return None

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
        if self.mark is None:
            return ask()
        answer, malformed = recorded_reply(self.tree, self.mark, name, kind)
        self.note_malformed(f"replies/{name}.json", *malformed)
        return answer

    def note(self, path: str, reason: Reason, detail: str) -> None:
        """Say that a reader left something out, and why: part of a gap, not an error."""
        self.refusals.append(Refusal(path, reason, detail))

    def note_malformed(self, path: str, *errors: Malformed) -> None:
        """Say that a text, or lines of it, were left out because they were not understood: part of a gap that names the path."""
        self.malformed += [error.at(path) for error in errors]

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

    def _entries(self, path: str) -> list[tuple[str, bool, int | None]]:
        """The names in a directory, whether each is a directory itself, and its inode."""
        links = recorded_links(self.mark, path) if self.mark and self.mark.links else set()
        try:
            entries = self.tree.entries(path)
        except OSError as error:
            # A recording has no directory for links alone, as of a process' descriptors.
            if not links:
                self.refuse(path, error)
                return []
            entries = []
        return entries + [(name, False, None) for name in links.difference(name for name, _, _ in entries)]
