"""Runtimes in static binaries of any name: by what their own code says of itself, which stripping leaves in place.

A program is searched when the map of a process of it looks like a runtime's, and once as long as such a process lives.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.runtimes import WASM_RUNTIMES, Runtime
from collectors.proc_pid.maps import Vma
from collectors.root import Budget, Contents, SysRoot
from collectors.wasm_maps.detection import detect

_MARKED = [runtime for runtime in WASM_RUNTIMES if runtime.code_words]
_ALL_WORDS = tuple(word for runtime in _MARKED for word in runtime.code_words)


class Searched(NamedTuple):
    """What a program holds, for the cache; the runtime, where its words and the map agree on one, once all of it is searched."""

    contents: Contents
    runtime: Runtime | None


def search(
    root: SysRoot,
    pid: int,
    vmas: list[Vma],
    searched: dict[tuple[int, ...], Contents],
    budget: Budget,
    max_bytes: int,
) -> Searched | None:
    """None where the map looks like no runtime's, or the program cannot be read. Programs that were `searched` are not read again."""
    # What an embedder has chosen, or what anybody may reserve, is no reason to read a program.
    candidates = [runtime for runtime in _MARKED if _looks_like(vmas, runtime, budget)]
    if not candidates:
        return None
    contents = root.words(f"proc/{pid}/exe", _ALL_WORDS, searched, budget, max_bytes)
    if contents is None:
        return None
    if contents.unread_from is not None:
        return Searched(contents, None)
    return Searched(contents, next((runtime for runtime in candidates if contents.words & {*runtime.code_words}), None))


def _looks_like(vmas: list[Vma], runtime: Runtime, budget: Budget) -> bool:
    return any(memory.size_bytes and memory.confidence == "high" for memory in detect(vmas, [replace(runtime, learns=False)], budget))


def shape(maps: bytes) -> bytes:
    """A map without the names of its files: that they are files is all that matters, and a recording keeps no more."""
    return _PATHS.sub(rb"\1/\n", maps)


_PATHS = re.compile(rb"(?m)^((?:[^ \n]+ +){5})/.*\n")
