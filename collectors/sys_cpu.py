"""CPUs, their topology and caches: /sys/devices/system/cpu.

Sources: Documentation/admin-guide/cputopology.rst, Documentation/ABI/testing/sysfs-devices-system-cpu.
Ids are as the kernel prints them, -1 where it knows none; only the sibling sets say what belongs together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.model.values import CpuSet, Fact, is_number, number_or_none
from collectors.root import SysRoot
from collectors.text import bounded, cpu_list, cpu_mask, hexadecimal, integer, nonzero, size_bytes, unsigned

T = TypeVar("T")

CPU = "sys/devices/system/cpu"

# Beyond what there is: ARM has seven levels, s390 eight; lines have up to 256 bytes, a level as many ways as lines at most.
MAX_LEVEL = 255
MAX_LINE_BYTES = 1 << 16
MAX_WAYS = 1 << 20


class CpuTopology(Fact, frozen=True, kw_only=True):
    """Where one CPU sits. The sets are as the kernel prints them: they may hold CPUs that are offline by now."""

    cpu: int
    core_id: int | None = None
    cluster_id: int | None = None
    die_id: int | None = None
    package_id: int | None = None
    book_id: int | None = None
    drawer_id: int | None = None
    core_cpus: CpuSet | None = None
    cluster_cpus: CpuSet | None = None
    die_cpus: CpuSet | None = None
    package_cpus: CpuSet | None = None
    book_cpus: CpuSet | None = None
    drawer_cpus: CpuSet | None = None


class CpuCache(Fact, frozen=True, kw_only=True):
    """One cache as one CPU sees it. `shared` is None where the kernel names no CPU (old virtual machines, ia64)."""

    cpu: int
    level: int
    type: str
    shared: CpuSet | None = None
    id: int | None = None
    size_bytes: int | None = None
    line_bytes: int | None = None
    ways: int | None = None
    sets: int | None = None


class CpuSpeed(Fact, frozen=True, kw_only=True):
    """What tells the kinds of CPU of a hybrid machine apart."""

    cpu: int
    capacity: int | None = None
    max_freq_hz: int | None = None
    base_freq_hz: int | None = None
    midr: int | None = None


class SysfsCpus(Fact, frozen=True, kw_only=True):
    """The lists are as the kernel prints them; `numbers` are the cpuN directories. `all_caches`: no CPU's can be missing."""

    numbers: CpuSet
    possible: CpuSet | None = None
    present: CpuSet | None = None
    online: CpuSet | None = None
    isolated: CpuSet | None = None
    nohz_full: CpuSet | None = None
    smt_active: bool | None = None
    topology: tuple[CpuTopology, ...] = ()
    caches: tuple[CpuCache, ...] = ()
    all_caches: bool = True
    speeds: tuple[CpuSpeed, ...] = ()
    kinds: dict[str, CpuSet] = {}


def read(root: SysRoot) -> SysfsCpus:
    numbers = CpuSet(int(name[3:]) for name in root.names(CPU) if name[:3] == "cpu" and is_number(name[3:]))
    online = root.parse(f"{CPU}/online", cpu_list)
    if online is None and numbers:
        online = _online(root, numbers)
    caches: list[CpuCache] = []
    shown: set[tuple[int, str, CpuSet]] = set()
    left_out = len(root.refusals) + len(root.malformed)
    # An offline CPU may still show the caches of others, and would stand for these.
    for cpu in numbers & online if online else numbers:
        caches += _caches(root, cpu, shown)
    all_caches = len(root.refusals) + len(root.malformed) == left_out
    return SysfsCpus(
        numbers=numbers,
        possible=root.parse(f"{CPU}/possible", cpu_list),
        present=root.parse(f"{CPU}/present", cpu_list),
        online=online,
        isolated=_empty_or(root, f"{CPU}/isolated"),
        nohz_full=_empty_or(root, f"{CPU}/nohz_full"),
        smt_active=nonzero(root.parse(f"{CPU}/smt/active", integer)),
        topology=tuple(_topology(root, cpu, names) for cpu in numbers if (names := root.names(f"{CPU}/cpu{cpu}/topology"))),
        caches=tuple(caches),
        all_caches=all_caches,
        speeds=tuple(speed for cpu in numbers if (speed := _speed(root, cpu)) is not None),
        kinds=_kinds(root),
    )


def _online(root: SysRoot, numbers: CpuSet) -> CpuSet:
    """For old kernels and partial trees without the list. CPU0 has no file of its own; an offline CPU loses its topology."""
    flags = {cpu: root.parse(f"{CPU}/cpu{cpu}/online", integer) for cpu in numbers}
    placed = [cpu for cpu in numbers if root.names(f"{CPU}/cpu{cpu}/topology")]
    return CpuSet(cpu for cpu, flag in flags.items() if (flag != 0 if flag is not None else cpu in placed or not placed))


