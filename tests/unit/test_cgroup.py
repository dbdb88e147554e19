"""collectors/cgroup.py: v2, v1 and hybrid trees, with a mount table and without."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.model.facts.cgroup import Pids, WorkloadCpu, WorkloadMemory
from agent.model.values import UNLIMITED, CpuSet, Limit
from collectors import cgroup
from collectors.cgroup import CgroupCache, Cpuset, Group, Owner, Stall, whose
from collectors.cgroup.cpu import parse_max
from collectors.cgroup.others import parse_stall
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from tests.unit.tree import grow, malformed, recorded

A, B = "0a" * 32, "1b" * 32
TOP = "sys/fs/cgroup"
DOCKER = f"/system.slice/docker-{A}.scope"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/", None),
        ("", None),
        ("/system.slice", None),
        (DOCKER, ("docker", A, DOCKER)),
        (f"{DOCKER}/init", ("docker", A, DOCKER)),
        (f"/docker/{A}", ("docker", A, f"/docker/{A}")),
        (f"/actions_job/docker/{A}/x", ("docker", A, f"/actions_job/docker/{A}")),
        ("/docker", None),
        ("/system.slice/docker.service", None),
        (f"/docker-{A[:63]}.scope", None),
        (f"/docker-{A.upper()}.scope", None),
        # Docker in Docker: the deepest container is the group's own.
        (f"/docker/{A}/docker/{B}", ("docker", B, f"/docker/{A}/docker/{B}")),
        (f"{DOCKER}/docker/{B}/deeper", ("docker", B, f"{DOCKER}/docker/{B}")),
        (f"/machine.slice/libpod-{A}.scope", ("podman", A, f"/machine.slice/libpod-{A}.scope")),
        (f"/machine.slice/libpod-{A}.scope/container", ("podman", A, f"/machine.slice/libpod-{A}.scope")),
        (f"/libpod_parent/libpod-{A}", ("podman", A, f"/libpod_parent/libpod-{A}")),
        (f"/user.slice/user-1.slice/user@1.service/user.slice/libpod-{A}.scope/container",
         ("podman", A, f"/user.slice/user-1.slice/user@1.service/user.slice/libpod-{A}.scope")),
        (f"/machine.slice/libpod-conmon-{A}.scope", None),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-conmon-{A}.scope", None),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{A}.scope", ("cri-o", A, f"/kubepods.slice/kubepods-pod1.slice/crio-{A}.scope")),
        (f"/kubepods/besteffort/crio-{A}/container", ("cri-o", A, f"/kubepods/besteffort/crio-{A}")),
        (f"/kubepods.slice/x.slice/cri-containerd-{A}.scope", ("containerd", A, f"/kubepods.slice/x.slice/cri-containerd-{A}.scope")),
        (f"/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/{A}",
         ("kubernetes", A, f"/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef/{A}")),
        ("/kubepods/burstable/pod01234567-89ab-cdef-0123-456789abcdef", None),
        ("/lxc.payload.web", ("lxc", "web", "/lxc.payload.web")),
        ("/lxc.payload.web/system.slice/x", ("lxc", "web", "/lxc.payload.web")),
        ("/lxc.monitor.web", None),
        ("/lxc/web", ("lxc", "web", "/lxc/web")),
        ("/lxc", None),
        ("/machine.slice/systemd-nspawn@box.service", ("nspawn", "box", "/machine.slice/systemd-nspawn@box.service")),
        ("/machine.slice/systemd-nspawn@box.service/payload", ("nspawn", "box", "/machine.slice/systemd-nspawn@box.service")),
        ("/machine.slice/machine-box.scope", ("nspawn", "box", "/machine.slice/machine-box.scope")),
        (r"/machine.slice/machine-qemu\x2d1\x2ddb.scope",
         ("libvirt", r"machine-qemu\x2d1\x2ddb", r"/machine.slice/machine-qemu\x2d1\x2ddb.scope")),
        (r"/machine.slice/machine-qemu\x2d1\x2ddb.scope/libvirt/emulator",
         ("libvirt", r"machine-qemu\x2d1\x2ddb", r"/machine.slice/machine-qemu\x2d1\x2ddb.scope")),
        (r"/machine.slice/machine-lxc\x2d1\x2dx.scope", ("libvirt-lxc", "x", r"/machine.slice/machine-lxc\x2d1\x2dx.scope")),
        ("/machine/qemu-1-db.libvirt-qemu/emulator", ("libvirt", "qemu-1-db", "/machine/qemu-1-db.libvirt-qemu")),
        (f"/kata_overhead/{A}", ("kata", A, f"/kata_overhead/{A}")),
        ("/firecracker/551e7604-e35c-42b3-b825-416853441234",
         ("firecracker", "551e7604-e35c-42b3-b825-416853441234", "/firecracker/551e7604-e35c-42b3-b825-416853441234")),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123.slice/cri-containerd-{A}.scope",
         ("containerd", A, f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123.slice/cri-containerd-{A}.scope")),
    ],
)  # fmt: skip
def test_whose(path: str, owner: tuple[str, str, str] | None) -> None:
    found = whose(path)
    assert (None if found is None or found.paradigm == "process" else found[:3]) == owner


def groups(root: SysRoot) -> dict[str, Group]:
    return {group.path: group for group in cgroup.read(root, CgroupCache()).groups}


V2 = {
    f"{TOP}/cgroup.controllers": "cpuset cpu memory pids\n",
    f"{TOP}/cgroup.procs": "1\n",
    f"{TOP}/cpu.stat": "usage_usec 999\n",
    f"{TOP}{DOCKER}/cgroup.procs": "10\n11\n",
    f"{TOP}{DOCKER}/cpu.max": "150000 100000\n",
    f"{TOP}{DOCKER}/cpu.max.burst": "0\n",
    f"{TOP}{DOCKER}/cpu.weight": "59\n",
    f"{TOP}{DOCKER}/cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2000\nnew 1\n",
    f"{TOP}{DOCKER}/cpu.pressure": "some avg10=0.00 total=5\nfull avg10=0.00 total=4\n",
    f"{TOP}{DOCKER}/cpuset.cpus": "\n",
    f"{TOP}{DOCKER}/cpuset.cpus.effective": "0-1\n",
    f"{TOP}{DOCKER}/cpuset.mems.effective": "0\n",
    f"{TOP}{DOCKER}/memory.current": "4096\n",
    f"{TOP}{DOCKER}/memory.max": "1073741824\n",
    f"{TOP}{DOCKER}/memory.high": "max\n",
    f"{TOP}{DOCKER}/memory.low": "max\n",
    f"{TOP}{DOCKER}/memory.min": "0\n",
    f"{TOP}{DOCKER}/memory.swap.max": "max\n",
    f"{TOP}{DOCKER}/memory.stat": "anon 1\nkernel 77\n",
    f"{TOP}{DOCKER}/memory.events": "low 0\noom_kill 1\n",
    f"{TOP}{DOCKER}/memory.oom.group": "0\n",
    f"{TOP}{DOCKER}/pids.current": "2\n",
    f"{TOP}{DOCKER}/pids.max": "max\n",
}
V2_LINE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize("table", ["", f"21 1 8:1 / / rw - ext4 /dev/sda rw\nshort\n{V2_LINE}"])
def test_v2(tmp_path: Path, table: str) -> None:
    root = grow(tmp_path, V2 | ({"proc/1/mountinfo": table} if table else {}))
    found = cgroup.read(root, CgroupCache())
    assert (found.version, found.controllers) == ("v2", dict.fromkeys(("cpu", "cpuset", "memory", "pids"), "v2"))
    assert [group.path for group in found.groups] == ["/", "/system.slice", DOCKER]
    top, slice_, group = found.groups
    assert (top.cpu, top.processes) == (WorkloadCpu(usage_usec=999), None)
    assert (slice_.cpu, slice_.cpuset, slice_.memory, slice_.pressure, slice_.pids) == (None, None, None, {}, None)
    assert group.cpu == WorkloadCpu(
        quota_usec=Limit(150000),
        period_usec=100000,
        burst_usec=0,
        weight=59,
        shares=None,
        usage_usec=30,
        user_usec=20,
        system_usec=10,
        periods=4,
        throttled_periods=3,
        throttled_usec=2000,
    )
    assert group.cpuset == Cpuset(cpus=None, cpus_effective=CpuSet((0, 1)), mems=None, mems_effective=CpuSet((0,)))
    assert group.memory == WorkloadMemory(
        current_bytes=4096,
        min_bytes=0,
        low_bytes=None,  # "max" protects all there is: no number of bytes
        high_bytes=UNLIMITED,
        max_bytes=Limit(1 << 30),
        swap_max_bytes=UNLIMITED,
        kernel_bytes=77,
        oom_group=False,
        stat={"anon": 1, "kernel": 77},
        events={"low": 0, "oom_kill": 1},
    )
    assert group.pressure == {"cpu": Stall(5, 4)}
    assert (group.pids, group.processes) == (Pids(current=2, max=UNLIMITED), (10, 11))
    assert group.inode == (tmp_path / TOP / DOCKER[1:]).stat().st_ino


def v1(controllers: dict[str, str]) -> dict[str, str]:
    """Controller -> the name of its directory."""
    here = f"docker/{A}"
    files = {
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/cpu.shares": "1024\n",
        "cpu/cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 2000999\n",
        "cpu/cgroup.procs": "10\n",
        "cpuacct/cpuacct.usage": "30999\n",
        "cpuacct/cpuacct.usage_user": "20000\n",
        "cpuset/cpuset.cpus": "0-3\n",
        "cpuset/cpuset.effective_cpus": "0-1\n",
        "cpuset/cpuset.mems": "0\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.soft_limit_in_bytes": "1048576\n",
        "memory/memory.usage_in_bytes": "4096\n",
        "memory/memory.memsw.usage_in_bytes": "4000\n",
        "memory/memory.failcnt": "7\n",
        "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n",
        "memory/cgroup.procs": "10\n",
        "pids/pids.max": "max\n",
        "pids/pids.current": "3\n",
    }
    found = {f"{TOP}/{directory}/cgroup.procs": "" for directory in controllers.values()}
    for path, text in files.items():
        controller, name = path.split("/", 1)
        found[f"{TOP}/{controllers[controller]}/{here}/{name}"] = text
    return found


APART = {name: name for name in ("cpu", "cpuacct", "cpuset", "memory", "pids")}
JOINED = APART | {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}


def table(controllers: dict[str, str], *more: str) -> str:
    lines = [
        f"3{n} 23 0:{n} / /{TOP}/{name} rw shared:1 - cgroup cgroup rw,{name}" for n, name in enumerate(sorted(set(controllers.values())))
    ]
    return "".join(f"{line}\n" for line in (*lines, f"40 23 0:40 / /{TOP}/systemd rw - cgroup cgroup rw,xattr,name=systemd", *more))


@pytest.mark.parametrize("controllers", [APART, JOINED], ids=["apart", "joined"])
@pytest.mark.parametrize("mounts", [True, False], ids=["mountinfo", "usual places"])
def test_v1(tmp_path: Path, controllers: dict[str, str], mounts: bool) -> None:
    root = grow(tmp_path, v1(controllers) | ({"proc/self/mountinfo": table(controllers)} if mounts else {}))
    found = cgroup.read(root, CgroupCache())
    assert (found.version, found.controllers) == ("v1", dict.fromkeys(APART, "v1"))
    group = groups(root)[f"/docker/{A}"]
    # Nanoseconds become microseconds.
    assert group.cpu == WorkloadCpu(
        quota_usec=UNLIMITED,
        period_usec=100000,
        burst_usec=None,
        weight=None,
        shares=1024,
        usage_usec=30,
        user_usec=20,
        system_usec=None,
        periods=4,
        throttled_periods=3,
        throttled_usec=2000,
    )
    assert group.cpuset == Cpuset(cpus=CpuSet(range(4)), cpus_effective=CpuSet((0, 1)), mems=CpuSet((0,)))
    assert group.memory == WorkloadMemory(
        current_bytes=4096,
        max_bytes=UNLIMITED,
        soft_limit_bytes=Limit(1 << 20),
        swap_bytes=0,
        oom_kill_disable=False,
        under_oom=True,
        events={"max": 7, "oom_kill": 2},
    )
    assert (group.pids, group.processes, group.pressure) == (Pids(current=3, max=UNLIMITED), (10,), {})


@pytest.mark.parametrize(
    ("memory", "both", "swap"),
    [
        ("3000", "1000", Limit(0)),
        ("1000", str(1 << 62), UNLIMITED),
        ("9223372036854771712", "9223372036854771712", UNLIMITED),
        ("1000", str((1 << 62) - 1), Limit((1 << 62) - 1001)),
        ("1000", None, None),
        (None, "1000", None),
    ],
)
def test_v1_bounds_swap_with_memory(tmp_path: Path, memory: str | None, both: str | None, swap: Limit | None) -> None:
    here = f"{TOP}/memory/x"
    files = {f"{TOP}/memory/cgroup.procs": "", f"{here}/memory.failcnt": "0"}
    files |= {f"{here}/memory.limit_in_bytes": memory} if memory else {}
    files |= {f"{here}/memory.memsw.limit_in_bytes": both} if both else {}
    found = groups(grow(tmp_path, files))["/x"].memory
    assert found is not None
    assert found.swap_max_bytes == swap


@pytest.mark.parametrize("mounts", [True, False], ids=["mountinfo", "usual places"])
def test_hybrid(tmp_path: Path, mounts: bool) -> None:
    line = f"42 23 0:42 / /{TOP}/unified rw - cgroup2 cgroup2 rw"
    files = v1(JOINED) | {
        f"{TOP}/unified/cgroup.procs": "1\n",
        f"{TOP}/unified/cgroup.controllers": "hugetlb\n",
        f"{TOP}/unified/docker/{A}/cgroup.procs": "10\n12\n",
        f"{TOP}/unified/docker/{A}/memory.pressure": "some avg10=0.00 total=9\n",
        f"{TOP}/unified/only/cgroup.procs": "",
    }
    found = cgroup.read(grow(tmp_path, files | ({"proc/1/mountinfo": table(JOINED, line)} if mounts else {})), CgroupCache())
    assert (found.version, found.controllers) == ("hybrid", {**dict.fromkeys(APART, "v1"), "hugetlb": "v2"})
    by_path = {group.path: group for group in found.groups}
    group = by_path[f"/docker/{A}"]
    assert group.cpu is not None
    assert (group.cpu.shares, group.pressure, group.processes) == (1024, {"memory": Stall(9)}, (10,))
    # A group of one hierarchy has nothing of the others.
    assert by_path["/only"] == Group(path="/only", inode=(tmp_path / TOP / "unified/only").stat().st_ino, processes=())


def test_hybrid_without_controllers_in_v2(tmp_path: Path) -> None:
    root = grow(tmp_path, v1(APART) | {f"{TOP}/unified/cgroup.controllers": "", f"{TOP}/unified/cgroup.procs": ""})
    assert cgroup.read(root, CgroupCache()).version == "hybrid"


@pytest.mark.parametrize("files", [{}, {f"{TOP}/": ""}, {"proc/1/mountinfo": "21 1 8:1 / / rw - ext4 /dev/sda rw\n"}])
def test_none(tmp_path: Path, files: dict[str, str]) -> None:
    grow(tmp_path, files)
    with pytest.raises(Unavailable) as caught:
        cgroup.read(SysRoot(tmp_path), CgroupCache())
    assert caught.value.reason == "absent"


@pytest.mark.parametrize("mount", ["/../../etc", "/", "/proc/../../..", "//etc"])
def test_a_mount_point_that_leads_outside(tmp_path: Path, mount: str) -> None:
    root = grow(tmp_path, {"proc/1/mountinfo": f"30 23 0:26 / {mount} rw - cgroup2 cgroup2 rw\n"})
    with pytest.raises(Unavailable) as caught:
        cgroup.read(root, CgroupCache())
    assert caught.value.reason == "absent"


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    grow(tmp_path, V2)
    name = f"{TOP}/docker-{B}.scope".encode() + b"/\xff\n"
    os.makedirs(os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / os.fsdecode(name) / "cgroup.procs").write_text("7\n")
    (group,) = [group for group in cgroup.read(SysRoot(tmp_path), CgroupCache()).groups if "xff" in group.path]
    assert group.path == f"/docker-{B}.scope/\\xff\n"
    assert (group.processes, group.owner) == ((7,), Owner("docker", B, f"/docker-{B}.scope"))
    assert group.inode is not None


def test_links_are_not_followed(tmp_path: Path) -> None:
    grow(tmp_path, V2)
    (tmp_path / TOP / "loop").symlink_to(".")
    assert "/loop" not in groups(SysRoot(tmp_path))


def test_a_replayed_group_keeps_its_inode(tmp_path: Path) -> None:
    root = recorded(tmp_path, V2)
    assert {group.inode for group in cgroup.read(root, CgroupCache()).groups} == {None}
    assert root.mark is not None
    root.mark.inodes[f"{TOP}{DOCKER}"] = 4242
    assert groups(root)[DOCKER].inode == 4242


@pytest.mark.parametrize(("text", "value"), [("max 100000\n", (UNLIMITED, 100000)), ("150000 100000", (Limit(150000), 100000))])
def test_cpu_max(text: str, value: tuple[Limit, int]) -> None:
    assert parse_max(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_max, "max"),
        (parse_max, ""),
        (parse_max, "x 1"),
        (parse_max, "1 max"),
        (parse_max, "1 2 3"),
        (parse_stall, "half total=1"),
        (parse_stall, "some total=x"),
        (parse_stall, "some\n"),
        (parse_stall, f"some total={'9' * 400}"),
        (parse_stall, "some total=1\nfull avg10=0\n"),
    ],
)
def test_bad_texts(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    ("name", "text"), [("cpu.max", "x"), ("cpu.stat", "a b"), ("memory.max", "much"), ("cgroup.procs", "me"), ("pids.max", "-")]
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str) -> None:
    before = cgroup.read(root := grow(tmp_path, V2), CgroupCache()).groups
    (tmp_path / f"{TOP}{DOCKER}/{name}").write_text(text)
    after = cgroup.read(root, CgroupCache()).groups
    assert [group.path for group, other in zip(before, after, strict=True) if group != other] == [DOCKER]
    assert malformed(root) == [f"{TOP}{DOCKER}/{name}"]
