"""Which Wasm runtime a process holds, by the files that it maps for execution; what is in a static binary shows itself by its image.

A runtime that is there need not be used: every Node can run Wasm. Those of `visible=False` keep their memories on the heap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.model.values import Fact
from collectors.wasm_maps import layouts
from collectors.wasm_maps.files import Vma
from collectors.wasm_maps.layouts import Elastic, Layout

IMAGE = "/memfd:wasm-memory-image"
# What the embedder publishes in (collectors/wasm_stats).
TABLE = "/memfd:wasmstat.v1"


class Runtime(Fact, frozen=True, kw_only=True):
    """`file` matches the whole name of a program or library. `learns`: its reservation and guard are the embedder's to choose."""

    name: str
    file: re.Pattern[str]
    layouts: tuple[Layout, ...] = ()
    elastic: tuple[Elastic, ...] = ()
    learns: bool = False
    visible: bool = True


_SO = r"(\.so|\.so\..*|[-.].*\.so)"
_WASMTIME = rf"_?libwasmtime{_SO}|libextism[-_\w]*\.so|wasmtime|wasmtime-min|spin|containerd-shim-(wasmtime|spin)[-\w]*"
RUNTIMES = (
    Runtime(name="wasmtime", file=re.compile(_WASMTIME), layouts=layouts.WASMTIME, elastic=layouts.WASMTIME_ELASTIC, learns=True),
    Runtime(
        name="wasmer", file=re.compile(rf"libwasmer[-_\w]*{_SO}|wasmer([-.].*\.so)?|containerd-shim-wasmer[-\w]*"), layouts=layouts.WASMER
    ),
    Runtime(name="node", file=re.compile(rf"node|nodejs|libnode{_SO}"), layouts=layouts.V8),
    Runtime(name="wasmedge", file=re.compile(rf"libwasmedge{_SO}|wasmedge|containerd-shim-wasmedge[-\w]*"), layouts=layouts.WASMEDGE),
    Runtime(name="wamr", file=re.compile(rf"iwasm[-\w]*|libiwasm{_SO}"), layouts=layouts.WAMR),
    Runtime(name="spidermonkey", file=re.compile(rf"libmozjs[-\w]*{_SO}|js\d+"), layouts=layouts.SPIDERMONKEY),
    # Their memories are as large as each module declares, or lie on the heap: not told from other mappings.
    Runtime(name="deno", file=re.compile(r"deno"), visible=False),
    Runtime(name="workerd", file=re.compile(r"workerd"), visible=False),
    Runtime(name="bun", file=re.compile(r"bun"), visible=False),
    Runtime(name="wasm3", file=re.compile(rf"wasm3([-.].*\.so)?|libwasm3{_SO}"), visible=False),
)
_BY_NAME = {runtime.name: runtime for runtime in RUNTIMES}
# One of these is in the map of every process with a runtime; most processes are dismissed by it.
_WORDS = (b"wasm", b"extism", b"mozjs", b"/spin", b"/node", b"/libnode", b"/js", b"/deno", b"/workerd", b"/bun", b"shim-spin")


def may_hold_runtime(maps: bytes) -> bool:
    return any(word in maps for word in _WORDS)


def identify(vmas: Iterable[Vma]) -> list[tuple[Runtime, str]]:
    """The runtimes of a process, each with the mapped file that shows it: its program or library, or wasmtime's image of its data."""
    found: dict[str, str] = {}
    image = None
    seen: set[str] = set()
    for vma in vmas:
        path = vma.path
        if path in seen or not path.startswith("/"):
            continue
        plain = path.removesuffix(" (deleted)")
        if plain == IMAGE:
            image = image or path
        if "x" not in vma.perms:
            continue
        seen.add(path)
        name = plain.rpartition("/")[2]
        for runtime in RUNTIMES:
            if runtime.name not in found and runtime.file.fullmatch(name):
                found[runtime.name] = path
    if image and "wasmtime" not in found:
        found["wasmtime"] = image
    return [(_BY_NAME[name], path) for name, path in found.items()]
