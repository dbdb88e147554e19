"""collectors/wasm_maps.py against real engines: what the embedder says of its memories is the truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache

pytestmark = [pytest.mark.real, pytest.mark.beside]

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

TOUCH = """(module (memory 30) (func (export "touch") (param i32 i32)
  (loop
    (i32.store8 (i32.mul (local.get 0) (i32.const 4096)) (i32.const 1))
    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
    (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))))"""


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
        (process,) = wasm_maps.read(root, {pid: None}, WasmCache()).processes
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


TOUCHES = (
    """
import json, sys, wasmtime
store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, """
    + repr(TOUCH)
    + """)
guests = [wasmtime.Instance(store, module, []).exports(store)["touch"] for _ in range(3)]
print(json.dumps([]), flush=True)
at = [0] * len(guests)
for line in sys.stdin:
    which, count = map(int, line.split())
    guests[which](store, at[which], count)
    at[which] += count
    print(flush=True)
"""
)


def test_resident_grows_by_what_a_guest_touches() -> None:
    """Memories of 30 pages hold no huge page: each store into a page of the host's is one page more."""
    pytest.importorskip("wasmtime")
    command = [sys.executable, "-c", TOUCHES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdout.readline()
            before = [0, 0, 0]
            for which, count in ((0, 1), (1, 3), (1, 100), (2, 480), (0, 37)):
                process.stdin.write(f"{which} {count}\n")
                process.stdin.flush()
                process.stdout.readline()
                (found,) = wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes
                assert [memory.size_bytes for memory in found.memories] == [30 << 16] * 3
                resident = sorted((memory.resident_bytes or 0) // PAGESIZE for memory in found.memories)
                before[which] += count
                assert resident == sorted(before)
            print(f"\nresident pages of three memories after 621 were touched: {resident}")
        finally:
            process.kill()


def test_a_process_that_has_ended_is_skipped() -> None:
    pytest.importorskip("wasmtime")
    with running(IDLE) as (pid, _):
        pass
    assert wasm_maps.read(SysRoot(), {pid: None}, WasmCache()).processes == ()


def test_threads_and_a_big_reservation_are_no_memories() -> None:
    root = SysRoot()
    with running(PLAIN) as (pid, _):
        assert virtual_bytes(root, pid) > wasm_maps.MIN_VIRTUAL_BYTES
        assert wasm_maps.read(root, {pid: None}, WasmCache()).processes == ()


def test_an_idle_runtime_is_there_and_has_no_memories() -> None:
    pytest.importorskip("wasmtime")
    with running(IDLE) as (pid, _):
        (process,) = wasm_maps.read(SysRoot(), {pid: None}, WasmCache()).processes
    assert (process.runtime, process.memories, process.visible) == ("wasmtime", (), True)


def test_an_idle_runtime_in_a_large_process_has_no_memories() -> None:
    pytest.importorskip("wasmtime")
    with running(IDLE_AND_LARGE) as (pid, _):
        (process,) = wasm_maps.read(SysRoot(), {pid: None}, WasmCache()).processes
    assert process.memories == ()


CHURNS = """
import json, os, sys, threading, time, wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module(engine, '(module (memory 1) (func (export "f") (drop (memory.grow (i32.const 2)))))')
made, stop = [0, 0], threading.Event()
def work(which):
    alive = []
    while not stop.is_set():
        store = wasmtime.Store(engine)
        instance = wasmtime.Instance(store, module, [])
        alive.append(store)
        if not made[which] % 8:
            instance.exports(store)["f"](store)
        if len(alive) > 16:
            alive.pop(0).close()
        made[which] += 1
        if which and not made[which] % 500:
            # One that ends and one that becomes another program, each with copies of whatever memories there are.
            for program in (None, "/bin/true"):
                if not os.fork():
                    if program:
                        os.execv(program, [program])
                    os._exit(0)
            os.wait(); os.wait()
threads = [threading.Thread(target=work, args=[which]) for which in range(2)]
print(json.dumps(0), flush=True)
began = time.monotonic()
for thread in threads: thread.start()
sys.stdin.readline()
stop.set()
for thread in threads: thread.join()
print(json.dumps([sum(made), time.monotonic() - began]), flush=True)
"""
CHURN_SECONDS = 5


def test_processes_that_change_while_they_are_read() -> None:
    """Memories that come, grow and go thousands of times a second, in a process that forks and in children that end and exec."""
    pytest.importorskip("wasmtime")
    root = SysRoot()
    with subprocess.Popen([sys.executable, "-c", CHURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdout.readline()
            looks = children = 0
            sizes: Counter[int] = Counter()
            end = time.monotonic() + CHURN_SECONDS
            while time.monotonic() < end:
                pids = {process.pid}
                pids |= {int(child) for tid in root.names(f"proc/{process.pid}/task") for child in _children(root, process.pid, tid)}
                children += len(pids) - 1
                looks += 1
                for one in wasm_maps.read(root, dict.fromkeys(pids), WasmCache()).processes:
                    there = Counter(memory.size_bytes for memory in one.memories)
                    # Reserved and not open yet: each of the two threads makes one at a time.
                    assert there[0] <= 2
                    sizes.update(there)
            process.stdin.write("\n")
            process.stdin.flush()
            made, seconds = json.loads(process.stdout.readline())
        finally:
            process.kill()
    print(
        f"\n{made / seconds:.0f} instantiations a second, {looks} looks at it and {children} at its children: {sizes.total()} memories,"
        f" {sizes[0]} caught before they were opened"
    )
    assert [refusal for refusal in root.refusals if refusal.reason != "absent"] == []
    # New or grown: nothing else was ever there.
    assert sizes.keys() <= {0, 1 << 16, 3 << 16}
    assert sizes.total() > looks


def _children(root: SysRoot, pid: int, tid: str) -> list[str]:
    return (root.text(f"proc/{pid}/task/{tid}/children") or "").split()


BOUND = """
import json, resource, sys, wasmtime
store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, '(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))')
grow = wasmtime.Instance(store, module, []).exports(store)["grow"]
data = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (data + (40 << 20), resource.RLIM_INFINITY))
print(json.dumps(0), flush=True)
for line in sys.stdin:
    print(json.dumps(grow(store, int(line))), flush=True)
"""


def test_the_kernel_lets_memories_grow_as_far_as_the_agent_says() -> None:
    """RLIMIT_DATA counts what is open of them, and refuses what is more."""
    pytest.importorskip("wasmtime")
    with subprocess.Popen([sys.executable, "-c", BOUND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdout.readline()
            answers = []
            for more in (100, 1, -1):
                room = _data_room(process.pid)
                # Python's own allocations come out of it, too.
                pages = more if more > 0 else int(room) // 65536 + 8
                process.stdin.write(f"{pages}\n")
                process.stdin.flush()
                answers.append((pages, json.loads(process.stdout.readline()), int(room)))
        finally:
            process.kill()
    print(f"\npages asked for, their former number or -1, and bytes of room before: {answers}")
    (_, first, room), (_, second, after), (_, refused, _) = answers
    assert (first, second, refused) == (1, 101, -1)
    assert 30 << 20 < room <= 40 << 20
    assert abs(room - after - 100 * 65536) < 1 << 20


def _data_room(pid: int) -> float:
    only = ("processes", "wasm_maps", "proc_task", "proc_limits")
    host = normalise(take(SysRoot(), Config(only=only), Caches()))
    (its,) = (workload for workload in host.workloads if workload.pid == pid)
    assert its.growth
    (room,) = (bound.room_bytes for bound in its.growth.bounds if bound.name == "process_data" and bound.room_bytes is not None)
    return room
