"""collectors/wasm_maps.py against real engines: what the embedder says of its memories is the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE

import pytest

from collectors import wasm_maps
from collectors.sysroot import SysRoot

pytestmark = pytest.mark.real

# Each subject prints one line when it is ready and stays until its stdin ends.
RESERVE = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
NORESERVE = 0x4000
def reserve(size):
    at = libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE, -1, 0)
    assert at not in (None, ctypes.c_void_p(-1).value)
    return at
"""

PLAIN = (
    RESERVE
    + """
import json, sys, threading
at = reserve(100 << 30)
assert libc.mprotect(ctypes.c_void_p(at + (40 << 30)), 1 << 20, 3) == 0
stop = threading.Event()
for _ in range(8):
    threading.Thread(target=stop.wait, daemon=True).start()
print(json.dumps("ready"), flush=True)
sys.stdin.read()
"""
)

IDLE = """
import json, sys, wasmtime
store = wasmtime.Store(wasmtime.Engine())
print(json.dumps("ready"), flush=True)
sys.stdin.read()
"""

IDLE_AND_LARGE = RESERVE + "reserve(100 << 30)\n" + IDLE

MEMORIES = """
import ctypes, json, sys, wasmtime
def instances(engine, subjects):
    store = wasmtime.Store(engine)
    made = []
    for declared, data, grow, touch in subjects:
        segment = '(data (i32.const 70000) "image")' if data else ""
        module = wasmtime.Module(engine, f'(module (memory (export "m") {declared}) {segment})')
        memory = wasmtime.Instance(store, module, []).exports(store)["m"]
        made.append((memory, grow, touch))
    for memory, grow, touch in made:
        memory.grow(store, grow)
        for page in range(touch):
            memory.write(store, b"x", page * 4096)
    print(json.dumps([
        (ctypes.addressof(memory.data_ptr(store).contents), memory.data_len(store), touch * 4096) for memory, _, touch in made
    ]), flush=True)
    sys.stdin.read()
"""

DEFAULT = MEMORIES + "instances(wasmtime.Engine(), [(1, False, 7, 20), (2, True, 300, 1000), (0, False, 1, 0), (0, False, 0, 0)])"

# The pool has no property in Python; the library's C API has it.
POOLED = (
    MEMORIES
    + """
from wasmtime import _ffi
config = wasmtime.Config()
_ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), _ffi.wasmtime_pooling_allocation_config_new())
instances(wasmtime.Engine(config), [(1, False, 7, 20), (2, True, 30, 100), (1, False, 0, 0)])
"""
)


@contextmanager
def running(code: str) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """The pid of a Python that runs `code`, and what it printed."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, "the subject ended before it was ready"
            yield process.pid, json.loads(line)
        finally:
            process.kill()


def virtual_bytes(root: SysRoot, pid: int) -> int:
    return int(root.require(f"proc/{pid}/statm").split()[0]) * PAGESIZE


@pytest.mark.parametrize(("code", "layout"), [(DEFAULT, "wasmtime-28"), (POOLED, "wasmtime-pooling")], ids=["default", "pooled"])
def test_the_embedder_agrees(code: str, layout: str) -> None:
    pytest.importorskip("wasmtime")
    root = SysRoot()
    with running(code) as (pid, truth):
        (process,) = wasm_maps.read(root, [pid])
    assert (process.pid, process.runtime) == (pid, "wasmtime")
    assert process.evidence.endswith("/_libwasmtime.so")
    assert [(memory.base, memory.size_bytes) for memory in process.memories] == sorted((base, size) for base, size, _ in truth)
    assert {(memory.layout, memory.confidence) for memory in process.memories} == {(layout, "high")}
    touched = {base: size for base, _, size in truth}
    for memory in process.memories:
        assert memory.resident_bytes is not None
        assert touched[memory.base] <= memory.resident_bytes <= memory.size_bytes
        assert memory.resident_by_node is None or sum(memory.resident_by_node.values()) == memory.resident_bytes
    assert root.refusals == []


def test_a_process_that_has_ended_is_skipped() -> None:
    pytest.importorskip("wasmtime")
    with running(IDLE) as (pid, _):
        pass
    assert wasm_maps.read(SysRoot(), [pid]) == ()


def test_threads_and_a_big_reservation_are_no_memories() -> None:
    root = SysRoot()
    with running(PLAIN) as (pid, _):
        assert virtual_bytes(root, pid) > wasm_maps.MIN_VIRTUAL_BYTES
        assert wasm_maps.read(root, [pid]) == ()


def test_an_idle_runtime_below_4_gib_is_not_looked_at() -> None:
    pytest.importorskip("wasmtime")
    root = SysRoot()
    with running(IDLE) as (pid, _):
        assert virtual_bytes(root, pid) < wasm_maps.MIN_VIRTUAL_BYTES
        assert wasm_maps.read(root, [pid]) == ()


def test_an_idle_runtime_in_a_large_process_has_no_memories() -> None:
    pytest.importorskip("wasmtime")
    with running(IDLE_AND_LARGE) as (pid, _):
        (process,) = wasm_maps.read(SysRoot(), [pid])
    assert process.memories == ()
