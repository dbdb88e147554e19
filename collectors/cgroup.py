"""Control groups, v2, v1 and hybrid, in one record: /sys/fs/cgroup.

Sources: Documentation/admin-guide/cgroup-v2.rst; Documentation/admin-guide/cgroup-v1/{memory,cpusets}.rst,
Documentation/scheduler/sched-bwc.rst. Times are microseconds, sizes bytes, whichever version they come from: v1 counts
throttled time and usage in nanoseconds. A controller is in one hierarchy only, so each value is read once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, TypeVar

from agent.model.values import UNLIMITED, CpuSet, Fact, Limit
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import Malformed, cpu_list, flat_keyed, integer, limit, nested_keyed, newline_separated, printable, space_separated

Version = Literal["v1", "v2", "hybrid"]

R = TypeVar("R", "Cpu", "Cpuset", "Memory")

MAX_GROUPS = 50_000

# A v1 limit that was never set is the largest page-aligned counter (mm/memcontrol-v1.c, PAGE_COUNTER_MAX): whatever the page
# size, it lies above this.
_V1_UNLIMITED = 1 << 62

# What stands among the controllers in the super options of a v1 mount (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
_NO_CONTROLLERS = ("rw", "ro", "noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "clone_children")

_HEX = r"[0-9a-f]{64}"
_OWNERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("docker", re.compile(rf"docker-({_HEX})\.scope|.*/docker/({_HEX})")),
    ("podman", re.compile(rf"libpod-({_HEX})(?:\.scope)?")),
    ("containerd", re.compile(rf"cri-containerd-({_HEX})\.scope")),
    ("cri-o", re.compile(rf"crio-({_HEX})(?:\.scope)?")),
    ("kubernetes", re.compile(rf".*/pod[0-9a-f-]{{36}}/({_HEX})")),
    ("lxc", re.compile(r"lxc\.payload\.(.+)|.*/lxc/([^/]+)", re.DOTALL)),
    ("nspawn", re.compile(r"systemd-nspawn@(.+)\.service|machine-(?!qemu)(?!lxc)(.+)\.scope", re.DOTALL)),
)


class Stall(Fact, frozen=True):
    """Microseconds in which some, or all, tasks of a group waited (PSI totals)."""

    some_usec: int
    full_usec: int | None = None


class Cpu(Fact, frozen=True):
    """`weight` is v2's, `shares` v1's: container engines map one to the other in more than one way, so neither is computed."""

    quota_usec: Limit | None = None
    period_usec: int | None = None
    burst_usec: int | None = None
    weight: int | None = None
    shares: int | None = None
    usage_usec: int | None = None
    user_usec: int | None = None
    system_usec: int | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_usec: int | None = None


class Cpuset(Fact, frozen=True):
    """As configured, and as in force. v1 has `cpuset.effective_*`, too (since Linux 3.17)."""

    cpus: CpuSet | None = None
    cpus_effective: CpuSet | None = None
    mems: CpuSet | None = None
    mems_effective: CpuSet | None = None


class Memory(Fact, frozen=True):
    """`soft_limit` and `oom_kill_disable` are v1's; `min`, `low` and `high` v2's. `stat` and `events` keep the kernel's keys."""

    current_bytes: int | None = None
    peak_bytes: int | None = None
    min_bytes: int | None = None
    low_bytes: int | None = None
    high_bytes: Limit | None = None
    max_bytes: Limit | None = None
    soft_limit_bytes: Limit | None = None
    swap_bytes: int | None = None
    swap_max_bytes: Limit | None = None
    kernel_bytes: int | None = None
    oom_group: bool | None = None
    oom_kill_disable: bool | None = None
    under_oom: bool | None = None
    stat: dict[str, int] = {}
    events: dict[str, int] = {}


class Group(Fact, frozen=True):
    """One group. `path` is below the hierarchy ("/" is its root), `inode` tells a group from its successor of the same name."""

    path: str
    inode: int | None = None
    controllers: tuple[str, ...] | None = None
    """Enabled here, on v2; None on v1, or where it is not known."""
    cpu: Cpu | None = None
    cpuset: Cpuset | None = None
    memory: Memory | None = None
    pressure: dict[str, Stall] = {}
    pids: int | None = None
    pids_max: Limit | None = None
    processes: tuple[int, ...] | None = None


