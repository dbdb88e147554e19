"""What the threads of a Wasm runtime do: by what their embedder states, by their names, and by who made their stacks.

Guest code runs on the thread that calls it, which has no mark of its own: of a thread that nothing tells of there is no role.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from agent.model.values import Origin
from agent.model.workload import Role, Thread
from collectors.wasm_maps import WasmProcess

# As the kernel cuts them. V8's workers compile and help to collect; Bun's are JavaScriptCore's.
_NAMES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"tokio-r(untime|t)-w.*|TokioTaskManag.*|wasmer-sdk-unif.*"), "executor"),
    (re.compile(r"V8 DefaultWorke.*|V8 ?Worker.*|JITWorker|JSCWarmUp"), "compiler"),
    (re.compile(r"HeapHelper"), "collector"),
)
# Embedders that link the runtime as a library through its C interface are not written in Rust; what the library starts is.
_LIBRARY = re.compile(r".*/_?libwasmtime\.(so|so\..*)")


def with_roles(
    process: WasmProcess, threads: tuple[Thread, ...], guests: Collection[int | None], pointers: Mapping[int, int]
) -> tuple[Thread, ...]:
    """`guests`: the threads that the embedder states to run guest code. `pointers`: the stack pointers of those that wait."""
    compiles = _LIBRARY.fullmatch(process.evidence.removesuffix(" (deleted)")) is not None
    found = []
    for thread in threads:
        role, origin = _role(thread, guests)
        pointer = pointers.get(thread.tid)
        if role is None and compiles and pointer is not None and any(low <= pointer < top for low, top in process.stacks):
            # wasmtime starts threads for nothing but to compile (rayon), and to look after its cache.
            role, origin = "compiler", "inferred"
        found.append(replace(thread, role=role, role_origin=origin) if role else thread)
    return tuple(found)


def _role(thread: Thread, guests: Collection[int | None]) -> tuple[Role | None, Origin | None]:
    if thread.tid in guests:
        return "guest", "configured"
    return next(((role, "inferred") for name, role in _NAMES if name.fullmatch(thread.name or "")), (None, None))
