"""Directories of control groups and files in them that stay open from one pass to the next, and what was parsed of each file.

Composed over the door, which opens them. To open and close a file of kernfs costs four times as much as to read a short one, and most files
of most groups hold what they held before: then their parsed value is the one of the last pass. In a recording, and through a recorder,
nothing is held, and files are read by their paths.
"""

from __future__ import annotations

import os
import resource
import weakref
from collections.abc import Callable, Collection
from typing import TypeVar, cast

from collectors.root import BLANK, SysRoot, check_regular, decode, open_in, pread_rest, read_rest
from collectors.text import Malformed

T = TypeVar("T")

# Descriptors that are left to sockets, pipes, libraries and the file that is read.
_SPARE = 256

# How long files of groups may be, wherever the hierarchy is mounted.
_GROUP_FILE = "sys/fs/cgroup/file"

# The contents of a file that is not readable. Compared by identity, as a file may hold the same bytes.
_REFUSED = bytes(bytearray(b"refused"))

# v1 makes such a list when it is first read, and shows the same one to a reader who returns within a second (kernel/cgroup/cgroup-v1.c,
# cgroup_pidlist_start()): whoever reads each second would never see another.
_LISTS = ("cgroup.procs", "tasks")


class HeldDirectory:
    """A directory of a control group. With its path, `inode` tells it from the next directory of that name.

    `fd` is -1 where the directory is not held. Of a held one, `files` are the descriptors of held files by name, at most `max_files`, and
    `parsed` is what each file held when it was read last, and the value of that; a file that is absent holds None. `malformed` says of
    which of them something was not understood, `unparsed` are the contents of files that this pass has read already.
    """

    __slots__ = ("fd", "files", "inode", "malformed", "max_files", "parsed", "path", "unparsed")

    def __init__(self, path: str, inode: int | None, fd: int = -1) -> None:
        self.path = path
        self.inode = inode
        self.fd = fd
        self.files: dict[str, int] = {}
        self.max_files = 0
        self.parsed: dict[str, tuple[bytes | None, object]] = {}
        self.malformed: dict[str, Malformed] = {}
        self.unparsed: dict[str, bytes | None] = {}


