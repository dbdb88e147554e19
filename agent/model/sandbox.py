"""Linear memories: what the kernel shows of each, what its embedder states, and what bounds its growth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from agent.model.values import Fact, Limit, Origin

MemoryState = Literal["memory", "accessible", "inherited"]
Mismatch = Literal["behind", "ahead", "nowhere", "beyond"]


class Statement(Fact, frozen=True, kw_only=True):
    """What an embedder states of one memory. All of it is its word, but for `tid`, the host's number of the thread, and `mismatch`.

    `mismatch` is how the kernel contradicts what was stated before its map was read. "behind": there is more, the guest has grown
    since. "ahead": there is less. "beyond": more than the declared maximum. "nowhere": no memory begins there. None of an instance
    without a memory. `grows`: updates that found it grown. Names are the embedder's to choose.
    """

    instance: str
    base: str
    size_bytes: int | None = None
    module: str | None = None
    tenant: str | None = None
    store: int | None = None
    maximum_pages: int | None = None
    page_bytes: int = 1 << 16
    fuel: int | None = None
    epoch_deadline: int | None = None
    epoch_ticks: int | None = None
    grows: int | None = 0
    tid: int | None = None
    seconds_ago: float | None = None
    mismatch: Mismatch | None = None


class Published(Fact, frozen=True):
    """The table that an embedder publishes in. `elsewhere` states what is at no memory that the kernel shows.

    `dropped`: memories that found it full. `torn`: slots that nobody could read.
    """

    statements: int
    dropped: int = 0
    torn: int = 0
    elsewhere: tuple[Statement, ...] = ()


class LinearMemory(Fact, frozen=True, kw_only=True):
    """A WebAssembly memory seen in the process's map. `reserved_bytes` is address space, not memory; `guard_bytes` of it guard.

    `accessible`: the slot of a pool, which may be open though its instance is gone. `inherited`: the copy that fork() left of a
    memory of the parent process. `image_bytes` are mapped from the module's file; `resident_*`, `huge_*` and `swapped_*` are parts
    of `size_bytes`. `stated` has one for each instance that says it is its own: of a memory that several share there are several.
    """

    base: str
    size_bytes: int
    size_pages: int
    reserved_bytes: int
    layout: str
    confidence: Literal["high", "low"]
    resident_bytes: int | None = None
    resident_by_node: dict[int, int] = {}
    state: MemoryState = "memory"
    guard_bytes: int | None = None
    image_bytes: int | None = None
    huge_bytes: int | None = None
    swapped_bytes: int | None = None
    stated: tuple[Statement, ...] = ()


BoundName = Literal["declared_maxima", "pool_slots", "cgroup_memory", "process_data", "process_address_space"]


class Bound(Fact, frozen=True, kw_only=True):
    """One limit on the growth of a process' linear memories, and how much room it leaves all of them together.

    `declared_maxima` is known where the embedder states one of each memory, `pool_slots` where each lies in a pool. `cgroup_memory`:
    the tightest of the group and all above it, beside what that one is charged. `process_data`: RLIMIT_DATA, which counts what is open
    of them. `process_address_space`: RLIMIT_AS, which counts reservations: it bounds new memories, not these.
    """

    name: BoundName
    limit_bytes: Limit
    room_bytes: Limit | None = None
    set_by: str | None = None
    origin: Origin | None = None


class Growth(Fact, frozen=True):
    """`binding` leaves the least room. None where one is not known that may leave less, or where none of them has an end."""

    bounds: tuple[Bound, ...]
    binding: BoundName | None = None


def statements(memories: Iterable[LinearMemory], published: Published | None) -> tuple[Statement, ...]:
    """All that the embedder of one process states."""
    return (*(statement for memory in memories for statement in memory.stated), *(published.elsewhere if published else ()))
