"""agent/collect/targets.py: whom to ask about, from what was read so far."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from agent.collect import targets
from agent.model.facts.domain_xml import GuestCell
from agent.model.facts.proc_interrupts import Interrupt
from agent.model.facts.proc_task import Thread
from agent.model.values import CpuSet
from collectors.cgroup import Group, Owner
from collectors.domain_xml import Definition
from collectors.libvirt_domains import Domain, LibvirtHost
from collectors.oci import Bundle
from collectors.proc_schedstat import Chain, SchedstatDomain
from collectors.proc_task import TaskGroup
from collectors.processes import Process
from collectors.qemu import GuestProcess
from collectors.wasm_maps import WasmProcess

KTHREADD = Process(pid=2, parent_pid=0, name="kthreadd", started_at=1.0, threads=1)
VHOST = Process(pid=90, parent_pid=2, name="vhost-30", started_at=9.0, threads=1)
SHELL = Process(pid=20, parent_pid=1, name="sh", started_at=5.0, threads=1)
MANAGED = Process(pid=30, parent_pid=1, name="qemu-system-x86", started_at=6.0, threads=9, vm_uuid="u1")
ALONE = Process(pid=31, parent_pid=1, name="firecracker", started_at=7.0, threads=3)
TABLE = (KTHREADD, VHOST, SHELL, MANAGED, ALONE)

CONTAINER = Group(path="/c", processes=(41, 40), owner=Owner("docker", "0a", "/c"))
UNIT = Group(path="/u", processes=(50,), owner=Owner("systemd", "x.service", "/u", "process"))
GROUPS = (Group(path="/"), CONTAINER, UNIT, Group(path="/c/empty", processes=()))


def group(pid: int, state: str = "S", resident_bytes: int | None = 4096) -> TaskGroup:
    tasks = (Thread(tid=pid, state=state, start_ticks=pid * 10), Thread(tid=pid + 500, state="T"))
    return TaskGroup(pid=pid, tasks=tasks, resident_bytes=resident_bytes)


def domain(uuid: str, cells: tuple[int | None, ...] = (), max_memory_bytes: int | None = 1 << 20) -> Domain:
    definition = Definition(cells=tuple(GuestCell(number, memory_bytes=size) for number, size in enumerate(cells)))
    return Domain(uuid=uuid, name=uuid, id=1, state="running", definition=definition, max_memory_bytes=max_memory_bytes)


def hypervisor(*domains: Domain) -> LibvirtHost:
    return LibvirtHost(uri="qemu:///system", libvirt_version="9.0.0", domains=domains)


def test_of_the_process_table() -> None:
    assert targets.user_processes(TABLE) == {20: 5.0, 30: 6.0, 31: 7.0}
    assert targets.machine_pids(TABLE) == {"u1": 30}
    assert targets.monitors(TABLE) == {30: "u1", 31: None}
    assert targets.kernel_threads(TABLE) == {90}


def test_of_control_groups() -> None:
    assert targets.members(GROUPS) == {40, 41, 50}
    assert targets.container_members(GROUPS) == {40, 41}
    assert targets.leaders(GROUPS) == {40, 50}


def test_of_bundles() -> None:
    bundles = (Bundle(id="0a", engine="containerd", cgroup="/c"), Bundle(id="0b", engine="runc"))
    assert targets.owners_by_group(bundles) == {"/c": ("containerd", "0a")}


def test_of_runtimes() -> None:
    without = WasmProcess(pid=1, runtime="wasmtime", evidence="/a", memories=())
    assert targets.runtimes((without,)) == []
    published = WasmProcess(pid=2, runtime="wasmtime", evidence="/a", memories=(), table="7f00-7f10")
    stacks = WasmProcess(pid=3, runtime="wasmtime", evidence="/a", memories=(), stacks=((1, 2),))
    assert targets.statement_tables((without, published, stacks)) == {2: "7f00-7f10"}
    assert targets.stack_threads((published, stacks), (group(2), group(3))) == {3: [3, 503]}


def test_a_stopped_machine_is_one_whose_first_thread_is() -> None:
    machines = {"u1": 30, "u2": 31, "u3": 32, "u4": 33}
    tasks = (group(30, "T"), group(31, "t"), group(32, "S"))
    assert targets.stopped_machines(machines, tasks) == {"u1", "u2"}


@pytest.mark.parametrize(
    ("hypervisors", "pids"),
    [
        # Whether libvirt does not know them or does not answer: the machines are there.
        ((), [30, 31]),
        ((hypervisor(domain("u1")),), [31]),
        ((hypervisor(domain("u2")),), [30, 31]),
        ((replace(hypervisor(domain("u1")), here=False),), [30, 31]),
    ],
)
def test_of_which_monitors_libvirt_says_nothing(hypervisors: tuple[LibvirtHost, ...], pids: list[int]) -> None:
    assert targets.unmanaged_monitors(targets.monitors(TABLE), hypervisors, targets.machine_pids(TABLE)) == pids


def test_a_machine_that_its_threads_show_has_a_uuid_and_named_vcpus() -> None:
    machines = {"u1": 30, "u2": 32}
    tasks = tuple(
        TaskGroup(pid=pid, tasks=(Thread(tid=pid, name="qemu-system-x86"), Thread(tid=pid + 1, name=name)))
        for pid, name in ((30, "CPU 0/TCG"), (31, "CPU 0/KVM"), (32, "worker"))
    )
    assert targets.shown_by_threads((30, 31, 32), machines, tasks) == {30}
    assert targets.shown_by_threads((31, 32), machines, tasks) == set()


def test_whose_a_uuid_is_that_several_processes_state() -> None:
    """The one in libvirt's group, else the oldest: a user who states another's UUID gets nothing of its machine."""
    older, newer = (
        Process(pid=pid, parent_pid=1, name="qemu-system-x86", started_at=float(pid), threads=1, vm_uuid="u1") for pid in (40, 41)
    )
    assert targets.machine_pids((newer, older)) == {"u1": 40}
    in_scope = TaskGroup(pid=41, tasks=(), cgroups={"": "/machine.slice/machine-qemu\\x2d1\\x2ddb.scope/libvirt/emulator"})
    elsewhere = TaskGroup(pid=40, tasks=(), cgroups={"": "/user.slice/user-1000.slice/session-1.scope"})
    assert targets.machine_pids((newer, older), (elsewhere, in_scope)) == {"u1": 41}


def test_guests_have_a_process_a_size_and_something_resident() -> None:
    machines = {f"u{number}": number for number in range(1, 6)}
    domains = (domain("u1"), domain("u2", (512, None, 256)), domain("u3", max_memory_bytes=None), domain("u4"), domain("u5"), domain("u9"))
    tasks = (group(1), group(2), group(3), group(4, resident_bytes=None))
    guests = [GuestProcess(1, 10, (1 << 20,), 4096), GuestProcess(2, 20, (512, 256), 4096)]
    assert targets.guests((hypervisor(*domains),), machines, tasks) == guests
    # What libvirt said of the same process is known when it is silent; of another one with its pid it is not.
    assert targets.guests((), machines, tasks, [(1, 10, (1 << 20,)), (2, 20, (512, 256)), (3, 7, (8,)), (9, 90, (8,))]) == guests
    assert targets.guests((hypervisor(domain("u1", (64,))),), machines, tasks, [(1, 10, (1 << 20,))]) == [GuestProcess(1, 10, (64,), 4096)]


def test_of_the_kernels_tables() -> None:
    lines = [Interrupt("24", "edge eth0", (1,)), Interrupt("NMI", "", (1,)), Interrupt("7", "edge", (0,))]
    assert targets.interrupt_numbers(lines) == [24, 7]
    pair = SchedstatDomain(CpuSet((2, 3)))
    assert targets.domain_representatives((Chain(CpuSet((2, 3)), (pair,)), Chain(CpuSet((7,)), ()))) == CpuSet((2,))