class HeldDirectories:
    """The directories that are held, by path, and how many descriptors they and their files may take together: `capacity`.

    All are closed with this object.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE) if capacity is None else capacity
        self.directories: dict[str, HeldDirectory] = {}
        self.files: set[int] = set()
        weakref.finalize(self, _close_all, self.directories, self.files)

    @property
    def has_room(self) -> bool:
        return len(self.directories) + len(self.files) < self.capacity

    @property
    def has_room_for_files(self) -> bool:
        """Files may not take the descriptors of directories, not even of those that come."""
        return len(self.files) + len(self.directories) < self.capacity - self.capacity // 16

    def hold(self, path: str, inode: int, fd: int) -> HeldDirectory:
        """Hold an open directory, in the place of another one of its path."""
        self.close(path)
        directory = self.directories[path] = HeldDirectory(path, inode, fd)
        return directory

    def hold_file(self, directory: HeldDirectory, name: str, fd: int) -> None:
        directory.files[name] = fd
        self.files.add(fd)

    def close_file(self, directory: HeldDirectory, name: str) -> None:
        fd = directory.files.pop(name)
        self.files.discard(fd)
        os.close(fd)

    def close(self, path: str) -> None:
        """Close a directory and its files, where it is held."""
        if (directory := self.directories.pop(path, None)) is not None:
            for name in tuple(directory.files):
                self.close_file(directory, name)
            os.close(directory.fd)
            directory.fd = -1

    def keep(self, paths: Collection[str]) -> None:
        """Close the directories that are not among `paths`: they are gone, or not of interest any more."""
        for path in self.directories.keys() - paths:
            self.close(path)


def _close_all(directories: dict[str, HeldDirectory], files: set[int]) -> None:
    for fd in (*files, *(directory.fd for directory in directories.values())):
        os.close(fd)


class GroupFiles:
    """The files of control groups in one pass: read through `root`, or from the descriptors in `held`."""

    def __init__(self, root: SysRoot, held: HeldDirectories) -> None:
        self.root = root
        self.held = held
        self._is_host = root.tree.is_host

    def enter(self, path: str, inode: int | None = None) -> HeldDirectory | None:
        """A directory, None when it is absent or refused.

        The held one is it where `inode`, the number that its parent lists now, is still its own; where no parent lists it, where it is
        still the directory of that path.
        """
        if not self.root.can_hold:
            return HeldDirectory(path, self.root.inode(path))
        held = self.held.directories.get(path)
        if held is not None and held.inode == inode:
            return held
        if held is None and not self.held.has_room:
            return HeldDirectory(path, inode or self.root.inode(path))
        fd = self.root.open_directory(path)
        if fd is None:
            return None
        status = os.fstat(fd)
        if held is not None and inode is None and os.path.samestat(status, os.fstat(held.fd)):
            os.close(fd)
            return held
        return self.held.hold(path, status.st_ino, fd)

    def subdirectories(self, directory: HeldDirectory) -> list[tuple[str, int | None]]:
        """The directories in a directory by name, links not counted, with their inodes where it is held."""
        if directory.fd < 0:
            return [(name, None) for name in self.root.directories(directory.path)]
        # "." and the name in its parent: the links of a directory that has none below it (kernfs_refresh_inode() counts so, too).
        if os.fstat(directory.fd).st_nlink == 2:
            return []
        try:
            with os.scandir(directory.fd) as entries:
                return [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            self.root.refuse(directory.path, error)
            return []

    def text(self, directory: HeldDirectory, name: str) -> str | None:
        """The whole of a file in a directory, None when it is absent or refused."""
        if directory.fd < 0:
            return self.root.text(f"{directory.path}/{name}")
        data = self._read(directory, name)
        return None if data is None or data is _REFUSED else decode(data)

    def parse(self, directory: HeldDirectory, name: str, parser: Callable[[str], T], blank: bool = False) -> T | None:
        """`parser` of a file in a directory, None when it is absent, refused or, unless `blank` is a value of it, empty.

        A file has one parser: in a held directory, a file that holds what it held before has the value that it had. What cannot be
        understood is noted at each pass, and costs its lines, or the file.
        """
        if directory.fd < 0:
            return self.root.parse(f"{directory.path}/{name}", parser, blank)
        data = directory.unparsed.pop(name) if name in directory.unparsed else self._read(directory, name)
        last = directory.parsed.get(name)
        if last is not None and last[0] == data and data is not _REFUSED:
            if name in directory.malformed:
                self.root.note_malformed(f"{directory.path}/{name}", directory.malformed[name])
            return cast("T | None", last[1])
        value = None
        directory.malformed.pop(name, None)
        if data is not None and data is not _REFUSED and (blank or data.strip(BLANK)):
            try:
                value = parser(decode(data))
            except Malformed as error:
                value, directory.malformed[name] = cast("T | None", error.rest), error.at(f"{directory.path}/{name}")
                self.root.note_malformed(f"{directory.path}/{name}", error)
        directory.parsed[name] = data, value
        return value

    def unchanged(self, directories: Collection[HeldDirectory]) -> bool:
        """Whether all files that were parsed of these held directories hold what they held.

        `parse` does not read again what was read here. What was malformed in unchanged ones is noted here.
        """
        changes = [self._changed(directory) for directory in directories]
        if not any(changes):
            for directory in directories:
                for name, error in directory.malformed.items():
                    self.root.note_malformed(f"{directory.path}/{name}", error)
            return True
        for directory, changed in zip(directories, changes, strict=True):
            directory.unparsed = {name: data for name, (data, _) in directory.parsed.items()} | changed
        return False

    def _changed(self, directory: HeldDirectory) -> dict[str, bytes | None]:
        """The contents of those parsed files of a held directory that hold something else than before, or are refused."""
        changed: dict[str, bytes | None] = {}
        for name, (last, _) in directory.parsed.items():
            data = self._read(directory, name)
            # What is refused is refused at each pass, and has to be noted again.
            if data != last or data is _REFUSED:
                changed[name] = data
        return changed

    def _read(self, directory: HeldDirectory, name: str) -> bytes | None:
        """The contents of a file in a held directory: None where it is absent, _REFUSED where it is not readable."""
        fd = directory.files.get(name)
        if fd is not None:
            try:
                data = os.pread(fd, 1 << 13, 0)
                return data if len(data) < 1 << 11 else pread_rest(fd, data, _GROUP_FILE)
            except OSError:
                # Its controller was switched off, or the group removed; there may be another one of its name.
                self.held.close_file(directory, name)
        return self._open_and_read(directory, name)

    def _open_and_read(self, directory: HeldDirectory, name: str) -> bytes | None:
        """The same of a file that is not held. One of this host that is read again is held from then on, where there is room."""
        try:
            if not self._is_host:
                self.root.tree.begin(f"{directory.path}/{name}")
            fd = open_in(directory.fd, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.root.refuse(f"{directory.path}/{name}", error)
            return _REFUSED
        held = False
        try:
            data = os.read(fd, 1 << 13)
            # kernfs fills a page, or all that there is, before it hands out a part: only a long read may have more behind it.
            if len(data) >= 1 << 11:
                data = read_rest(fd, data, _GROUP_FILE)
            elif not self._is_host:
                check_regular(fd)
            if len(directory.files) < directory.max_files and self._is_host and self.held.has_room_for_files:
                held = name in directory.parsed and name not in _LISTS
            if held:
                self.held.hold_file(directory, name, fd)
            return data
        except OSError as error:
            self.root.refuse(f"{directory.path}/{name}", error)
            return _REFUSED
        finally:
            if not held:
                os.close(fd)