class Cgroups(Fact, frozen=True):
    """`controllers` says which hierarchy each controller is in: "v1" or "v2"."""

    version: Version
    controllers: dict[str, str]
    groups: tuple[Group, ...]


def whose(path: str) -> tuple[str, str, str] | None:
    """Engine, container id and the container's own group, of a group at or below it; the deepest container wins."""
    parts = path.strip("/").split("/")
    for depth in range(len(parts), 0, -1):
        owner = _owner(parts[depth - 2] if depth > 1 else "", parts[depth - 1])
        if owner is not None:
            return *owner, "/" + "/".join(parts[:depth])
    return None


@lru_cache(maxsize=1 << 14)
def _owner(parent: str, leaf: str) -> tuple[str, str] | None:
    """Engine and container id by the names of a group and its parent: no other ancestor's counts.

    Users may nest groups two thousand deep, and each group asks for all its ancestors.
    """
    for engine, pattern in _OWNERS:
        match = pattern.fullmatch(leaf) or pattern.fullmatch(f"/{parent}/{leaf}" if parent else f"/{leaf}")
        if match is not None:
            return engine, next(group for group in match.groups() if group)
    return None


def read(root: SysRoot) -> Cgroups:
    mounts = _mounts(root)
    if not mounts:
        raise Unavailable("absent", "sys/fs/cgroup", "mount cgroup2 on /sys/fs/cgroup")
    unified = mounts.pop("", None)
    v1 = {name: mount for name, mount in mounts.items() if not name.startswith("name=")}
    v2 = space_separated(root.text(f"{unified}/cgroup.controllers") or "") if unified else []
    version: Version = "v1" if unified is None else "hybrid" if mounts else "v2"
    controllers = dict.fromkeys(v1, "v1") | dict.fromkeys(v2, "v2")
    places: dict[str, set[str]] = {}
    for mount in {unified, *(v1[name] for name in ("cpu", "cpuacct", "cpuset", "memory", "pids") if name in v1)} - {None}:
        for path in _walk(root, str(mount)):
            places.setdefault(path, set()).add(str(mount))
    groups = tuple(_group(root, path, unified, v1, mounted) for path, mounted in sorted(places.items()))
    return Cgroups(version, dict(sorted(controllers.items())), groups)


def _mounts(root: SysRoot) -> dict[str, str]:
    """Where each v1 controller is mounted, and v2 under "". The tables are asked first, the usual places where there is none."""
    found: dict[str, str] = {}
    table = root.text("proc/1/mountinfo") or root.text("proc/self/mountinfo")
    if table is not None:
        for line in newline_separated(table):
            before, _, after = line.partition(" - ")
            fields, kind = before.split(), after.split()
            if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
                continue
            mount = fields[4].lstrip("/")
            if kind[0] == "cgroup2":
                found.setdefault("", mount)
            else:
                for option in kind[-1].split(","):
                    if option not in _NO_CONTROLLERS and "=" not in option.removeprefix("name="):
                        found.setdefault(option, mount)
        return found
    if root.text("sys/fs/cgroup/cgroup.controllers") is not None:
        return {"": "sys/fs/cgroup"}
    for name in root.names("sys/fs/cgroup"):
        if root.text(f"sys/fs/cgroup/{name}/cgroup.procs") is not None:
            for controller in name.split(","):
                found[controller] = f"sys/fs/cgroup/{name}"
    if "unified" in found:
        found[""] = found.pop("unified")
    return found


def _walk(root: SysRoot, mount: str) -> list[str]:
    """Every group below a mount point, "/" first. Links are not followed, so a walk ends."""
    found, ahead = [], ["/"]
    while ahead:
        path = ahead.pop()
        found.append(path)
        if len(found) > MAX_GROUPS:
            raise Unavailable("unsupported", f"{mount}: more than {MAX_GROUPS} groups")
        ahead += [f"{path.rstrip('/')}/{name}" for name in root.directories(f"{mount}{path}".rstrip("/"))]
    return found


