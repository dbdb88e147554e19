"""A machine is one workload with one id: whether libvirt answers or not, whichever unit it is in, whoever states its UUID."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.values import Limit
from agent.normalise import normalise
from collectors.root import MARK
from tests.unit.test_virtual_machines import QEMU, SCOPE, host, libvirt, machines, table
from tests.unit.test_workloads import HOST, UUID, group, thread
from tests.unit.tree import grow

SILENT = {
    "silent": ("late", "no answer in 1.0 s"),
    "killed": ("failed", "Failed to connect socket"),
    "gone": ("absent", "no libvirt socket"),
    "answers and does not know it": None,
}


@pytest.mark.parametrize("state", SILENT)
@pytest.mark.parametrize("accelerator", ["KVM", "TCG"])
def test_a_machine_is_the_same_with_libvirt_and_without(tmp_path: Path, accelerator: str, state: str) -> None:
    """Its UUID, its name with a comma, its vCPUs, group, memory and placement are what QEMU's process and the kernel show.

    libvirt looked at another time, when the vCPUs had last run on other CPUs.
    """
    kind = {"KVM": "kvm", "TCG": "qemu"}[accelerator]
    links = {"proc/20/fd/9": "anon_inode:kvm-vm", "proc/20/fd/10": "anon_inode:kvm-vcpu:0", "proc/20/fd/11": "anon_inode:kvm-vcpu:1"}
    files = {
        **table(QEMU | {"vm_name": "a,b"}),
        **thread(20, 20, "qemu-system-x86"),
        **thread(20, 21, f"CPU 0/{accelerator}", "0-1"),
        **thread(20, 22, f"CPU 1/{accelerator}", "2"),
        **group("/machine.slice", ""),
        **group(SCOPE, "cpu memory", **{"cpu.max": "50000 100000", "memory.current": "4096", "cgroup.procs": ""}),
        **group(f"{SCOPE}/libvirt/emulator", "", **{"cgroup.procs": "20"}),
        **group(f"{SCOPE}/libvirt/vcpu1", "cpu", **{"cpu.max": "20000 100000"}),
        "proc/20/cgroup": f"0::{SCOPE}/libvirt/emulator\n",
        "proc/20/fd/": "",
    }
    described = {
        "name": "a,b",
        "vcpus": [{"number": 0, "affinity": "0-1", "last_cpu": 0}, {"number": 1, "affinity": "2", "last_cpu": 3}],
        "definition": {"type": kind},
    }
    answered = machines(host(tmp_path, files | libvirt(described), links if kind == "kvm" else {}))[UUID]
    silence = SILENT[state]
    mark = {"taken_at": 1700000000, "version": "0", "page_bytes": 4096, "links": links if kind == "kvm" else {}}
    if silence is None:
        files |= libvirt()
    else:
        path, (reason, detail) = "replies/libvirt_domains.json", silence
        mark["refusals"] = {path: {"path": path, "reason": reason, "detail": detail}}
        (tmp_path / path).unlink()
    found = normalise(take(grow(tmp_path, HOST | files | {MARK: json.dumps(mark)}), Config(root=str(tmp_path)), Caches()))
    (alone,) = found.workloads
    assert [gap.reason for gap in found.gaps if gap.source == "libvirt_domains"] == ([silence[0]] if silence else [])
    assert (answered.id, answered.name, answered.identity, answered.runtime) == (UUID, "a,b", "20:1020", kind)
    # Its state is libvirt's word, and so is what it was defined as.
    assert (answered.state, alone.state) == ("running", None)
    assert answered.guest is not None
    assert alone.guest is not None
    assert (alone.guest.accelerator, alone.guest.hypervisor) == (kind, None)
    assert alone == replace(answered, state=None, guest=alone.guest)
    # The vCPUs of the host are counted, too; how much memory libvirt gave them is not known.
    assert (found.devices.cpu.virtual, found.devices.cpu.virtual_pinned, found.devices.memory.virtual_bytes) == (2, 2, None)


@pytest.mark.parametrize(("here", "last_cpus"), [(True, [1, None]), (False, [0, 3])])
def test_where_a_vcpu_ran_last_is_said_by_one(tmp_path: Path, *, here: bool, last_cpus: list[int | None]) -> None:
    """The kernel on this host, where a thread that is not seen leaves no value; libvirt on another."""
    vcpus = [{"number": 0, "last_cpu": 0}, {"number": 1, "last_cpu": 3}]
    domain = {"uuid": UUID, "name": "db", "id": 3, "state": "running", "definition": {"type": "kvm"}, "vcpus": vcpus}
    answer = {"hypervisors": [{"uri": "qemu:///system", "libvirt_version": "9.0.0", "domains": [domain], "here": here}]}
    files = {**table(QEMU), **thread(20, 20, "qemu-system-x86"), **thread(20, 21, "CPU 0/KVM")} if here else {}
    (vm,) = host(tmp_path, files | {"replies/libvirt_domains.json": json.dumps(answer)}).workloads
    assert [vcpu.last_cpu for vcpu in vm.vcpus] == last_cpus


def test_a_domain_of_an_old_answer_has_ended_with_its_process(tmp_path: Path) -> None:
    other = {"uuid": "gone", "name": "gone", "id": 4}
    files = {**libvirt({}, other, seconds_ago=80.0), **table(QEMU), **thread(20, 20, "qemu-system-x86"), **thread(20, 21, "CPU 0/KVM")}
    (vm,) = machines(host(tmp_path, files)).values()
    assert vm.guest is not None
    assert (vm.id, vm.name, vm.guest.definition_seconds_ago) == (UUID, "db", 80.0)


def test_a_machine_that_two_uris_lead_to_is_one(tmp_path: Path) -> None:
    """The one daemon by two sockets, and the same host over the network: an id has one workload."""
    domain = {"uuid": UUID, "name": "db", "id": 3, "state": "running", "definition": {"type": "kvm"}, "vcpus": [{"number": 0}]}
    uris = (("qemu+ssh://this/system", False, 0.0), ("qemu:///system", True, 80.0), ("qemu:///system?socket=/run/x", True, 0.0))
    hosts = [
        {"uri": uri, "libvirt_version": "9.0.0", "domains": [domain], "here": here, "seconds_ago": seconds} for uri, here, seconds in uris
    ]
    files = {**table(QEMU), **thread(20, 20, "qemu-system-x86"), **thread(20, 21, "CPU 0/KVM")}
    answers = {"replies/libvirt_domains.json": json.dumps({"hypervisors": hosts})}
    (vm,) = host(tmp_path, files | answers).workloads
    assert (vm.pid, vm.guest and (vm.guest.elsewhere, vm.guest.definition_seconds_ago)) == (20, (False, None))
    # Without libvirt's word on it, what runs here is still here.
    remote = {"replies/libvirt_domains.json": json.dumps({"hypervisors": hosts[:1]})}
    (vm,) = host(tmp_path, files | remote).workloads
    assert (vm.id, vm.pid, vm.guest and vm.guest.elsewhere) == (UUID, 20, False)


def test_a_stated_uuid_is_one_machine_s(tmp_path: Path) -> None:
    """A user who starts a machine under another's UUID gets none of its words."""
    files = {
        **libvirt({}),
        **table(QEMU, {"pid": 19, "name": "qemu-system-x86", "vm_uuid": UUID, "vm_name": "forged"}),
        **thread(20, 20, "qemu-system-x86"),
        **thread(20, 21, "CPU 0/KVM"),
        **thread(19, 19, "qemu-system-x86"),
        **thread(19, 29, "CPU 0/KVM"),
        **group("/machine.slice", ""),
        **group(SCOPE, "", **{"cgroup.procs": "20"}),
        "proc/20/cgroup": f"0::{SCOPE}\n",
        "proc/19/cgroup": "0::/user.slice\n",
        "proc/19/fd/": "",
    }
    links = {"proc/19/fd/9": "anon_inode:kvm-vm", "proc/19/fd/10": "anon_inode:kvm-vcpu:0"}
    found = machines(host(tmp_path, files, links))
    assert {id_: (vm.name, vm.pid) for id_, vm in found.items()} == {UUID: ("db", 20), "kvm/19/1019": ("forged", 19)}


