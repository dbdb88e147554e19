"""A door that copies what a pass reads and is answered into a directory, which can be read in the host's place."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.model.values import encode_value
from collectors.root.budget import Budget
from collectors.root.door import SysRoot
from collectors.root.files import Contents
from collectors.root.reasons import Refusal, Unavailable
from collectors.root.recording import FORMAT, MARK, Mark
from collectors.text import printable

T = TypeVar("T")


class Recorder(SysRoot):
    """A root that copies what is read through it into `into`. `close()` writes the mark, without which the copy is no recording."""

    def __init__(self, path: str | Path, into: str | Path, taken_at: float, version: str) -> None:
        super().__init__(path)
        # Every file has to be read through the door at each pass.
        self.can_hold = False
        self.into = Path(into)
        self.new_mark = Mark(format=FORMAT, taken_at=taken_at, version=version, page_bytes=PAGESIZE, by_root=os.geteuid() == 0)

    def close(self) -> None:
        (self.into / MARK).write_bytes(msgspec.json.format(msgspec.json.encode(self.new_mark), indent=1))

    def date(self, key: str | int) -> None:
        super().date(key)
        if key in self.read_times:
            self.new_mark.read_times[str(key)] = self.read_times[key]

    def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
        with self._refusals_recorded():
            data = super().raw(path, keep)
        if data is not None:
            self._store(path, data)
        return data

    def sealed(self, path: str, max_bytes: int, keep: Callable[[bytes], bytes]) -> bytes | None:
        with self._refusals_recorded():
            data = super().sealed(path, max_bytes, keep)
        if data is not None:
            self._store(path, data)
        return data

    def words(
        self, path: str, words: Collection[bytes], cached: Mapping[tuple[int, ...], Contents], budget: Budget, max_bytes: int
    ) -> Contents | None:
        with self._refusals_recorded():
            contents = super().words(path, words, cached, budget, max_bytes)
        if contents is not None:
            self._store(path, b"\n".join(sorted(contents.words)))
        return contents

    def require_raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes:
        try:
            data = super().require_raw(path)
        except Unavailable as error:
            if error.reason != "absent":
                name = printable(path)
                self.new_mark.refusals[name] = Refusal(name, error.reason, error.detail.removeprefix(f"{path}: "))
            raise
        self._store(path, keep(data) if keep else data)
        return data

    def inode(self, path: str) -> int | None:
        number = super().inode(path)
        if number is not None:
            self.new_mark.inodes[printable(path)] = number
        return number

    def link(self, path: str) -> str | None:
        with self._refusals_recorded():
            target = super().link(path)
        if target is not None:
            self.new_mark.links[printable(path)] = target
        return target

    def reply(self, name: str, kind: type[T], ask: Callable[[], T]) -> T:
        path = f"replies/{name}.json"
        try:
            answer = super().reply(name, kind, ask)
        except Unavailable as error:
            self.new_mark.refusals[path] = Refusal(path, error.reason, printable(error.detail), error.remedy)
            raise
        self._store(path, msgspec.json.format(msgspec.json.encode(answer, enc_hook=encode_value), indent=1))
        return answer

    def _entries(self, path: str) -> list[tuple[str, bool, int | None]]:
        with self._refusals_recorded():
            entries = super()._entries(path)
        for name, is_directory, _ in entries:
            if is_directory:
                self._target(f"{path}/{name}").mkdir(exist_ok=True)
        return entries

    @contextmanager
    def _refusals_recorded(self) -> Iterator[None]:
        """The refusals that are added within it go into the mark."""
        before = len(self.refusals)
        yield
        for refusal in self.refusals[before:]:
            self.new_mark.refusals[refusal.path] = refusal

    def _target(self, path: str) -> Path:
        target = self.into / path
        if path.startswith("/") or ".." in target.parts:
            raise ValueError(f"{path} leads outside the recording")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _store(self, path: str, data: bytes) -> None:
        self._target(path).write_bytes(data)
