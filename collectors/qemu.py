"""The guest's memory inside a QEMU process: /proc/PID/smaps and numa_maps. Source: Documentation/filesystems/proc.rst, section 1.1.

Either file takes milliseconds of a walk over the process's pages, many for a large guest: for metrics, which are asked for again and
again, a few machines are walked each time and the rest is what the last walk found, with its age.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from agent.model.values import Detail, Fact
from collectors.proc_pid.numa_maps import parse_numa_maps, sum_by_node
from collectors.proc_pid.smaps import Mapping, parse_smaps
from collectors.root import SysRoot

# The kernel walks every resident page for either file: about 6 ms a GiB of 4 KiB pages. Above this the walks are not made.
MAX_RESIDENT_BYTES = 2 << 30

MAX_CELLS = 128
AGAIN_SECONDS = 30.0
AT_ONCE_SECONDS = 0.02
"""No walk is begun later than this in a pass for metrics."""


class GuestMemory(Fact, frozen=True, kw_only=True):
    """The mappings that back guest RAM. Bytes; `hugetlb_bytes` are explicit huge pages, which a process's resident size leaves out.

    `process_by_node` is of all mappings: the guest's, and the monitor's own.
    """

    pid: int
    mapped_bytes: int
    resident_bytes: int
    huge_bytes: int
    hugetlb_bytes: int = 0
    swapped_bytes: int | None = None
    ksm_bytes: int | None = None
    spans: tuple[tuple[int, int], ...] = ()
    by_node: dict[int, int] | None = None
    process_by_node: dict[int, int] | None = None
    seconds_ago: float = 0.0


class GuestProcess(NamedTuple):
    """A QEMU process, since when it runs, the sizes of its guest's memory (one for each cell) and what of the process is resident."""

    pid: int
    start_ticks: int | None
    sizes: tuple[int, ...]
    resident_bytes: int


MachineKey = tuple[int, int | None, tuple[int, ...]]
"""What tells a machine from the next one of its pid: pid, start, and the sizes of its memory."""


@dataclass(slots=True)
class WalkCache:
    """What the last walk of each machine found, and when that was (time.monotonic)."""

    walks: dict[MachineKey, tuple[float, GuestMemory | None]] = field(default_factory=dict)


def read(root: SysRoot, cache: WalkCache, machines: Sequence[GuestProcess], detail: Detail = "document") -> tuple[GuestMemory, ...]:
    """What backs the guests' memory, where it can be read.

    For a document all machines are walked now. For metrics, those that were walked longest ago, as far as the time goes; the others are as
    the last walk found them.
    """
    if detail == "document":
        return tuple(memory for machine in machines if (memory := _walk(root, machine)) is not None)
    began = time.monotonic()
    keys: dict[GuestProcess, MachineKey] = {machine: (machine.pid, machine.start_ticks, machine.sizes) for machine in machines}
    cache.walks = {key: cache.walks[key] for key in keys.values() if key in cache.walks}
    for machine in sorted(machines, key=lambda machine: cache.walks.get(keys[machine], (0.0, None))[0]):
        walked_at, _ = cache.walks.get(keys[machine], (-AGAIN_SECONDS, None))
        if began - walked_at < AGAIN_SECONDS or time.monotonic() - began > AT_ONCE_SECONDS:
            break
        cache.walks[keys[machine]] = (time.monotonic(), _walk(root, machine))
    now = time.monotonic()
    return tuple(replace(memory, seconds_ago=round(now - walked_at, 6)) for walked_at, memory in cache.walks.values() if memory is not None)


def _walk(root: SysRoot, machine: GuestProcess) -> GuestMemory | None:
    path = f"proc/{machine.pid}/smaps"
    if machine.resident_bytes > MAX_RESIDENT_BYTES:
        root.note(path, "unsupported", f"more than {MAX_RESIDENT_BYTES >> 30} GiB resident: too slow to walk")
        return None
    mappings = root.parse(path, parse_smaps)
    memory = guest_memory(mappings, machine.pid, machine.sizes) if mappings else None
    if memory is None:
        return None
    nodes = root.parse(f"proc/{machine.pid}/numa_maps", parse_numa_maps)
    if nodes is None:
        return memory
    in_guest = [by_node for start, by_node in nodes.items() if any(low <= start < high for low, high in memory.spans)]
    return replace(memory, by_node=sum_by_node(in_guest), process_by_node=sum_by_node(nodes.values()))


def guest_memory(mappings: Sequence[Mapping], pid: int, sizes: Sequence[int]) -> GuestMemory | None:
    """The mappings of a QEMU process that are its guest's memory, of one size a cell; None where they are not found.

    QEMU maps RAM as one mapping of exactly the machine's size, or one a cell; advice on parts of it splits it into neighbours. So the
    first run of adjoining mappings, all open for writing, whose sizes add up to the memory's is the guest's. A heap arena of glibc takes
    64 MiB of addresses, as small guests do, but most of it is closed.
    """
    open_ones = [mapping for mapping in mappings if mapping.perms.startswith("rw")]
    taken = _guest_runs(open_ones, sizes)
    if not taken:
        return None
    parts = [open_ones[index].usage for first, last in taken for index in range(first, last + 1)]
    return GuestMemory(
        pid=pid,
        mapped_bytes=sum(sizes),
        resident_bytes=sum(part.rss for part in parts),
        huge_bytes=sum((part.anon_huge_pages or 0) + (part.shmem_pmd_mapped or 0) + (part.file_pmd_mapped or 0) for part in parts),
        hugetlb_bytes=sum((part.shared_hugetlb or 0) + (part.private_hugetlb or 0) for part in parts),
        swapped_bytes=_sum_if_known([part.swap for part in parts]),
        ksm_bytes=_sum_if_known([part.ksm for part in parts]),
        spans=tuple(sorted((open_ones[first].start, open_ones[last].end) for first, last in taken)),
    )


def _guest_runs(mappings: Sequence[Mapping], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First and last index of a run of adjoining mappings for each size, none of them in two; empty where a size has none."""
    if len(sizes) > MAX_CELLS:
        return []
    # By its end, the index of each mapping; and for each, the index at which the run of adjoining mappings begins that it is in.
    ends: dict[int, int] = {}
    begins: list[int] = []
    for index, mapping in enumerate(mappings):
        begins.append(begins[-1] if index and mappings[index - 1].end == mapping.start else index)
        ends[mapping.end] = index
    taken: set[int] = set()
    runs: list[tuple[int, int]] = []
    for size in sorted(sizes, reverse=True):
        for first, mapping in enumerate(mappings):
            last = ends.get(mapping.start + size)
            if last is not None and last >= first and begins[last] <= first and taken.isdisjoint(range(first, last + 1)):
                taken.update(range(first, last + 1))
                runs.append((first, last))
                break
        else:
            return []
    return runs


def _sum_if_known(sizes: Sequence[int | None]) -> int | None:
    """None where one size is not known. A guest without parts has 0 bytes, which is why this is not the model's sum_if_known()."""
    present = [size for size in sizes if size is not None]
    return sum(present) if len(present) == len(sizes) else None
