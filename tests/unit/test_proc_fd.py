"""collectors/proc_fd.py: who holds a virtual machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.runtimes import is_monitor
from collectors import proc_fd
from collectors.proc_fd import KvmProcess
from collectors.root import SysRoot


def descriptors(root: Path, pid: int, *links: str) -> None:
    place = root / f"proc/{pid}/fd"
    place.mkdir(parents=True)
    for number, link in enumerate(links):
        (place / str(number)).symlink_to(link)


def test_machines_by_their_descriptors(tmp_path: Path) -> None:
    descriptors(tmp_path, 7, "/dev/null", "/dev/kvm", "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:10", "anon_inode:kvm-vcpu:0")
    descriptors(tmp_path, 8, "/dev/kvm", "anon_inode:[eventfd]")
    descriptors(tmp_path, 9, "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:x", "anon_inode:kvm-vcpu:123456")
    assert proc_fd.read(SysRoot(tmp_path), [9, 7, 8, 7, 10]) == (KvmProcess(7, (0, 10)), KvmProcess(9, ()))


def test_too_many_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc_fd, "MAX_DESCRIPTORS", 2)
    descriptors(tmp_path, 7, "anon_inode:kvm-vm", "a", "b")
    root = SysRoot(tmp_path)
    # It may be one: its threads may say so.
    assert proc_fd.read(root, [7]) == (KvmProcess(7, None),)
    assert [refusal.reason for refusal in root.refusals] == ["unsupported"]


def test_who_may_be_one() -> None:
    names = ("qemu-system-x86", "qemu-kvm", "kvm", "firecracker", "cloud-hyperviso", "cloud-hypervisor", "crosvm", "bash", "kvmtop", "")
    assert [name for name in names if is_monitor(name)] == list(names[:-3])
