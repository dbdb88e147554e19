"""Which Wasm runtime a process holds, by the files that it maps for execution; what is in a static binary shows itself by its image.

A runtime that is there need not be used: every Node can run Wasm. Those of `visible=False` keep their memories on the heap.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.runtimes import RUNTIMES, WASM_RUNTIMES, WASMTIME, Runtime
from collectors.proc_pid.maps import Vma

IMAGE = "/memfd:wasm-memory-image"
# What the embedder publishes in (collectors/wasm_stats).
TABLE = "/memfd:wasmstat.v1"


_WORDS = tuple(dict.fromkeys(word for runtime in WASM_RUNTIMES for word in runtime.map_words))


def may_hold_runtime(maps: bytes) -> bool:
    """Whether a map names a file that may be a runtime's: enough to dismiss most processes."""
    return any(word in maps for word in _WORDS)


def identify(vmas: Iterable[Vma]) -> list[tuple[Runtime, str]]:
    """The runtimes of a process, each with the mapped file that shows it: its program or library, or wasmtime's image of its data."""
    evidence: dict[str, str] = {}
    image = None
    looked_at: set[str] = set()
    for vma in vmas:
        path = vma.path
        if path in looked_at or not path.startswith("/"):
            continue
        plain = path.removesuffix(" (deleted)")
        if plain == IMAGE:
            image = image or path
        if "x" not in vma.perms:
            continue
        looked_at.add(path)
        name = plain.rpartition("/")[2]
        for runtime in WASM_RUNTIMES:
            if runtime.name not in evidence and runtime.files and runtime.files.fullmatch(name):
                evidence[runtime.name] = path
    if image and WASMTIME.name not in evidence:
        evidence[WASMTIME.name] = image
    return [(RUNTIMES[name], path) for name, path in evidence.items()]
