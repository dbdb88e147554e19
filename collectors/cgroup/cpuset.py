"""The CPUs and memory nodes of one group: `cpuset.*` of both versions.

Sources: Documentation/admin-guide/cgroup-v2.rst ("Cpuset"), Documentation/admin-guide/cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from agent.model.values import CpuSet, Detail, Fact
from collectors.cgroup.held import GroupFiles, HeldDirectory
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


def read_v2(files: GroupFiles, directory: HeldDirectory, is_top: bool, detail: Detail) -> Cpuset:
    is_document = detail == "document"
    # The configured lists are empty where the parent's apply.
    return Cpuset(
        cpus=files.parse(directory, "cpuset.cpus", cpu_list) if is_document else None,
        cpus_effective=files.parse(directory, "cpuset.cpus.effective", cpu_list),
        mems=files.parse(directory, "cpuset.mems", cpu_list) if is_document else None,
        mems_effective=files.parse(directory, "cpuset.mems.effective", cpu_list),
        # Since Linux 6.7: what may become a partition's; before, a partition's cpuset.cpus.
        exclusive_cpus=files.parse(directory, "cpuset.cpus.exclusive.effective", cpu_list) if is_document else None,
        partition=None if is_top else files.parse(directory, "cpuset.cpus.partition", phrase),
        cpus_exclusive=files.parse(directory, "cpuset.cpus.exclusive", cpu_list) if is_document else None,
    )


def read_v1(files: GroupFiles, directory: HeldDirectory, is_top: bool, root_load_balance: int | None, detail: Detail) -> Cpuset:
    """`root_load_balance` is the root's own flag, which is read once for all groups."""
    is_document = detail == "document"
    # A v1 cpuset mounted with noprefix (Android, very old tools) has no "cpuset." before its names; nothing else is like it.
    effective = files.parse(directory, "cpuset.effective_cpus", cpu_list), files.parse(directory, "cpuset.effective_mems", cpu_list)
    configured: tuple[CpuSet | None, CpuSet | None] = None, None
    if is_document or None in effective:
        # Kernels before 3.17 have no effective sets: what is configured is in force.
        configured = files.parse(directory, "cpuset.cpus", cpu_list), files.parse(directory, "cpuset.mems", cpu_list)
    exclusive = migrates = None
    if is_document:
        exclusive = files.parse(directory, "cpuset.cpu_exclusive", integer)
        migrates = files.parse(directory, "cpuset.memory_migrate", integer)
    flag = root_load_balance if is_top else files.parse(directory, BALANCE, integer) if root_load_balance == 0 else None
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
