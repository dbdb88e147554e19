"""collectors/wasm_maps.py on text. Address space is drawn from low to high with `Space`."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.runtimes import RUNTIMES
from agent.model.values import Fact
from collectors import wasm_maps
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.root import MARK, SysRoot
from collectors.wasm_maps import WasmCache, detection
from collectors.wasm_maps.layouts import GIB, MIB
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.runtimes import identify, may_hold_runtime
from tests.unit.tree import A_MARK, grow

KIB = 1 << 10
WASMTIME = [RUNTIMES["wasmtime"]]


def detect(vmas: list[Vma]) -> list[MappedMemory]:
    return detection.detect(vmas, WASMTIME)


PAGE = 64 * KIB
ORIGIN = 0x7F0000000000
LIBRARY = "/opt/venv/lib/wasmtime/linux-x86_64/_libwasmtime.so"
IMAGE = "/memfd:wasm-memory-image (deleted)"


class Space:
    """Neighbouring closed VMAs are merged as the kernel does it."""

    def __init__(self, at: int = ORIGIN) -> None:
        self.at = at
        self.vmas: list[Vma] = []

    def closed(self, size: int, merge: bool = True, path: str = "") -> Space:
        last = self.vmas[-1] if self.vmas else None
        if size and merge and last and (last.perms, last.path, last.end) == ("---p", path, self.at):
            self.vmas[-1] = last._replace(end=self.at + size)
        elif size:
            self.vmas.append(Vma(self.at, self.at + size, "---p", path))
        self.at += size
        return self

    def open(self, size: int, path: str = "") -> Space:
        if size:
            self.vmas.append(Vma(self.at, self.at + size, "rw-p", path))
        self.at += size
        return self

    def hole(self, size: int = 2 * MIB) -> Space:
        self.at += size
        return self

    def align(self, to: int) -> Space:
        return self.hole(-self.at % to or to)

    def memory(self, size: int, pre: int = 32 * MIB, reach: int = 4 * GIB + 32 * MIB) -> Space:
        return self.closed(pre).open(size).closed(reach - size)

    def old(self, size: int) -> Space:
        return self.memory(size, 2 * GIB, 6 * GIB)

    def arena(self, used: int = 132 * KIB) -> Space:
        return self.open(used).closed(64 * MIB - used)

    def stack(self, merge: bool = False) -> Space:
        return self.closed(4 * KIB, merge).open(8 * MIB)


class Case(Fact, frozen=True, kw_only=True):
    name: str
    space: Space
    sizes: list[int]
    layout: str = "wasmtime-28"
    confidence: AbstractSet[str] = frozenset({"high"})


def slab(*slots: int) -> Space:
    space = Space().closed(32 * MIB)
    for size in slots:
        space.open(size).closed(4 * GIB + 32 * MIB - size)
    return space.closed((1000 - len(slots)) * (4 * GIB + 32 * MIB))


CASES = [
    Case(name="nothing", space=Space(), sizes=[]),
    Case(name="one", space=Space().memory(3 * PAGE), sizes=[3 * PAGE]),
    Case(name="one, full", space=Space().memory(4 * GIB), sizes=[4 * GIB]),
    Case(name="one, of the host's page", space=Space().memory(4 * KIB), sizes=[4 * KIB]),
    Case(name="one, of no pages", space=Space().memory(0), sizes=[0]),
    Case(name="neighbours", space=Space().memory(PAGE).memory(2 * PAGE).memory(3 * PAGE), sizes=[PAGE, 2 * PAGE, 3 * PAGE]),
    Case(
        name="no pages below, between and above",
        space=Space().memory(0).memory(PAGE).memory(0).memory(0).memory(PAGE).memory(0),
        sizes=[0, PAGE, 0, 0, PAGE, 0],
    ),
    Case(name="a hole between", space=Space().memory(PAGE).hole().memory(0).hole().memory(PAGE), sizes=[PAGE, 0, PAGE]),
    Case(
        name="an image in it",
        space=Space().closed(32 * MIB).open(PAGE).open(4 * KIB, IMAGE).open(60 * KIB).closed(4 * GIB + 32 * MIB - 2 * PAGE),
        sizes=[2 * PAGE],
    ),
    Case(
        name="an image first",
        space=Space().closed(32 * MIB).open(PAGE, IMAGE).open(PAGE).closed(4 * GIB + 32 * MIB - 2 * PAGE),
        sizes=[2 * PAGE],
    ),
    Case(name="arena below", space=Space().align(64 * MIB).arena().memory(PAGE).memory(0), sizes=[PAGE, 0]),
    Case(name="arena below one of no pages", space=Space().align(64 * MIB).arena().memory(0).memory(PAGE), sizes=[0, PAGE]),
    Case(name="arena between", space=Space().memory(0).memory(PAGE).arena().memory(0), sizes=[0, PAGE, 0]),
    Case(name="arena above one of no pages", space=Space().memory(PAGE).memory(0).arena(), sizes=[PAGE, 0]),
    Case(name="full arena below", space=Space().align(64 * MIB).open(64 * MIB).memory(PAGE), sizes=[PAGE]),
    Case(name="stacks around", space=Space().stack().memory(PAGE).stack().memory(0).stack().stack().memory(PAGE), sizes=[PAGE, 0, PAGE]),
    Case(name="program data below", space=Space().open(4 * KIB, "/bin/x").open(8 * MIB).memory(PAGE), sizes=[PAGE]),
    Case(
        name="unknown reservation merged below",
        space=Space().closed(5 * GIB).memory(PAGE).memory(PAGE),
        sizes=[PAGE, PAGE],
        confidence={"low", "high"},
    ),
    Case(
        name="unknown reservation of other flags below",
        space=Space().closed(5 * GIB).closed(32 * MIB, merge=False).open(PAGE).closed(4 * GIB + 32 * MIB - PAGE),
        sizes=[PAGE],
    ),
    Case(
        name="closed in two pieces",
        space=Space().closed(MIB).closed(31 * MIB, merge=False).open(PAGE).closed(4 * GIB + 32 * MIB - PAGE),
        sizes=[PAGE],
    ),
    Case(name="a file mapped closed", space=Space().closed(4 * GIB + 64 * MIB, path="/x"), sizes=[]),
    Case(name="older", space=Space().old(PAGE), sizes=[PAGE], layout="wasmtime-27"),
    Case(name="older neighbours", space=Space().old(PAGE).old(7 * PAGE), sizes=[PAGE, 7 * PAGE], layout="wasmtime-27"),
    Case(
        name="older, no pages between",
        space=Space().old(PAGE).old(0).old(PAGE),
        sizes=[PAGE, 0, PAGE],
        layout="wasmtime-27",
        confidence={"high", "low"},
    ),
    Case(
        name="older, no pages, a stack's guard merged",
        space=Space().old(PAGE).old(0).stack(merge=True),
        sizes=[PAGE, 0],
        layout="wasmtime-27",
        confidence={"high", "low"},
    ),
    Case(name="slab", space=slab(PAGE, 2 * PAGE), sizes=[PAGE, 2 * PAGE], layout="wasmtime-pooling"),
    Case(name="slab, slots free", space=slab(0, PAGE, 0, 4 * GIB), sizes=[PAGE, 4 * GIB], layout="wasmtime-pooling"),
    Case(name="slab full", space=slab(*[PAGE] * 1000), sizes=[PAGE] * 1000, layout="wasmtime-pooling"),
    Case(name="slab unused", space=slab(), sizes=[]),
    Case(name="stacks only", space=Space().stack().stack().stack(), sizes=[]),
    Case(name="arenas only", space=Space().align(64 * MIB).arena().arena().arena(), sizes=[]),
    Case(name="a big reservation", space=Space().closed(100 * GIB), sizes=[]),
    Case(name="a big reservation, opened in front", space=Space().open(MIB).closed(100 * GIB), sizes=[]),
    Case(name="a power of two may be anybody's", space=Space().closed(8 * GIB), sizes=[]),
    Case(name="chosen", space=Space().memory(PAGE, 16 * MIB, GIB), sizes=[PAGE], layout="wasmtime-custom", confidence={"low"}),
    Case(
        name="chosen, of more than 4 GiB",
        space=Space().memory(5 * GIB, 16 * MIB, 5 * GIB + 32 * MIB),
        sizes=[5 * GIB],
        layout="wasmtime-custom",
        confidence={"low"},
    ),
    Case(
        name="chosen, and confirmed by a neighbour",
        space=Space().memory(PAGE, MIB, 9 * MIB).memory(3 * PAGE, MIB, 9 * MIB).hole().memory(PAGE, MIB, 9 * MIB),
        sizes=[PAGE, 3 * PAGE, PAGE],
        layout="wasmtime-custom",
    ),
    Case(
        name="a slab of chosen slots, one where an arena would begin",
        space=Space(ORIGIN + 32 * MIB)
        .closed(16 * MIB)
        .open(PAGE)
        .closed(80 * MIB - PAGE)
        .open(2 * PAGE)
        .closed(80 * MIB - 2 * PAGE)
        .open(PAGE)
        .closed(80 * MIB - PAGE)
        .open(PAGE)
        .closed(800 * MIB - PAGE),
        sizes=[PAGE, 2 * PAGE, PAGE, PAGE],
        layout="wasmtime-pooling",
    ),
    Case(
        name="a slab of chosen slots",
        space=Space().closed(MIB).open(PAGE).closed(10 * MIB - PAGE).open(2 * PAGE).closed(50 * MIB - 2 * PAGE),
        sizes=[PAGE, 2 * PAGE],
        layout="wasmtime-pooling",
    ),
    Case(
        name="growing",
        space=Space().memory(PAGE, 32 * MIB, 2 * GIB + 32 * MIB + PAGE).memory(9 * PAGE, 32 * MIB, 2 * GIB + 32 * MIB),
        sizes=[PAGE, 9 * PAGE],
        layout="wasmtime-growing",
    ),
    Case(
        name="grown past its reservation",
        space=Space().memory(5 * GIB, 32 * MIB, 7 * GIB + 32 * MIB),
        sizes=[5 * GIB],
        layout="wasmtime-growing",
    ),
    Case(
        name="unguarded",
        space=Space().open(PAGE).closed(4 * GIB - PAGE).open(3 * PAGE).closed(4 * GIB - 3 * PAGE),
        sizes=[PAGE, 3 * PAGE],
        layout="wasmtime-unguarded",
        confidence={"low"},
    ),
]


def maps(vmas: list[Vma]) -> str:
    return "".join(f"{v.start:x}-{v.end:x} {v.perms} 00000000 00:01 1027 {' ' * 20}{v.path}".rstrip(" ") + "\n" for v in vmas)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layouts(case: Case) -> None:
    found = detect(parse_maps(maps(case.space.vmas)))
    assert [memory.size_bytes for memory in found] == case.sizes
    assert {memory.layout for memory in found} <= {case.layout}
    assert not found or {memory.confidence for memory in found} == case.confidence
    starts = {vma.start for vma in case.space.vmas if vma.perms == "rw-p"}
    assert all(memory.base in starts for memory in found if memory.size_bytes)


def test_a_stack_that_ends_where_an_arena_might_start_is_no_memory() -> None:
    """Seen once in 1,300 processes: what lies above the stack begins at a multiple of 64 MiB, and is no guard, as large as it is."""
    sizes = [
        (32 * MIB, "---p"),
        (PAGE, "rw-p"),
        (33 * MIB, "---p"),
        (4 * KIB, "---p"),
        (2 * MIB, "rw-p"),
        (4 * KIB, "---p"),
        (2 * MIB, "rw-p"),
    ]
    end = ORIGIN + 64 * MIB
    start = end - sum(size for size, _ in sizes)
    vmas = []
    for size, perms in (*sizes, (2 * MIB, "rw-p")):
        vmas.append(Vma(start, start + size, perms, ""))
        start += size
    assert vmas[-1].start == end
    learnt = detect(parse_maps(maps(vmas)))
    assert [(memory.base, memory.size_bytes) for memory in learnt] == [(vmas[1].start, PAGE)]


def test_a_memory_merged_with_a_stack_below_it() -> None:
    wasmer = [RUNTIMES["wasmer"]]
    reach = 8 * GIB + 64 * KIB
    space = (
        Space().closed(4 * KIB).open(2 * MIB + PAGE).closed(reach - PAGE).open(3 * PAGE).closed(reach - 3 * PAGE).align(64 * MIB).arena()
    )
    found = detection.detect(space.vmas, wasmer)
    assert [(memory.base, memory.size_bytes) for memory in found] == [
        (ORIGIN + 4 * KIB + 2 * MIB, PAGE),
        (ORIGIN + 4 * KIB + 2 * MIB + reach, 3 * PAGE),
    ]


def test_a_memory_counts_its_guards() -> None:
    (memory,) = detect(Space().memory(PAGE).vmas)
    assert (memory.base, memory.reserved_bytes) == (ORIGIN + 32 * MIB, 4 * GIB + 64 * MIB)
    (slot,) = detect(slab(PAGE).vmas)
    assert (slot.base, slot.reserved_bytes) == (ORIGIN + 32 * MIB, 4 * GIB + 32 * MIB)


sizes = st.one_of(st.just(0), st.integers(1, 64), st.integers(0, 1 << 16)).map(lambda pages: pages * PAGE)
below = st.sampled_from(["", "hole", "arena", "stack"])


@given(st.lists(st.tuples(below, sizes), max_size=40), st.booleans())
def test_every_memory_is_found(parts: list[tuple[str, int]], old: bool) -> None:
    space, truth = Space(), []
    for neighbour, size in parts:
        if neighbour == "arena":
            space.align(64 * MIB).arena()
        elif neighbour:
            getattr(space, neighbour)()
        truth.append((space.at + (2 * GIB if old else 32 * MIB), size))
        if old:
            space.old(size)
        else:
            space.memory(size)
    if old and not any(size for _, size in truth):
        truth = []  # nothing tells 8 GiB from somebody else's
    assert [(memory.base, memory.size_bytes) for memory in detect(parse_maps(maps(space.vmas)))] == truth


@given(st.lists(sizes, max_size=50), st.lists(sizes, max_size=5))
def test_a_slab_beside_single_memories(slots: list[int], singles: list[int]) -> None:
    space = slab(*slots)
    for size in singles:
        space.memory(size)
    found = [memory.size_bytes for memory in detect(space.vmas) if memory.layout == "wasmtime-28"]
    taken = [memory.size_bytes for memory in detect(space.vmas) if memory.layout == "wasmtime-pooling"]
    if any(slots):
        assert (taken, found) == ([size for size in slots if size], singles)


addresses = st.one_of(st.integers(0, 1 << 52), st.sampled_from([n * 64 * MIB for n in range(300)])).map(lambda n: n & ~0xFFF)
perms = st.sampled_from(["---p", "rw-p", "r-xp", "rw-s", "---s", ""])


@given(st.lists(st.tuples(addresses, perms), min_size=2, max_size=60), st.booleans())
def test_any_order_of_vmas_is_survived(cuts: list[tuple[int, str]], in_order: bool) -> None:
    cuts = sorted(cuts) if in_order else cuts
    for memory in detect([Vma(low, high, mode, "") for (low, mode), (high, _) in pairwise(cuts)]):
        assert 0 <= memory.size_bytes <= memory.reserved_bytes


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


def test_two_runtimes_in_one_process() -> None:
    vmas = [Vma(0, 1, "r-xp", "/usr/bin/node"), *Space().memory(PAGE).vmas, Vma(1 << 60, 1 << 61, "r-xp", LIBRARY)]
    runtimes = [runtime for runtime, _ in identify(vmas)]
    assert [runtime.name for runtime in runtimes] == ["node", "wasmtime"]
    assert [memory.size_bytes for memory in detection.detect(vmas, runtimes)] == [PAGE]
    assert detection.detect(vmas, runtimes[:1]) == []


def write(root: Path, pid: int, pages: int = 2 << 20, **files: str) -> None:
    place = root / "proc" / str(pid)
    place.mkdir(parents=True)
    (place / "statm").write_text(f"{pages} 1 1 1 0 1 0\n")
    for name, text in files.items():
        (place / name).write_text(text)


def running(space: Space) -> str:
    return maps([*space.vmas, Vma(0x7FFF00000000, 0x7FFF00001000, "r-xp", LIBRARY)])


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
    assert [(process.pid, len(process.memories)) for process in found] == [(2, 0), (9, 1)]
    assert [(refusal.path, refusal.reason) for refusal in root.refusals] == [
        ("proc/3/maps", "absent"),
        ("proc/4/maps", "absent"),
        ("proc/6/maps", "failed"),
        ("proc/7/numa_maps", "failed"),
        ("proc/8/statm", "failed"),
    ]


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


def test_a_hostile_map_is_bounded() -> None:
    assert len(detect([Vma(0, (4 * GIB + 64 * MIB) << 20, "---p", "")])) <= detection.MAX_MEMORIES
    many = Space(0)
    for _ in range(8):
        many.closed((4 * GIB + 64 * MIB) * 8000).hole()
    assert len(detect(many.vmas)) <= detection.MAX_MEMORIES
    # Nothing fits, and each place has many continuations.
    odd = Space(0)
    for _ in range(2000):
        odd.open(4 * KIB).closed(3 * GIB + 4 * KIB)
    assert len(detect(odd.vmas)) <= 2000


@pytest.mark.parametrize(("page_bytes", "pages", "gaps"), [(4096, 1 << 19, 0), (4096, 1 << 21, 1), (1 << 16, 70000, 1)])
def test_a_refused_map_counts_where_a_reservation_has_room(tmp_path: Path, page_bytes: int, pages: int, gaps: int) -> None:
    """PID 1 of some hosts is nobody's to read: with less address space than one reservation it hides no memory, maybe a runtime."""
    refusal = {"path": "proc/1/maps", "reason": "denied", "detail": "Permission denied"}
    mark = json.loads(A_MARK) | {"page_bytes": page_bytes, "refusals": {"proc/1/maps": refusal}}
    root = grow(tmp_path, {MARK: json.dumps(mark), "proc/1/statm": f"{pages} 1 1 1 0 1 0\n"})
    cache = WasmCache()
    first = wasm_maps.read(root, {1: 1.0}, cache)
    assert len(root.refusals) == gaps
    for found in (first, wasm_maps.read(root, {1: 1.0}, cache)):
        assert found == ((), 1)


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
