"""Which processes run virtual machines: their descriptors of KVM, by the links in /proc/PID/fd.

Source: virt/kvm/kvm_main.c names them "kvm-vm" (kvm_dev_ioctl_create_vm) and "kvm-vcpu:N" (create_vcpu_fd).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.model.values import MAX_ID, Fact
from collectors.root import SysRoot

MAX_DESCRIPTORS = 4096
"""Of one process: those of a monitor with more devices are not looked at."""

_VCPU = re.compile(r"anon_inode:kvm-vcpu:(\d{1,5})")


class KvmProcess(Fact, frozen=True):
    """A process that holds a virtual machine of KVM, and the numbers of its vCPUs. None: its descriptors are not seen, and it may."""

    pid: int
    vcpus: tuple[int, ...] | None = ()


def read(root: SysRoot, pids: Iterable[int]) -> tuple[KvmProcess, ...]:
    return tuple(machine for pid in sorted(set(pids)) if (machine := _machine(root, pid)) is not None)


def _machine(root: SysRoot, pid: int) -> KvmProcess | None:
    refused = len(root.refusals)
    names = root.names(f"proc/{pid}/fd")
    if len(root.refusals) > refused:
        return KvmProcess(pid, None)
    if len(names) > MAX_DESCRIPTORS:
        root.note(f"proc/{pid}/fd", "unsupported", f"more than {MAX_DESCRIPTORS} descriptors")
        return KvmProcess(pid, None)
    links = [root.link(f"proc/{pid}/fd/{name}") for name in names]
    if "anon_inode:kvm-vm" not in links:
        return None
    numbers = {int(match[1]) for link in links if link and (match := _VCPU.fullmatch(link))}
    return KvmProcess(pid, tuple(sorted(number for number in numbers if number < MAX_ID)))
