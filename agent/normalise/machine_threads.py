"""Which thread of a machine is which: vCPUs, iothreads, the emulator's, and the kernel's own that work for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agent.model.workload import Role, Thread
from agent.normalise.workloads import threads_of
from collectors import proc_task, processes

# QEMU (-name debug-threads=on, which libvirt sets), Cloud Hypervisor, Firecracker, crosvm.
_VCPU_THREAD = re.compile(r"(?:CPU (\d{1,4})/(?:KVM|TCG)|(?:crosvm_)?vcpu(\d{1,4})|fc_vcpu (\d{1,4}))")
# The kernel's own: threads of the process since Linux 6.4 (vhost) and 6.14 (kvm), kernel threads before.
_KERNEL: tuple[tuple[str, Role], ...] = (("vhost-", "vhost"), ("kvm-", "kvm"))


def with_roles(threads: Sequence[Thread]) -> tuple[Thread, ...]:
    return tuple(replace(thread, role=_role(thread.name)) for thread in threads)


def _role(name: str | None) -> Role | None:
    """What a thread of a monitor does, by its name; one without a name may be any."""
    if name is None:
        return None
    if _VCPU_THREAD.fullmatch(name):
        return "vcpu"
    # The one that QEMU's monitor has for itself moves no disk's data.
    if name.startswith("IO ") and name != "IO mon_iothread":
        return "iothread"
    return next((role for start, role in _KERNEL if name.startswith(start)), "emulator")


def kernel_threads(table: Iterable[processes.Process], tasks: dict[int, proc_task.TaskGroup]) -> dict[int, tuple[Thread, ...]]:
    """Kernel threads by the process that they work for."""
    found: dict[int, tuple[Thread, ...]] = {}
    for process in table:
        master = processes.served(process)
        if master is not None and process.pid in tasks:
            # The kernel cuts the name that a task shows of itself.
            found[master] = (*found.get(master, ()), *(replace(one, role=_role(process.name)) for one in threads_of([tasks[process.pid]])))
    return found


def vcpu_threads(threads: Sequence[Thread]) -> dict[int, Thread]:
    """The threads of vCPUs by number."""
    matches = ((_VCPU_THREAD.fullmatch(thread.name or ""), thread) for thread in threads)
    return {int(next(filter(None, match.groups()))): thread for match, thread in matches if match}
