"""Roles of a Wasm runtime's threads: by the embedder's statements, by their names, and by who allocated their stacks.

Guest code runs on the thread that calls it, which looks like any other. A thread without evidence has no role.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from agent.model.facts.proc_task import Thread
from agent.model.runtimes import RUNTIMES, Role, thread_role
from agent.model.values import Origin
from collectors.wasm_maps import WasmProcess


def with_roles(
    process: WasmProcess, threads: tuple[Thread, ...], guests: Collection[int | None], pointers: Mapping[int, int]
) -> tuple[Thread, ...]:
    """The threads with their roles. `guests`: tids that are stated to run guests. `pointers`: stack pointers of waiting threads by tid."""
    runtime = RUNTIMES.get(process.runtime)
    c_library = runtime.c_library if runtime else None
    # Embedders that link the runtime's C library are not written in Rust, so that Rust thread stacks are the library's.
    compiles = c_library is not None and c_library.fullmatch(process.evidence.removesuffix(" (deleted)")) is not None
    named = []
    for thread in threads:
        role, origin = _role(thread, guests)
        pointer = pointers.get(thread.tid)
        if role is None and compiles and pointer is not None and any(low <= pointer < top for low, top in process.stacks):
            # wasmtime starts threads only to compile (rayon) and to clean up its cache.
            role, origin = "compiler", "inferred"
        named.append(replace(thread, role=role, role_origin=origin) if role else thread)
    return tuple(named)


def _role(thread: Thread, guests: Collection[int | None]) -> tuple[Role | None, Origin | None]:
    if thread.tid in guests:
        return "guest", "configured"
    role = thread_role(thread.name)
    return role, "inferred" if role else None
