"""Commands that mend something, in the words of the tool that runs a workload, with the name that a person knows it by.

Sources: docker-container-update(1), podman-update(1), `update` of crictl and nerdctl, systemd.resource-control(5), virsh(1),
lxc-cgroup(1). What no tool is known for is written into the control group's own file.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping

from agent.model.values import CpuSet, Fact
from agent.model.workload import Workload

MIB = 1 << 20

_UNIT = (".service", ".scope", ".slice")
_ID = re.compile(r"[0-9a-f]{32,64}")
_SHORT_ID = 12
"""Digits of an id that engines show and understand."""
_POD_TOOL, _CONTAINERD_TOOL = "crictl", "nerdctl"
_CFS_PERIOD_USEC = 100_000
_FEW = 4
"""Up to so many vCPUs have a command each."""


class _Setting(Fact, frozen=True, kw_only=True):
    """One control with its value, in each tool's words; None: the tool cannot set it. `v1` and `v2` are files, `controller` is v1's."""

    controller: str
    v1: tuple[str, str]
    v2: tuple[str, str]
    flags: str | None = None
    pod_flags: str | None = None
    property: str | None = None
    virsh: str | None = None


def quoted(text: str) -> str:
    """One word of a shell's command; what cannot be printed is escaped."""
    if text.isascii() and text.isprintable():
        return shlex.quote(text)
    return "$'" + text.encode("unicode_escape").decode("ascii").replace("'", "\\'") + "'"


def name_of(workload: Workload) -> str:
    """What its own tool knows it by, as one word for a shell: its name, else twelve digits of its id."""
    name = workload.name
    if not name or name.startswith("-") or _ID.fullmatch(name):
        name = workload.id[:_SHORT_ID] if _ID.fullmatch(workload.id) else workload.id
    return quoted(name)


def limit_memory(workload: Workload, size: float, version: str | None) -> str:
    """Another memory limit in bytes, in whole MiB. What it may swap stays as it is."""
    megabytes = max(1, math.ceil(size / MIB))
    swap = workload.memory.swap_max_bytes
    both = "-1" if swap is None or swap.unlimited else f"{megabytes + math.ceil(swap / MIB)}m"
    return _command(workload, version, _memory(megabytes, f"--memory {megabytes}m --memory-swap {both}"))


def limit_memory_of(path: str, size: float, version: str | None) -> str:
    """The same of a control group by its path."""
    return _of_group(path, version, _memory(max(1, math.ceil(size / MIB)), None))


def limit_cpus(workload: Workload, cpus: float, version: str | None) -> str:
    """Another CPU limit, in CPUs."""
    period = workload.cpu.period_usec or _CFS_PERIOD_USEC
    quota = math.ceil(cpus * period)
    setting = _Setting(
        controller="cpu",
        v1=("cpu.cfs_quota_us", str(quota)),
        v2=("cpu.max", f"{quota} {period}"),
        flags=f"--cpus {cpus:g}",
        pod_flags=f"--cpu-period {period} --cpu-quota {quota}",
        property=f"CPUQuota={math.ceil(100 * cpus)}%",
        virsh=f"schedinfo {{}} --live --set global_quota={quota}",
    )
    return _command(workload, version, setting)


def weigh(workload: Workload, times: float, version: str | None) -> str:
    """A CPU weight so many times the present one; of what has no group of its own, another nice value."""
    if workload.paradigm == "sandbox" or workload.cgroup is None:
        return f"renice -n -10 -p {workload.pid}" if workload.pid else "systemd-cgtop"
    weight = min(10_000, max(1, round((workload.cpu.weight or 100) * times)))
    shares = min(262_144, max(2, round((workload.cpu.shares or 1024) * times)))
    own = weight if version == "v2" else shares
    setting = _Setting(
        controller="cpu",
        v1=("cpu.shares", str(shares)),
        v2=("cpu.weight", str(weight)),
        flags=f"--cpu-shares {shares}",
        pod_flags=f"--cpu-share {shares}",
        property=f"CPUWeight={weight}",
        virsh=f"schedinfo {{}} --live --set cpu_shares={own}",
    )
    return _command(workload, version, setting)


def weigh_group(path: str, weight: int) -> str:
    """A weight of cgroup v2 for a control group by its path."""
    setting = _Setting(controller="cpu", v1=("cpu.shares", str(weight)), v2=("cpu.weight", str(weight)), property=f"CPUWeight={weight}")
    return _of_group(path, "v2", setting)


def limit_pids(workload: Workload, tasks: int, version: str | None) -> str:
    """Another limit of tasks."""
    setting = _Setting(
        controller="pids",
        v1=("pids.max", str(tasks)),
        v2=("pids.max", str(tasks)),
        flags=f"--pids-limit {tasks}",
        property=f"TasksMax={tasks}",
    )
    return _command(workload, version, setting)