def test_an_empty_uuid_is_none(tmp_path: Path) -> None:
    """Of two machines whose stored command lines name nothing neither is the other."""
    files = table(*({"pid": pid, "name": "qemu-system-x86", "vm_uuid": ""} for pid in (19, 20)))
    links: dict[str, str] = {}
    for pid in (19, 20):
        files |= thread(pid, pid, "qemu-system-x86") | thread(pid, pid + 10, "CPU 0/KVM")
        files |= {f"proc/{pid}/cgroup": "0::/user.slice\n", f"proc/{pid}/fd/": ""}
        links |= {f"proc/{pid}/fd/9": "anon_inode:kvm-vm", f"proc/{pid}/fd/10": "anon_inode:kvm-vcpu:0"}
    found = machines(host(tmp_path, files, links))
    assert found.keys() == {"kvm/19/1019", "kvm/20/1020"}


SCOPES = {
    "Proxmox": ("/qemu.slice/101.scope", {"name": "kvm", "vm_name": "web01", "vm_uuid": UUID}, "CPU {}/KVM", UUID, "web01", "qemu"),
    "Proxmox without a UUID": ("/qemu.slice/101.scope", {"name": "kvm", "vm_name": "web01"}, "CPU {}/KVM", "101", "web01", "qemu"),
    "QEMU in a unit": ("/system.slice/qemu@web.service", {"name": "qemu-system-x86"}, "CPU {}/KVM", "", "qemu@web.service", "qemu"),
    "QEMU of a user": (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope",
        {"name": "qemu-system-x86", "vm_name": "toy"},
        "CPU {}/KVM",
        "",
        "toy",
        "qemu",
    ),
    "Firecracker": ("/system.slice/fc.scope", {"name": "firecracker", "vm_name": "fc-1"}, "fc_vcpu {}", "", "fc-1", "firecracker"),
    "Firecracker in a jail": ("/firecracker/vm-1", {"name": "firecracker", "vm_name": "vm-1"}, "fc_vcpu {}", "vm-1", "vm-1", "firecracker"),
    "Cloud Hypervisor": (
        "/system.slice/ch.service",
        {"name": "cloud-hypervisor", "vm_name": "ch-web"},
        "vcpu{}",
        "",
        "ch-web",
        "cloud-hypervisor",
    ),
    "crosvm": ("/system.slice/crosvm.scope", {"name": "crosvm"}, "crosvm_vcpu{}", "", "crosvm.scope", "crosvm"),
}