def _group(root: SysRoot, path: str, unified: str | None, v1: dict[str, str], mounted: set[str]) -> Group:
    def place(controller: str) -> str | None:
        """The directory of this group for a controller, v1 before v2; a trailing slash lets the root group be one, too."""
        mount = v1.get(controller, unified)
        return f"{mount}{path}".rstrip("/") if mount in mounted else None

    cpu, cpuset, memory, pids = place("cpu"), place("cpuset"), place("memory"), place("pids")
    v2 = f"{unified}{path}".rstrip("/") if unified in mounted else None
    home = v2 or cpu or memory or cpuset or pids
    pressure = {}
    if v2 is not None and path != "/":
        stalls = {name: root.parse(f"{v2}/{name}.pressure", parse_stall) for name in ("cpu", "memory", "io")}
        pressure = {name: stall for name, stall in stalls.items() if stall is not None}
    return Group(
        printable(path),
        root.inode(home) if home else None,
        root.parse(f"{v2}/cgroup.controllers", lambda text: tuple(text.split()), blank=True) if v2 else None,
        cpu=_some((_cpu_v1 if "cpu" in v1 else _cpu_v2)(root, cpu, place("cpuacct"))) if cpu else None,
        cpuset=_some(_cpuset(root, cpuset, "cpuset" in v1)) if cpuset else None,
        memory=_some((_memory_v1 if "memory" in v1 else _memory_v2)(root, memory)) if memory else None,
        pressure=pressure,
        pids=root.parse(f"{pids}/pids.current", integer) if pids else None,
        pids_max=root.parse(f"{pids}/pids.max", limit) if pids else None,
        processes=_processes(root, path, (cpu, memory, v2)),
    )


def _some(record: R) -> R | None:
    """A controller that is not enabled in a group shows no file of it."""
    return None if record == type(record)() else record


def _cpu_v2(root: SysRoot, here: str, _: str | None) -> Cpu:
    quota, period = root.parse(f"{here}/cpu.max", parse_cpu_max) or (None, None)
    stat = root.parse(f"{here}/cpu.stat", flat_keyed) or {}
    return Cpu(
        quota_usec=quota,
        period_usec=period,
        burst_usec=root.parse(f"{here}/cpu.max.burst", integer),
        weight=root.parse(f"{here}/cpu.weight", integer),
        usage_usec=stat.get("usage_usec"),
        user_usec=stat.get("user_usec"),
        system_usec=stat.get("system_usec"),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_usec=stat.get("throttled_usec"),
    )


def _cpu_v1(root: SysRoot, here: str, cpuacct: str | None) -> Cpu:
    quota = root.parse(f"{here}/cpu.cfs_quota_us", integer)
    stat = root.parse(f"{here}/cpu.stat", flat_keyed) or {}
    throttled_ns = stat.get("throttled_time")

    def accounted(name: str) -> int | None:
        value = root.parse(f"{cpuacct}/{name}", integer) if cpuacct else None
        return None if value is None else value // 1000

    return Cpu(
        quota_usec=None if quota is None else UNLIMITED if quota < 0 else Limit(quota),
        period_usec=root.parse(f"{here}/cpu.cfs_period_us", integer),
        burst_usec=root.parse(f"{here}/cpu.cfs_burst_us", integer),
        shares=root.parse(f"{here}/cpu.shares", integer),
        usage_usec=accounted("cpuacct.usage"),
        user_usec=accounted("cpuacct.usage_user"),
        system_usec=accounted("cpuacct.usage_sys"),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_usec=None if throttled_ns is None else throttled_ns // 1000,
    )


def _cpuset(root: SysRoot, here: str, is_v1: bool) -> Cpuset:
    def cpus(name: str) -> CpuSet | None:
        # v2 leaves the configured list empty where the parent's applies.
        return root.parse(f"{here}/{name}", cpu_list)

    # A v1 cpuset mounted with noprefix (Android, very old tools) has no "cpuset." before its names; nothing else is like it.
    effective = ("cpuset.effective_cpus", "cpuset.effective_mems") if is_v1 else ("cpuset.cpus.effective", "cpuset.mems.effective")
    return Cpuset(cpus("cpuset.cpus"), cpus(effective[0]), cpus("cpuset.mems"), cpus(effective[1]))


