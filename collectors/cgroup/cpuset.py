"""The CPUs and memory nodes of one group: `cpuset.*` of both versions.

Sources: Documentation/admin-guide/cgroup-v2.rst ("Cpuset"), Documentation/admin-guide/cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from agent.model.values import CpuSet, Fact
from collectors.root import HeldDirectory, SysRoot
from collectors.text import cpu_list, integer, phrase

BALANCE = "cpuset.sched_load_balance"


class Cpuset(Fact, frozen=True, kw_only=True):
    """As configured, and as in force. v1 has `cpuset.effective_*`, too (since Linux 3.17).

    `partition` is v2's word, with the kernel's reason where it is invalid: "member", "root", "isolated", "root invalid (...)".
    `exclusive_cpus` may not be given to a sibling: a set of CPUs on v2, where `cpus_exclusive` is what was asked for, on v1 a flag that
    holds for all of them. `load_balance` is v1's, of groups below the root only where it matters: where the root's is off.
    """

    cpus: CpuSet | None = None
    cpus_effective: CpuSet | None = None
    mems: CpuSet | None = None
    mems_effective: CpuSet | None = None
    exclusive_cpus: CpuSet | None = None
    partition: str | None = None
    migrates_memory: bool | None = None
    load_balance: bool | None = None
    cpus_exclusive: CpuSet | None = None


def read_v2(root: SysRoot, here: HeldDirectory, whole: bool, top: bool) -> Cpuset:
    # The configured lists are empty where the parent's apply.
    return Cpuset(
        cpus=root.parse_in(here, "cpuset.cpus", cpu_list) if whole else None,
        cpus_effective=root.parse_in(here, "cpuset.cpus.effective", cpu_list),
        mems=root.parse_in(here, "cpuset.mems", cpu_list) if whole else None,
        mems_effective=root.parse_in(here, "cpuset.mems.effective", cpu_list),
        # Since Linux 6.7: what may become a partition's; before, a partition's cpuset.cpus.
        exclusive_cpus=root.parse_in(here, "cpuset.cpus.exclusive.effective", cpu_list) if whole else None,
        partition=None if top else root.parse_in(here, "cpuset.cpus.partition", phrase),
        cpus_exclusive=root.parse_in(here, "cpuset.cpus.exclusive", cpu_list) if whole else None,
    )


def read_v1(root: SysRoot, here: HeldDirectory, whole: bool, top: bool, balanced: int | None) -> Cpuset:
    """`balanced` is the root's own flag."""
    # A v1 cpuset mounted with noprefix (Android, very old tools) has no "cpuset." before its names; nothing else is like it.
    effective = root.parse_in(here, "cpuset.effective_cpus", cpu_list), root.parse_in(here, "cpuset.effective_mems", cpu_list)
    configured: tuple[CpuSet | None, CpuSet | None] = None, None
    if whole or None in effective:
        # Kernels before 3.17 have no effective sets: what is configured is in force.
        configured = root.parse_in(here, "cpuset.cpus", cpu_list), root.parse_in(here, "cpuset.mems", cpu_list)
    exclusive = migrates = None
    if whole:
        exclusive = root.parse_in(here, "cpuset.cpu_exclusive", integer)
        migrates = root.parse_in(here, "cpuset.memory_migrate", integer)
    flag = balanced if top else root.parse_in(here, BALANCE, integer) if balanced == 0 else None
    return Cpuset(
        cpus=configured[0],
        cpus_effective=effective[0],
        mems=configured[1],
        mems_effective=effective[1],
        exclusive_cpus=None if exclusive is None else (configured[0] if exclusive else CpuSet()),
        partition=None,
        migrates_memory=None if migrates is None else migrates != 0,
        load_balance=None if flag is None else flag != 0,
    )
