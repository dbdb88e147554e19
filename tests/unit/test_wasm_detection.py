"""collectors/wasm_maps: memories in maps, by the layouts of their runtimes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.runtimes import RUNTIMES
from agent.model.values import Fact
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.wasm_maps import detection
from collectors.wasm_maps.layouts import GIB, MIB
from collectors.wasm_maps.memories import MappedMemory
from collectors.wasm_maps.runtimes import identify
from tests.unit.wasm_space import IMAGE, KIB, LIBRARY, ORIGIN, PAGE, WASMTIME, Space, maps, slab


def detect(vmas: list[Vma]) -> list[MappedMemory]:
    return detection.detect(vmas, WASMTIME)


class Case(Fact, frozen=True, kw_only=True):
    name: str
    space: Space
    sizes: list[int]
    layout: str = "wasmtime-28"
    confidence: AbstractSet[str] = frozenset({"high"})


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


def test_two_runtimes_in_one_process() -> None:
    vmas = [Vma(0, 1, "r-xp", "/usr/bin/node"), *Space().memory(PAGE).vmas, Vma(1 << 60, 1 << 61, "r-xp", LIBRARY)]
    runtimes = [runtime for runtime, _ in identify(vmas)]
    assert [runtime.name for runtime in runtimes] == ["node", "wasmtime"]
    assert [memory.size_bytes for memory in detection.detect(vmas, runtimes)] == [PAGE]
    assert detection.detect(vmas, runtimes[:1]) == []


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