def _memory_v2(root: SysRoot, here: str) -> Memory:
    def number(name: str) -> int | None:
        return root.parse(f"{here}/memory.{name}", integer)

    def bound(name: str) -> Limit | None:
        return root.parse(f"{here}/memory.{name}", limit)

    stat = root.parse(f"{here}/memory.stat", flat_keyed) or {}
    group = number("oom.group")
    return Memory(
        current_bytes=number("current"),
        peak_bytes=number("peak"),
        min_bytes=_finite(bound("min")),
        low_bytes=_finite(bound("low")),
        high_bytes=bound("high"),
        max_bytes=bound("max"),
        swap_bytes=number("swap.current"),
        swap_max_bytes=bound("swap.max"),
        kernel_bytes=stat.get("kernel"),
        oom_group=None if group is None else group != 0,
        stat=stat,
        events=root.parse(f"{here}/memory.events", flat_keyed) or {},
    )


def _memory_v1(root: SysRoot, here: str) -> Memory:
    def number(name: str) -> int | None:
        return root.parse(f"{here}/memory.{name}", integer)

    def bound(name: str) -> Limit | None:
        value = number(name)
        return None if value is None else UNLIMITED if value >= _V1_UNLIMITED else Limit(value)

    oom = root.parse(f"{here}/memory.oom_control", flat_keyed) or {}
    current, with_swap = number("usage_in_bytes"), number("memsw.usage_in_bytes")
    memory_max, memsw_max = bound("limit_in_bytes"), bound("memsw.limit_in_bytes")
    failures = number("failcnt")
    return Memory(
        current_bytes=current,
        peak_bytes=number("max_usage_in_bytes"),
        max_bytes=memory_max,
        soft_limit_bytes=bound("soft_limit_in_bytes"),
        # v1 bounds memory and swap together; v2 bounds swap alone.
        swap_bytes=None if current is None or with_swap is None else max(0, with_swap - current),
        swap_max_bytes=None if memory_max is None or memsw_max is None else _swap_alone(memory_max, memsw_max),
        kernel_bytes=number("kmem.usage_in_bytes"),
        oom_kill_disable=_flag(oom.get("oom_kill_disable")),
        under_oom=_flag(oom.get("under_oom")),
        stat=root.parse(f"{here}/memory.stat", flat_keyed) or {},
        # What v2 calls "max" and "oom_kill" in memory.events.
        events=({} if failures is None else {"max": failures}) | ({"oom_kill": oom["oom_kill"]} if "oom_kill" in oom else {}),
    )


def _swap_alone(memory: Limit, memory_and_swap: Limit) -> Limit:
    return UNLIMITED if memory_and_swap.unlimited else Limit(max(0.0, memory_and_swap - memory))


def _finite(bound: Limit | None) -> int | None:
    """memory.min and memory.low protect; "max" there protects all there is, which is no number of bytes."""
    return None if bound is None or bound.unlimited else int(bound)


def _flag(value: int | None) -> bool | None:
    return None if value is None else value != 0


def _processes(root: SysRoot, path: str, places: tuple[str | None, ...]) -> tuple[int, ...] | None:
    """The processes of a container's groups; of others nobody asks."""
    if whose(printable(path)) is None:
        return None
    for place in places:
        if place is not None:
            pids = root.parse(f"{place}/cgroup.procs", parse_procs, blank=True)
            if pids is not None:
                return pids
    return None


def parse_procs(text: str) -> tuple[int, ...]:
    return tuple(integer(line) for line in newline_separated(text))


def parse_cpu_max(text: str) -> tuple[Limit, int]:
    """ "150000 100000", "max 100000": quota and period in microseconds."""
    words = text.split()
    if len(words) != 2:
        raise Malformed(f"expected 'quota period', got {text[:60]!r}")
    return limit(words[0]), integer(words[1])


def parse_stall(text: str) -> Stall:
    lines = nested_keyed(text)
    try:
        full = lines.get("full")
        return Stall(integer(lines["some"]["total"]), None if full is None else integer(full["total"]))
    except KeyError:
        raise Malformed(f"expected 'some ... total=N', got {text[:60]!r}") from None
