"""How each runtime lays out a linear memory in the process's address space: a table of data.

Measured on the runtimes themselves (wasmtime 0.29 to 50, wasmer, Node, Deno, WasmEdge, WAMR, SpiderMonkey); the names of
wasmtime's settings are those of its `Config`: memory_reservation, memory_guard_size, memory_reservation_for_growth.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.model.values import Fact

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Layout(Fact, frozen=True, kw_only=True):
    """`slots` times (`reserve`, `guard`) behind one `pre`, all in bytes; a memory starts each slot.

    `header` bytes at the start of the open part belong to the runtime. `weak`: anybody may reserve such a range. `learnt` is what
    an embedder seems to have chosen.
    """

    name: str
    pre: int
    reserve: int
    guard: int
    slots: int = 1
    header: int = 0
    weak: bool = False
    learnt: bool = False

    @property
    def slot(self) -> int:
        return self.reserve + self.guard

    @property
    def total(self) -> int:
        return self.pre + self.slots * self.slot


class Elastic(NamedTuple):
    """A memory that was given no fixed reservation: `guard`, what it had at first, `growth`, `guard`."""

    name: str
    guard: int
    growth: int


class Layouts(Fact, frozen=True):
    """What a runtime's memories may look like, the likelier first."""

    fixed: tuple[Layout, ...] = ()
    elastic: tuple[Elastic, ...] = ()


# V8 with its trap handler (src/objects/backing-store.cc).
_V8 = Layouts((Layout(name="v8", pre=2 * GIB, reserve=4 * GIB, guard=4 * GIB),))
_BY_RUNTIME = {
    "wasmtime": Layouts(
        (
            # A slab goes first: its first slot alone looks like the default layout.
            Layout(name="wasmtime-pooling", pre=32 * MIB, reserve=4 * GIB, guard=32 * MIB, slots=1000),
            Layout(name="wasmtime-28", pre=32 * MIB, reserve=4 * GIB, guard=32 * MIB),
            Layout(name="wasmtime-27", pre=2 * GIB, reserve=4 * GIB, guard=2 * GIB),
            # memory_guard_size=0, and Pulley, which checks each access itself.
            Layout(name="wasmtime-unguarded", pre=0, reserve=4 * GIB, guard=0, weak=True),
        ),
        # Also what a 64-bit memory becomes when it grows beyond its reservation. Until version 26 the guard was 64 KiB.
        (
            Elastic("wasmtime-growing", 32 * MIB, 2 * GIB),
            Elastic("wasmtime-growing", 64 * KIB, 2 * GIB),
            Elastic("wasmtime-growing", 2 * GIB, 2 * GIB),
        ),
    ),
    "node": _V8,
    "v8": _V8,
    "wasmer": Layouts(
        (
            Layout(name="wasmer", pre=0, reserve=4 * GIB, guard=4 * GIB + 64 * KIB),
            Layout(name="wasmer-1", pre=0, reserve=4 * GIB, guard=2 * GIB),
        )
    ),
    "wasmedge": Layouts((Layout(name="wasmedge", pre=4 * GIB, reserve=4 * GIB, guard=4 * GIB, weak=True),)),
    "wamr": Layouts((Layout(name="wamr", pre=0, reserve=4 * GIB, guard=4 * GIB, weak=True),)),
    "spidermonkey": Layouts((Layout(name="spidermonkey", pre=0, reserve=4 * GIB + 4 * KIB, guard=2 * GIB + 64 * KIB, header=4 * KIB),)),
}


def layouts_of(runtime: str) -> Layouts:
    """Empty for a runtime whose memories cannot be told from other mappings."""
    return _BY_RUNTIME.get(runtime, Layouts())