def _topology(root: SysRoot, cpu: int, names: tuple[str, ...]) -> CpuTopology:
    """Reads only the files that the directory lists (`names`): to open one that is absent costs as much as to read it."""
    directory = f"{CPU}/cpu{cpu}/topology"

    def of(name: str, parser: Callable[[str], T]) -> T | None:
        return root.parse(f"{directory}/{name}", parser) if name in names else None

    def number(name: str) -> int | None:
        return of(name, integer)

    def cpus(*words: str) -> CpuSet | None:
        for word in words:
            # The mask is older; some trees have the list alone, and in one the list of a module's caches contradicts the mask.
            if (mask := of(word, cpu_mask)) is not None:
                return mask
            if (listed := of(f"{word}_list", cpu_list)) is not None:
                return listed
        return None

    return CpuTopology(
        cpu=cpu,
        core_id=number("core_id"),
        cluster_id=number("cluster_id"),
        die_id=number("die_id"),
        package_id=number("physical_package_id"),
        book_id=number("book_id"),
        drawer_id=number("drawer_id"),
        # Since Linux 2e4c54dac7b3 ("topology: Create core_cpus and die_cpus sysfs attributes") thread_siblings is core_cpus
        # and core_siblings is package_cpus; the old names stay.
        core_cpus=cpus("core_cpus", "thread_siblings"),
        cluster_cpus=cpus("cluster_cpus"),
        die_cpus=cpus("die_cpus"),
        package_cpus=cpus("package_cpus", "core_siblings"),
        book_cpus=cpus("book_siblings"),
        drawer_cpus=cpus("drawer_siblings"),
    )


def _caches(root: SysRoot, cpu: int, shown: set[tuple[int, str, CpuSet]]) -> list[CpuCache]:
    """The caches of one CPU, without those that a CPU before it has shown."""
    directory = f"{CPU}/cpu{cpu}/cache"
    caches: list[CpuCache] = []
    for index in root.names(directory):
        if not index.startswith("index"):
            continue
        place = f"{directory}/{index}"
        level = root.parse(f"{place}/level", bounded(0, MAX_LEVEL))
        if level is None:
            root.note(f"{place}/level", "absent", "a cache without a level")
            continue
        kind = (root.text(f"{place}/type") or "").strip()
        if not kind:
            if level == 1:
                root.note(f"{place}/type", "absent", "a first-level cache that does not say what it holds")
                continue
            # Further out they hold both, s390 aside, which says so.
            kind = "Unified"
        shared = root.parse(f"{place}/shared_cpu_map", cpu_mask) or root.parse(f"{place}/shared_cpu_list", cpu_list)
        if shared:
            if (level, kind, shared) in shown:
                continue
            shown.add((level, kind, shared))
        caches.append(
            CpuCache(
                cpu=cpu,
                level=level,
                type=kind,
                shared=shared or None,
                id=root.parse(f"{place}/id", unsigned),
                size_bytes=root.parse(f"{place}/size", size_bytes),
                line_bytes=root.parse(f"{place}/coherency_line_size", bounded(0, MAX_LINE_BYTES)),
                ways=root.parse(f"{place}/ways_of_associativity", bounded(-1, MAX_WAYS)),
                sets=root.parse(f"{place}/number_of_sets", unsigned),
            )
        )
    return caches


def _speed(root: SysRoot, cpu: int) -> CpuSpeed | None:
    directory = f"{CPU}/cpu{cpu}"
    speed = CpuSpeed(
        cpu=cpu,
        capacity=root.parse(f"{directory}/cpu_capacity", unsigned),
        max_freq_hz=_khz(root.parse(f"{directory}/cpufreq/cpuinfo_max_freq", unsigned)),
        base_freq_hz=_khz(root.parse(f"{directory}/cpufreq/base_frequency", unsigned)),
        midr=root.parse(f"{directory}/regs/identification/midr_el1", hexadecimal),
    )
    return None if speed == CpuSpeed(cpu=cpu) else speed


def _kinds(root: SysRoot) -> dict[str, CpuSet]:
    """Performance-monitoring units of hybrid Intel processors name their CPUs."""
    units = {name: root.parse(f"sys/devices/{name}/cpus", cpu_list) for name in ("cpu_core", "cpu_atom", "cpu_lowpower")}
    return {name: cpus for name, cpus in units.items() if cpus}


def _khz(value: int | None) -> int | None:
    return number_or_none(value * 1000) if value else None


def _empty_or(root: SysRoot, path: str) -> CpuSet | None:
    """These lists are empty lines (nohz_full: "(null)") where no CPU was named on the kernel's command line."""
    return root.parse(path, lambda text: cpu_list("" if "(null)" in text else text), blank=True)
