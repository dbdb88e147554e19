"""collectors/wasm_maps: who holds a runtime, and the pass over processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from collectors import wasm_maps
from collectors.proc_pid.maps import Vma
from collectors.root import MARK, SysRoot
from collectors.wasm_maps import WasmCache, detection
from collectors.wasm_maps.layouts import GIB, MIB
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.runtimes import identify, may_hold_runtime
from tests.unit.tree import A_MARK, grow, malformed
from tests.unit.wasm_space import IMAGE, KIB, LIBRARY, PAGE, Space, maps, running, write


@pytest.mark.parametrize(
    ("path", "perms", "yes"),
    [
        (LIBRARY, "r-xp", True),
        (LIBRARY, "r--p", False),
        (LIBRARY + " (deleted)", "r-xp", True),
        ("/usr/lib/libwasmtime.so.50", "r-xp", True),
        ("/usr/lib/libwasmtime-50.so", "r-xp", True),
        ("/usr/local/bin/wasmtime", "r-xp", True),
        ("/usr/local/bin/wasmtime (deleted)", "r-xp", True),
        (IMAGE, "rw-p", True),
        ("/memfd:wasm-memory-image", "rw-p", True),
        ("/home/me/wasmtime/tool", "r-xp", False),
        ("/usr/bin/my wasmtime", "r-xp", False),
        ("/x/libwasmtime.so\\012/y", "r-xp", False),
        ("/memfd:wasm-memory-images (deleted)", "rw-p", False),
        ("", "r-xp", False),
    ],
)
def test_identity(path: str, perms: str, yes: bool) -> None:
    found = identify([Vma(0, 1, "r-xp", "/bin/x"), Vma(1, 2, perms, path)])
    assert [(runtime.name, evidence) for runtime, evidence in found] == ([("wasmtime", path)] if yes else [])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v/site-packages/wasmer_sdk/libwasmer_sdk_uniffi.so", "wasmer"),
        ("/v/site-packages/wasmer/wasmer.abi3.so", "wasmer"),
        ("/usr/lib/libwasmer.so", "wasmer"),
        ("/usr/bin/node", "node"),
        ("/usr/lib/x86_64-linux-gnu/libnode.so.108", "node"),
        ("/usr/local/bin/containerd-shim-spin-v2", "wasmtime"),
        ("/v/site-packages/extism_sys/libextism_sys.so", "wasmtime"),
        ("/usr/lib/libwasmedge.so.0", "wasmedge"),
        ("/usr/lib/x86_64-linux-gnu/libmozjs-102.so.102.15.1", "spidermonkey"),
        ("/v/wasm3.cpython-311-x86_64-linux-gnu.so", "wasm3"),
        ("/home/node/tool", None),
        ("/usr/bin/nodes", None),
        ("/usr/lib/libwasmerish/x.so", None),
    ],
)
def test_other_runtimes(path: str, name: str | None) -> None:
    found = identify([Vma(1, 2, "r-xp", path)])
    assert [runtime.name for runtime, _ in found] == ([name] if name else [])
    assert not name or may_hold_runtime(path.encode())


def test_residency(tmp_path: Path) -> None:
    space = Space().memory(2 * PAGE).closed(32 * MIB).open(PAGE).open(PAGE, IMAGE).closed(4 * GIB + 32 * MIB - 2 * PAGE).memory(0)
    first, second, image = (vma.start for vma in space.vmas if vma.perms == "rw-p")
    numa = (
        f"{first:x} default anon=2 N0=2 kernelpagesize_kB=4\n"
        f"{second:x} default N0=1 N1=2 kernelpagesize_kB=4\n"
        f"{image:x} default file=x N1=1 kernelpagesize_kB=4\n"
    )
    smaps = (
        f"{first:x}-{second:x} rw-p 0 0 0\nRss:    8 kB\nVmFlags: rd\n"
        f"{second:x}-{image:x} rw-p 0 0 0\nRss: 12 kB\n"
        f"{image:x}-{image + 4096:x} rw-p 0 0 0 /x\nRss: 4 kB\n"
    )
    write(tmp_path, 1, maps=running(space), numa_maps=numa, smaps="nonsense")
    write(tmp_path, 2, maps=running(space), smaps=smaps)
    write(tmp_path, 3, maps=running(space))
    write(tmp_path, 4, maps=running(space), numa_maps=f"{second:x} default\n")
    by_node, total, unknown, gone = wasm_maps.read(SysRoot(tmp_path), dict.fromkeys(range(9)), WasmCache()).processes
    assert [memory.resident_by_node for memory in by_node.memories] == [{0: 8 * KIB}, {0: 4 * KIB, 1: 12 * KIB}, {}]
    assert [memory.resident_bytes for memory in by_node.memories] == [8 * KIB, 16 * KIB, 0]
    assert [memory.resident_bytes for memory in total.memories] == [8 * KIB, 16 * KIB, 0]
    assert {memory.resident_by_node for memory in total.memories} == {None}
    assert {memory.resident_bytes for memory in unknown.memories} == {None}
    assert [memory.resident_bytes for memory in gone.memories] == [None, 0, 0]
    assert {(one.runtime, one.evidence) for one in (by_node, total, unknown, gone)} == {("wasmtime", LIBRARY)}


def test_who_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 1, maps=maps(Space().memory(PAGE).vmas))  # memories, no runtime
    write(tmp_path, 2, maps=running(Space()))  # a runtime, no memories
    write(tmp_path, 3, pages=1000)  # small, and its map is missing
    write(tmp_path, 4)
    write(tmp_path, 5, pages=0, maps="")  # a zombie or a thread of the kernel
    write(tmp_path, 6, maps="wasmtime.so\n")
    write(tmp_path, 7, maps=running(Space().memory(PAGE)), numa_maps="what?\n")
    write(tmp_path, 8, maps=running(Space().memory(PAGE)))
    (tmp_path / "proc/8/statm").write_text("many\n")
    write(tmp_path, 9, maps=running(Space().memory(PAGE)))
    root = SysRoot(tmp_path)
    found = wasm_maps.read(root, dict.fromkeys(range(12)), WasmCache()).processes
    assert [(process.pid, len(process.memories)) for process in found] == [(2, 0), (7, 1), (8, 1), (9, 1)]
    assert [(refusal.path, refusal.reason) for refusal in root.refusals] == [("proc/3/maps", "absent"), ("proc/4/maps", "absent")]
    assert malformed(root) == ["proc/6/maps", "proc/7/numa_maps", "proc/8/statm"]


def test_a_runtime_may_be_small_and_idle(tmp_path: Path) -> None:
    write(tmp_path, 1, pages=1000, maps=running(Space()))
    write(tmp_path, 2, pages=1000, maps=maps([Vma(0, 4096, "r-xp", "/usr/bin/bun")]))
    runtime, other = wasm_maps.read(SysRoot(tmp_path), dict.fromkeys([1, 2]), WasmCache()).processes
    assert (runtime.runtime, runtime.memories, runtime.visible) == ("wasmtime", (), True)
    assert (other.runtime, other.memories, other.visible) == ("bun", (), False)


def test_a_map_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    class Counted(SysRoot):
        asked: list[str] = []

        def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
            self.asked.append(path.rpartition("/")[2])
            return super().raw(path, keep)

    write(tmp_path, 1, maps=maps(Space().memory(PAGE).vmas))
    write(tmp_path, 2, maps=running(Space()))
    write(tmp_path, 3, maps=running(Space().memory(PAGE)))
    root, cache = Counted(tmp_path), WasmCache()

    def look(started: dict[int, float | None]) -> tuple[list[int], int]:
        """Pids of the processes with a runtime, and how many maps were read for it."""
        root.asked.clear()
        found = wasm_maps.read(root, started, cache)
        return [process.pid for process in found.processes], root.asked.count("maps")

    starts: dict[int, float | None] = {1: 1.0, 2: 2.0, 3: 3.0}
    assert look(starts) == ([2, 3], 3)
    assert look(starts) == ([2, 3], 1)  # memories are looked at each time
    assert look(starts | {1: 9.0, 2: None}) == ([2, 3], 3)
    (tmp_path / "proc/1/statm").write_text(f"{2 << 20} 1 1 1 0 2 0\n")
    assert look(starts | {1: 9.0}) == ([2, 3], 3)
    assert look({}) == ([], 0)
    assert cache.processes == {}


def test_a_map_that_says_what_it_said_holds_the_same_memories_as_they_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space().memory(PAGE).hole().memory(2 * PAGE)
    first = next(vma.start for vma in space.vmas if vma.perms == "rw-p")
    numa, looked = f"{first:x} default anon=2 N0={{}} kernelpagesize_kB=4\n", []
    write(tmp_path, 1, maps=running(space), numa_maps=numa.format(2))

    def detected(*arguments: object) -> list[MappedMemory]:
        looked.append(arguments)
        return detection.detect(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wasm_maps, "detect", detected)
    cache = WasmCache()
    before = wasm_maps.read(SysRoot(tmp_path), {1: 1.0}, cache)
    (tmp_path / "proc/1/numa_maps").write_text(numa.format(5))
    after = wasm_maps.read(SysRoot(tmp_path), {1: 1.0}, cache)
    resident = [[memory.resident_bytes for memory in found.processes[0].memories] for found in (before, after)]
    assert (resident[0][0], resident[1][0], len(looked)) == (2 * 4096, 5 * 4096, 1)
    assert after == wasm_maps.read(SysRoot(tmp_path), {1: 1.0}, WasmCache())
    (tmp_path / "proc/1/numa_maps").unlink()
    unknown = wasm_maps.read(SysRoot(tmp_path), {1: 1.0}, cache)
    assert {memory.resident_bytes for memory in unknown.processes[0].memories} == {None}
    (tmp_path / "proc/1/maps").write_text(running(Space().memory(3 * PAGE).hole().memory(2 * PAGE)))
    grown = wasm_maps.read(SysRoot(tmp_path), {1: 1.0}, cache)
    assert [memory.size_bytes for memory in grown.processes[0].memories] == [3 * PAGE, 2 * PAGE]
    # The same map of another process of that number.
    looked.clear()
    wasm_maps.read(SysRoot(tmp_path), {1: 2.0}, cache)
    assert len(looked) == 1


def test_huge_pages_and_swap(tmp_path: Path) -> None:
    space = Space().memory(4 * MIB).hole().memory(PAGE)
    big, small = (vma.start for vma in space.vmas if vma.perms == "rw-p")
    numa = f"{big:x} default anon=2 N0=1024 kernelpagesize_kB=4\n{small:x} default N0=1 kernelpagesize_kB=4\n"
    rollup = "1000-7fff00000000 ---p 00000000 00:00 0    [rollup]\nRss: 6000 kB\nAnonHugePages: {} kB\nSwap: 8 kB\nSwapPss: 9 kB\n"
    status = "Name:\tx\nVmSwap:\t {} kB\n"
    smaps = (
        f"{big:x}-{big + 4 * MIB:x} rw-p 0 0 0\nRss: 4096 kB\nAnonHugePages: 2048 kB\nSwap: 0 kB\n"
        f"{small:x}-{small + PAGE:x} rw-p 0 0 0\nRss: 4 kB\nAnonHugePages: 0 kB\nSwap: 8 kB\n"
    )
    write(tmp_path, 1, maps=running(space), numa_maps=numa, smaps_rollup=rollup.format(2048), status=status.format(8), smaps=smaps)
    write(tmp_path, 2, maps=running(space), numa_maps=numa, smaps_rollup=rollup.format(0), status=status.format(0), smaps="nonsense")
    write(tmp_path, 3, maps=running(space), numa_maps=numa, smaps_rollup=rollup.format(2048), status=status.format(0))
    write(tmp_path, 4, maps=running(space), numa_maps=numa, smaps="nonsense")
    found = wasm_maps.read(SysRoot(tmp_path), dict.fromkeys(range(9)), WasmCache()).processes
    assert [[(one.huge_bytes, one.swapped_bytes) for one in process.memories] for process in found] == [
        [(2 * MIB, 0), (0, 8 * KIB)],
        [(0, 0), (0, 0)],
        [(None, 0), (None, 0)],
        [(None, None), (None, None)],
    ]
    assert {tuple(one.resident_bytes for one in process.memories) for process in found} == {(4 * MIB, 4 * KIB)}


@pytest.mark.parametrize(("page_bytes", "pages", "has_room"), [(4096, 1 << 19, False), (4096, 1 << 21, True), (1 << 16, 70000, True)])
def test_a_refused_map_counts_where_a_reservation_has_room(tmp_path: Path, page_bytes: int, pages: int, has_room: bool) -> None:
    """PID 1 of some hosts is nobody's to read: with less address space than one reservation it hides no memory, maybe a runtime."""
    refusal = {"path": "proc/1/maps", "reason": "denied", "detail": "Permission denied"}
    mark = json.loads(A_MARK) | {"page_bytes": page_bytes, "refusals": {"proc/1/maps": refusal}}
    root = grow(tmp_path, {MARK: json.dumps(mark), "proc/1/statm": f"{pages} 1 1 1 0 1 0\n"})
    cache = WasmCache()
    first = wasm_maps.read(root, {1: 1.0}, cache)
    assert [refusal.path for refusal in root.refusals] == ["proc/1/maps"]
    for found in (first, wasm_maps.read(root, {1: 1.0}, cache)):
        assert found == ((), 1, not has_room)


def test_a_process_that_is_gone_hides_nothing(tmp_path: Path) -> None:
    """It ended between statm and its map: neither is there any more."""

    class Ending(SysRoot):
        def raw(self, path: str, keep: Callable[[bytes], bytes] | None = None) -> bytes | None:
            if path.endswith("/maps"):
                (tmp_path / "proc/1/statm").unlink()
                return None
            return super().raw(path, keep)

    write(tmp_path, 1)
    root = Ending(tmp_path)
    cache = WasmCache()
    found = wasm_maps.read(root, {1: 1.0}, cache)
    assert (found.processes, cache.processes, found.unread, root.refusals) == ((), {}, 0, [])