def _parents(path: str) -> list[str]:
    return [path[:end] for end, letter in enumerate(path) if letter == "/" and end]


@pytest.mark.parametrize("manager", SCOPES)
@pytest.mark.parametrize("beside", ["alone", "with its helpers", "with a shell", "with another machine"])
def test_a_machine_owns_the_unit_that_it_alone_is_in(tmp_path: Path, manager: str, beside: str) -> None:
    path, process, thread_name, id_, name, runtime = SCOPES[manager]
    processes = [{"pid": 20} | process]
    match beside:
        case "with its helpers":
            # A TPM beside it, a device's process of its own (crosvm makes them), and one of the kernel's threads.
            processes += [{"pid": 30, "name": "swtpm"}, {"pid": 31, "name": "pcivirtio-net", "parent_pid": 20}]
            processes += [{"pid": 32, "name": "vhost-20", "parent_pid": 2}]
        case "with a shell":
            processes += [{"pid": 30, "name": "bash"}]
        case "with another machine":
            processes += [{"pid": 30, "name": process["name"]}]
    pids = " ".join(str(one["pid"]) for one in processes)
    files = {
        **table(*processes),
        **{name: text for parent in _parents(path) for name, text in group(parent, "").items()},
        **group(path, "cpu memory pids", **{"cpu.max": "200000 100000", "memory.max": "4096", "pids.max": "9", "cgroup.procs": ""}),
        f"sys/fs/cgroup{path}/cgroup.procs": pids.replace(" ", "\n") + "\n",
        f"sys/fs/cgroup{path}/memory.current": "1024\n",
        f"sys/fs/cgroup{path}/cpu.stat": "usage_usec 5000\n",
    }
    links: dict[str, str] = {}
    for pid in [20, 30] if beside == "with another machine" else [20]:
        files |= thread(pid, pid, str(process["name"])) | thread(pid, pid + 1, thread_name.format(0)) | {f"proc/{pid}/fd/": ""}
        files |= {f"proc/{pid}/cgroup": f"0::{path}\n"}
        links |= {f"proc/{pid}/fd/9": "anon_inode:kvm-vm", f"proc/{pid}/fd/10": "anon_inode:kvm-vcpu:0"}
    found = host(tmp_path, files, links)
    (vm,) = [one for one in found.workloads if one.pid == 20 and one.vcpus]
    others = [one for one in found.workloads if one.vcpus == ()]
    assert (vm.cgroup, vm.runtime, [vcpu.number for vcpu in vm.vcpus]) == (path, runtime, [0])
    if beside in ("alone", "with its helpers") or path in ("/firecracker/vm-1", "/qemu.slice/101.scope"):
        # Such a group is a machine's by its name, whatever else is in it.
        assert others == []
        assert (vm.id, vm.name) == (id_ or "kvm/20/1020", name)
        assert (vm.cpu.usage_usec, vm.cpu.limit_cpus, vm.memory.current_bytes, vm.pids and vm.pids.max) == (5000, Limit(2), 1024, Limit(9))
        assert vm.controls
    else:
        # The unit is then what it is, and what it uses is not the machine's.
        assert (vm.cpu.usage_usec, vm.cpu.limit_cpus, vm.memory.current_bytes, vm.pids) == (None, Limit(2), None, None)
        assert vm.controls == ()
        assert [one.cgroup for one in others] == [path]
    assert len({one.id for one in found.workloads}) == len(found.workloads)
