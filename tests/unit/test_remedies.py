"""agent/model/remedies.py: what a person types, for each tool, with names that a shell leaves alone."""

from __future__ import annotations

import shlex

import pytest
from msgspec.structs import replace

from agent.model.facts.cgroup import Pod, WorkloadCpu, WorkloadMemory
from agent.model.remedies import (
    MIB,
    bind_cpus,
    bind_nodes,
    limit_cpus,
    limit_memory,
    limit_memory_of,
    limit_pids,
    name_of,
    pin_vcpu,
    quoted,
    weigh,
    weigh_group,
)
from agent.model.values import CpuSet
from agent.model.workload import Workload
from tests.unit.overhead_hosts import container, machine, sandbox

ID = "0123456789abcdef" * 4
BARE = replace(container(), cpu=WorkloadCpu(), memory=WorkloadMemory(), id=ID)
DOCKER = replace(BARE, runtime="docker", name="web", cgroup=f"/system.slice/docker-{ID}.scope")
PODMAN = replace(BARE, runtime="podman", name="db", cgroup=f"/machine.slice/libpod-{ID}.scope/container")
NERDCTL = replace(BARE, runtime="containerd", name="cache", cgroup=f"/system.slice/nerdctl-{ID}.scope")
POD = replace(BARE, runtime="containerd", name="app", pod=Pod("uid", "burstable"), cgroup=f"/kubepods.slice/cri-containerd-{ID}.scope")
LXC = replace(BARE, runtime="lxc", name="mail", cgroup="/lxc.payload.mail")
UNIT = replace(BARE, paradigm="process", runtime="systemd", name="nginx.service", cgroup="/system.slice/nginx.service")
NSPAWN = replace(BARE, runtime="nspawn", name="nest", cgroup="/machine.slice/machine-nest.scope")
GROUP = replace(BARE, paradigm="process", runtime="cgroup", name="batch", cgroup="/jobs/batch")
LIBVIRT = replace(machine(), name="vm1", cgroup=r"/machine.slice/machine-qemu\x2d1\x2dvm1.scope")
QEMU = replace(machine(), name="vm2", cgroup="/user.slice/session-1.scope")


@pytest.mark.parametrize(
    ("workload", "memory", "cpus", "pids"),
    [
        (
            DOCKER,
            "docker update --memory 96m --memory-swap -1 web",
            "docker update --cpus 1.5 web",
            "docker update --pids-limit 200 web",
        ),
        (
            PODMAN,
            "podman update --memory 96m --memory-swap -1 db",
            "podman update --cpus 1.5 db",
            "podman update --pids-limit 200 db",
        ),
        (
            NERDCTL,
            "nerdctl update --memory 96m --memory-swap -1 cache",
            "nerdctl update --cpus 1.5 cache",
            "nerdctl update --pids-limit 200 cache",
        ),
        (
            POD,
            "crictl update --memory 100663296 0123456789abc",
            "crictl update --cpu-period 100000 --cpu-quota 150000 0123456789abc",
            f"systemctl set-property cri-containerd-{ID}.scope TasksMax=200",
        ),
        (LXC, "lxc-cgroup -n mail memory.max 100663296", "lxc-cgroup -n mail cpu.max '150000 100000'", "lxc-cgroup -n mail pids.max 200"),
        (
            UNIT,
            "systemctl set-property nginx.service MemoryMax=96M",
            "systemctl set-property nginx.service CPUQuota=150%",
            "systemctl set-property nginx.service TasksMax=200",
        ),
        (
            NSPAWN,
            "systemctl set-property machine-nest.scope MemoryMax=96M",
            "systemctl set-property machine-nest.scope CPUQuota=150%",
            "systemctl set-property machine-nest.scope TasksMax=200",
        ),
        (
            GROUP,
            "echo 100663296 > /sys/fs/cgroup/jobs/batch/memory.max",
            "echo 150000 100000 > /sys/fs/cgroup/jobs/batch/cpu.max",
            "echo 200 > /sys/fs/cgroup/jobs/batch/pids.max",
        ),
        (
            LIBVIRT,
            "virsh memtune vm1 --hard-limit 98304 --live",
            "virsh schedinfo vm1 --live --set global_quota=150000",
            r"systemctl set-property 'machine-qemu\x2d1\x2dvm1.scope' TasksMax=200",
        ),
    ],
)
def test_limits(workload: Workload, memory: str, cpus: str, pids: str) -> None:
    assert limit_memory(workload, 95.2 * MIB, "v2") == memory
    assert limit_cpus(workload, 1.5, "v2") == cpus
    assert limit_pids(workload, 200, "v2") == pids


