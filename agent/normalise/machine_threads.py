"""Which thread of a machine is which: vCPUs, iothreads, the emulator's, and the kernel's own that work for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agent.model.facts.proc_task import Thread
from agent.model.runtimes import Role, is_iothread, vcpu_number
from agent.normalise.workloads import threads_of
from collectors import proc_task, processes

# The kernel's own: threads of the process since Linux 6.4 (vhost) and 6.14 (kvm), kernel threads before.
_KERNEL: tuple[tuple[str, Role], ...] = (("vhost-", "vhost"), ("kvm-", "kvm"))


def with_roles(threads: Sequence[Thread]) -> tuple[Thread, ...]:
    return tuple(replace(thread, role=_role(thread.name)) for thread in threads)


def _role(name: str | None) -> Role | None:
    """What a thread of a monitor does, by its name; one without a name may be any."""
    if name is None:
        return None
    if vcpu_number(name) is not None:
        return "vcpu"
    if is_iothread(name):
        return "iothread"
    return next((role for start, role in _KERNEL if name.startswith(start)), "emulator")


def kernel_threads(table: Iterable[processes.Process], tasks: dict[int, proc_task.TaskGroup]) -> dict[int, tuple[Thread, ...]]:
    """Kernel threads by the process that they work for."""
    by_process: dict[int, tuple[Thread, ...]] = {}
    for process in table:
        master = processes.served(process)
        if master is not None and process.pid in tasks:
            # The kernel cuts the name that a task shows of itself.
            by_process[master] = (
                *by_process.get(master, ()),
                *(replace(thread, role=_role(process.name)) for thread in threads_of([tasks[process.pid]])),
            )
    return by_process


def vcpu_threads(threads: Sequence[Thread]) -> dict[int, Thread]:
    """The threads of vCPUs by number."""
    return {number: thread for thread in threads if (number := vcpu_number(thread.name)) is not None}
