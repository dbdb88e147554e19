"""The door with a copier behind it: what a pass reads and is answered goes into a directory that can be read in the host's place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.model.values import encode_value
from collectors.root import FORMAT, MARK, Contents, Mark, Refusal, SysRoot, Unavailable
from collectors.text import printable

T = TypeVar("T")


class Recorder(SysRoot):
    """A root that copies what is read through it into `into`. `close()` writes the mark."""

    holds = False

    def __init__(self, path: str | Path, into: str | Path, taken_at: float, version: str) -> None:
        super().__init__(path)
        self.into = Path(into)
        self.made = Mark(format=FORMAT, taken_at=taken_at, version=version, page_bytes=PAGESIZE)

    def date(self, key: str | int) -> None:
        super().date(key)
        if key in self.read_times:
            self.made.read_times[str(key)] = self.read_times[key]

    def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
        with self._noting(path):
            data = super().raw(path, keep)
            if data is not None:
                self._store(path, data)
            return data

    def sealed(self, path: str, most_bytes: int, keep: Callable[[bytes], bytes]) -> bytes | None:
        with self._noting(path):
            data = super().sealed(path, most_bytes, keep)
            if data is not None:
                self._store(path, data)
            return data

    def words(self, path: str, words: Collection[bytes], known: Mapping[tuple[int, ...], Contents]) -> Contents | None:
        with self._noting(path):
            contents = super().words(path, words, known)
            if contents is not None:
                self._store(path, b"\n".join(sorted(contents.words)))
            return contents

    def _required(self, path: str, kept: Callable[[bytes], bytes] | None = None) -> bytes:
        try:
            data = super()._required(path)
        except Unavailable as error:
            if error.reason != "absent":
                name = printable(path)
                self.made.refusals[name] = Refusal(name, error.reason, error.detail.removeprefix(f"{path}: "))
            raise
        self._store(path, kept(data) if kept else data)
        return data

    def inode(self, path: str) -> int | None:
        number = super().inode(path)
        if number is not None:
            self.made.inodes[printable(path)] = number
        return number

    def link(self, path: str) -> str | None:
        with self._noting(path):
            target = super().link(path)
        if target is not None:
            self.made.links[printable(path)] = target
        return target

    def reply(self, name: str, kind: type[T], ask: Callable[[], T]) -> T:
        path = f"replies/{name}.json"
        try:
            answer = super().reply(name, kind, ask)
        except Unavailable as error:
            self.made.refusals[path] = Refusal(path, error.reason, printable(error.detail), error.remedy)
            raise
        self._store(path, msgspec.json.format(msgspec.json.encode(answer, enc_hook=encode_value), indent=1))
        return answer

    def _entries(self, path: str) -> list[tuple[str, bool]]:
        with self._noting(path):
            entries = super()._entries(path)
        for name, is_directory in entries:
            if is_directory:
                self._place(f"{path}/{name}").mkdir(exist_ok=True)
        return entries

    def close(self) -> None:
        (self.into / MARK).write_bytes(msgspec.json.format(msgspec.json.encode(self.made), indent=1))

    @contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        known = len(self.refusals)
        yield
        for refusal in self.refusals[known:]:
            self.made.refusals[refusal.path] = refusal

    def _place(self, path: str) -> Path:
        place = self.into / path
        if path.startswith("/") or ".." in place.parts:
            raise ValueError(f"{path} leads outside the recording")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _store(self, path: str, data: bytes) -> None:
        self._place(path).write_bytes(data)