def bind_cpus(workload: Workload, cpus: CpuSet, version: str | None) -> str:
    """Other CPUs that it may use."""
    flag = f"--cpuset-cpus {cpus}"
    files, value = ("cpuset.cpus", str(cpus)), f"AllowedCPUs={cpus}" if version == "v2" else None
    if workload.paradigm == "virtualization" and _tool(workload) == "virsh":
        pins = [f"virsh vcpupin {name_of(workload)} {vcpu.number} {cpus} --live" for vcpu in workload.vcpus]
        return "; ".join((*pins, f"virsh emulatorpin {name_of(workload)} {cpus} --live"))
    if _tool(workload) is None and not (workload.cgroup or "/").strip("/") and workload.pid:
        return f"taskset -apc {cpus} {workload.pid}"
    return _command(workload, version, _Setting(controller="cpuset", v1=files, v2=files, flags=flag, pod_flags=flag, property=value))


def bind_nodes(workload: Workload, nodes: CpuSet, version: str | None) -> str:
    """Other memory nodes that it may use."""
    flag, files = f"--cpuset-mems {nodes}", ("cpuset.mems", str(nodes))
    setting = _Setting(
        controller="cpuset",
        v1=files,
        v2=files,
        flags=flag,
        pod_flags=flag,
        property=f"AllowedMemoryNodes={nodes}" if version == "v2" else None,
        virsh=f"numatune {{}} --nodeset {nodes} --live",
    )
    return _command(workload, version, setting)


def pin_vcpu(workload: Workload, number: int, cpus: CpuSet) -> str:
    """One vCPU bound to other CPUs: by libvirt, where it knows the machine, else by the thread."""
    if _tool(workload) == "virsh":
        return f"virsh vcpupin {name_of(workload)} {number} {cpus} --live"
    tids = [vcpu.thread.tid for vcpu in workload.vcpus if vcpu.number == number and vcpu.thread]
    return f"taskset -pc {cpus} {tids[0]}" if tids else f"taskset -apc {cpus} {workload.pid}"


def pin_vcpus(workload: Workload, pins: Mapping[int, CpuSet]) -> str:
    """Each of these vCPUs bound to its CPUs."""
    sets = {*pins.values()}
    if len(pins) > _FEW and len(sets) == 1 and _tool(workload) == "virsh":
        numbers = " ".join(str(number) for number in pins)
        return f"for vcpu in {numbers}; do virsh vcpupin {name_of(workload)} $vcpu {sets.pop()} --live; done"
    return "; ".join(pin_vcpu(workload, number, cpus) for number, cpus in pins.items())


def pin_emulator(workload: Workload, cpus: CpuSet) -> str:
    """The emulator's own threads bound to other CPUs."""
    if _tool(workload) == "virsh":
        return f"virsh emulatorpin {name_of(workload)} {cpus} --live"
    return f"taskset -pc {cpus} {workload.pid}"


def is_of_libvirt(workload: Workload) -> bool:
    """Whether libvirt runs the machine, by what it says of its vCPUs, or by the name of its control group."""
    path = workload.cgroup or ""
    return any(vcpu.affinity is not None for vcpu in workload.vcpus) or any(
        part in path for part in ("machine-qemu", ".libvirt-qemu", "/libvirt/qemu/")
    )


def _memory(megabytes: int, flags: str | None) -> _Setting:
    size = str(megabytes * MIB)
    return _Setting(
        controller="memory",
        v1=("memory.limit_in_bytes", size),
        v2=("memory.max", size),
        flags=flags,
        pod_flags=f"--memory {size}",
        property=f"MemoryMax={megabytes}M",
        virsh=f"memtune {{}} --hard-limit {megabytes * 1024} --live",
    )


def _tool(workload: Workload) -> str | None:
    if workload.paradigm == "virtualization":
        return "virsh" if is_of_libvirt(workload) else None
    if workload.paradigm != "containerization":
        return None
    if workload.pod is not None or workload.runtime in ("cri-o", "kubernetes"):
        return _POD_TOOL
    return {"docker": "docker", "podman": "podman", "containerd": _CONTAINERD_TOOL, "lxc": "lxc-cgroup"}.get(workload.runtime)


def _command(workload: Workload, version: str | None, setting: _Setting) -> str:
    tool = _tool(workload)
    if tool == "virsh" and setting.virsh is not None:
        return "virsh " + setting.virsh.format(name_of(workload))
    if tool == _POD_TOOL and setting.pod_flags is not None:
        return f"crictl update {setting.pod_flags} {quoted(workload.id[: _SHORT_ID + 1])}"
    if tool in ("docker", "podman", _CONTAINERD_TOOL) and setting.flags is not None:
        return f"{tool} update {setting.flags} {name_of(workload)}"
    if tool == "lxc-cgroup":
        file, value = setting.v2 if version == "v2" else setting.v1
        return f"lxc-cgroup -n {name_of(workload)} {file} {quoted(value)}"
    if not (workload.cgroup or "/").strip("/"):
        # It has no group to set anything in: which one holds its process is the first question.
        return f"systemctl status {workload.pid or name_of(workload)}"
    return _of_group(workload.cgroup or "/", version, setting)


def _of_group(path: str, version: str | None, setting: _Setting) -> str:
    unit = path.rpartition("/")[2]
    if unit.endswith(_UNIT) and setting.property is not None:
        return f"systemctl set-property {quoted(unit)} {setting.property}"
    file, value = setting.v2 if version == "v2" else setting.v1
    hierarchy = "" if version == "v2" else f"/{setting.controller}"
    return f"echo {value} > {quoted(f'/sys/fs/cgroup{hierarchy}{path}/{file}')}"
