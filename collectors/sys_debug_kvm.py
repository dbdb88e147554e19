"""What KVM counts of machines that nobody else tells of: /sys/kernel/debug/kvm/PID-FD, for root only.

Source: virt/kvm/kvm_main.c (kvm_create_vm_debugfs). A file holds one number: a machine's own, or the sum of its vCPUs'. Other files walk
all of a guest's memory when they are read (mmu_rmaps_stat): only known names are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import unsigned

KVM = "sys/kernel/debug/kvm"
MAX_FILES = 256

_DIRECTORY = re.compile(r"(\d{1,10})-\d{1,10}")
# x86's and the generic ones; "halt_exits", "io_exits" and their kin.
_COUNTER = re.compile(
    r"exits|[a-z_]{1,32}_exits|halt_poll_(?:success|fail)_ns|halt_wait_ns|halt_(?:successful|attempted)_poll|halt_poll_invalid|halt_wakeup"
    r"|directed_yield_(?:attempted|successful)|pages_(?:4k|2m|1g)|remote_tlb_flush(?:_requests)?|tlb_flush|nested_run|irq_injections"
)


class KvmCounters(Fact, frozen=True):
    """Counters under KVM's names, by the process that made the machine."""

    pid: int
    counters: dict[str, int]


def read(root: SysRoot, pids: Iterable[int]) -> tuple[KvmCounters, ...]:
    wanted, refused = set(pids), len(root.refusals)
    directories = root.directories(KVM)
    if not directories and len(root.refusals) == refused:
        raise Unavailable("absent", KVM, "mount debugfs on /sys/kernel/debug, which only root may read")
    by_pid: dict[int, dict[str, int]] = {}
    for name in directories:
        match = _DIRECTORY.fullmatch(name)
        if match is None or int(match[1]) not in wanted:
            continue
        # A process may have several machines: they are one workload, and so are their counters.
        counters = by_pid.setdefault(int(match[1]), {})
        for counter in [file for file in root.names(f"{KVM}/{name}") if _COUNTER.fullmatch(file)][:MAX_FILES]:
            value = root.parse(f"{KVM}/{name}/{counter}", unsigned)
            if value is not None:
                counters[counter] = counters.get(counter, 0) + value
    return tuple(KvmCounters(pid, counters) for pid, counters in sorted(by_pid.items()))
