"""Roles of a machine's threads: vCPUs, iothreads, the emulator's, and the kernel threads that serve it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agent.model.facts.proc_task import Thread
from agent.model.runtimes import Role, is_iothread, vcpu_number
from agent.normalise.workloads import threads_of
from collectors import proc_task, processes

# The kernel's threads: in the machine's process since Linux 6.4 (vhost) and 6.14 (kvm), kernel threads before.
_KERNEL: tuple[tuple[str, Role], ...] = (("vhost-", "vhost"), ("kvm-", "kvm"))


def with_roles(threads: Sequence[Thread]) -> tuple[Thread, ...]:
    return tuple(replace(thread, role=_role(thread.name)) for thread in threads)


def _role(name: str | None) -> Role | None:
    """The role of a monitor's thread by its name; None without a name."""
    if name is None:
        return None
    if vcpu_number(name) is not None:
        return "vcpu"
    if is_iothread(name):
        return "iothread"
    return next((role for start, role in _KERNEL if name.startswith(start)), "emulator")


def kernel_threads(table: Iterable[processes.Process], tasks: dict[int, proc_task.TaskGroup]) -> dict[int, tuple[Thread, ...]]:
    """Kernel threads by the PID of the process that they serve."""
    by_process: dict[int, tuple[Thread, ...]] = {}
    for process in table:
        master = processes.served(process)
        if master is not None and process.pid in tasks:
            # The name in the task's own files is truncated; that of the process table is complete.
            by_process[master] = (
                *by_process.get(master, ()),
                *(replace(thread, role=_role(process.name)) for thread in threads_of([tasks[process.pid]])),
            )
    return by_process


def vcpu_threads(threads: Sequence[Thread]) -> dict[int, Thread]:
    """The threads of vCPUs by number."""
    return {number: thread for thread in threads if (number := vcpu_number(thread.name)) is not None}


def is_emulated(thread: Thread) -> bool:
    """Whether a thread emulates a vCPU, without the help of the CPU: QEMU names it so."""
    return (thread.name or "").endswith("/TCG")