def test_groups_of_v1_have_a_hierarchy_each() -> None:
    assert limit_memory(GROUP, 96 * MIB, "v1") == "echo 100663296 > /sys/fs/cgroup/memory/jobs/batch/memory.limit_in_bytes"
    assert limit_cpus(GROUP, 0.5, "hybrid") == "echo 50000 > /sys/fs/cgroup/cpu/jobs/batch/cpu.cfs_quota_us"
    assert bind_cpus(UNIT, CpuSet((2, 3)), "v1") == "echo 2-3 > /sys/fs/cgroup/cpuset/system.slice/nginx.service/cpuset.cpus"
    assert limit_memory_of("/tight.slice", 10, "v1") == "systemctl set-property tight.slice MemoryMax=1M"


@pytest.mark.parametrize("cgroup", [None, "/", ""])
def test_what_has_no_group_is_never_set_in_the_root(cgroup: str | None) -> None:
    alone = replace(GROUP, cgroup=cgroup, pid=77)
    assert limit_memory(alone, MIB, "v2") == limit_cpus(alone, 1, "v1") == limit_pids(alone, 9, "v2") == "systemctl status 77"
    assert bind_nodes(alone, CpuSet((0,)), "v2") == "systemctl status 77"
    assert bind_cpus(alone, CpuSet((0,)), "v2") == "taskset -apc 0 77"
    assert limit_memory(replace(alone, pid=None), MIB, "v2") == "systemctl status batch"


def test_weights() -> None:
    assert weigh(DOCKER, 10, "v2") == "docker update --cpu-shares 10240 web"
    assert weigh(UNIT, 10, "v2") == "systemctl set-property nginx.service CPUWeight=1000"
    assert weigh(replace(UNIT, cpu=WorkloadCpu(weight=5000)), 10, "v2") == "systemctl set-property nginx.service CPUWeight=10000"
    assert weigh(LIBVIRT, 10, "v2") == "virsh schedinfo vm1 --live --set cpu_shares=1000"
    assert weigh(LIBVIRT, 10, "v1") == "virsh schedinfo vm1 --live --set cpu_shares=10240"
    assert weigh(replace(sandbox(), pid=77, cgroup="/system.slice/x.service"), 10, "v2") == "renice -n -10 -p 77"
    assert weigh_group("/web.slice", 800) == "systemctl set-property web.slice CPUWeight=800"
    assert weigh_group("/jobs", 800) == "echo 800 > /sys/fs/cgroup/jobs/cpu.weight"


def test_places() -> None:
    assert bind_cpus(DOCKER, CpuSet((0, 1)), "v2") == "docker update --cpuset-cpus 0-1 web"
    assert bind_cpus(UNIT, CpuSet((0, 1)), "v2") == "systemctl set-property nginx.service AllowedCPUs=0-1"
    assert bind_nodes(DOCKER, CpuSet((1,)), "v2") == "docker update --cpuset-mems 1 web"
    assert bind_nodes(LIBVIRT, CpuSet((1,)), "v2") == "virsh numatune vm1 --nodeset 1 --live"
    assert pin_vcpu(LIBVIRT, 1, CpuSet((3,))) == "virsh vcpupin vm1 1 3 --live"
    assert pin_vcpu(QEMU, 1, CpuSet((3,))) == "taskset -pc 3 22"
    assert bind_cpus(LIBVIRT, CpuSet((3,)), "v2") == (
        "virsh vcpupin vm1 0 3 --live; virsh vcpupin vm1 1 3 --live; virsh emulatorpin vm1 3 --live"
    )


@pytest.mark.parametrize(
    "name", ["web", "a b", "x; reboot", "$(reboot)", "it's", "a[red]b", r"back\slash", "tab\there", "escape\x1b[31m", "\u202eright"]
)
def test_a_name_is_one_word_for_a_shell(name: str) -> None:
    word = quoted(name)
    assert word.isascii()
    assert word.isprintable()
    if name.isascii() and name.isprintable():
        assert shlex.split(word) == [name]
    else:
        assert word.startswith("$'")
        assert word.endswith("'")


@pytest.mark.parametrize("name", ["", "--privileged", ID])
def test_what_is_no_name_is_the_id(name: str) -> None:
    assert name_of(replace(DOCKER, name=name)) == ID[:12]
