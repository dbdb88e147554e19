"""A machine that no guest and no host of the lab is: written, not recorded.

Its memory controllers have drivers (EDAC, under each of its three layouts), its kernel accounts the time that interrupts take
(CONFIG_IRQ_TIME_ACCOUNTING), and two of its caches contradict each other. It is a node of Kubernetes, too: the kubelet's slices with pods
of each class, of containerd and CRI-O, of which the guaranteed one has a CPU of its own, as the kubelet's checkpoints say. There are two
passes, six seconds apart.
"""

from __future__ import annotations

import json

from collectors.root import LATER, MARK

NAME = "written"

_ID = "7d" * 32
_SCOPE = f"/system.slice/docker-{_ID}.scope"
_CPU, _NODE, _MC = "sys/devices/system/cpu", "sys/devices/system/node", "sys/devices/system/edac/mc"
_SECONDS = 6.0


def files() -> dict[str, str]:
    """By path, as `tests.unit.tree.plant` takes them."""
    return {**_pass(0), **{f"{LATER}/{path}": text for path, text in _pass(1).items()}}


def _pass(number: int) -> dict[str, str]:
    seconds = 5000.0 + number * _SECONDS
    mark = {
        "format": 2,
        "taken_at": 1700000000 + number * _SECONDS,
        "version": "written",
        "page_bytes": 4096,
        "read_times": dict.fromkeys(("proc/uptime", "proc/stat", _SCOPE, "41"), seconds),
        "inodes": {f"sys/fs/cgroup{_SCOPE}": 4711},
    }
    return {
        MARK: json.dumps(mark),
        **_machine(),
        **_edac(number),
        **_pressure(number),
        **_container(number, seconds),
        **_pods(number),
        **_kubelet(),
    }


def _machine() -> dict[str, str]:
    found = {
        f"{_CPU}/online": "0-3\n",
        f"{_CPU}/possible": "0-3\n",
        f"{_CPU}/present": "0-3\n",
        f"{_NODE}/online": "0\n",
        f"{_NODE}/node0/cpulist": "0-3\n",
        f"{_NODE}/node0/distance": "10\n",
        f"{_NODE}/node0/meminfo": "Node 0 MemTotal: 8388608 kB\nNode 0 MemFree: 1048576 kB\n",
        f"{_CPU}/vulnerabilities/mds": "Mitigation: Clear CPU buffers; SMT vulnerable\n",
        f"{_CPU}/vulnerabilities/meltdown": "Not affected\n",
        f"{_CPU}/vulnerabilities/retbleed": "Vulnerable\n",
        f"{_CPU}/vulnerabilities/srbds": "Unknown: Dependent on hypervisor status\n",
        f"{_CPU}/smt/control": "on\n",
        "proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1048576 kB\n",
    }
    for cpu in range(4):
        package = cpu // 2
        found |= {
            f"{_CPU}/cpu{cpu}/topology/core_id": f"{cpu % 2}\n",
            f"{_CPU}/cpu{cpu}/topology/physical_package_id": f"{package}\n",
            f"{_CPU}/cpu{cpu}/topology/package_cpus": f"{3 << 2 * package:x}\n",
            f"{_CPU}/cpu{cpu}/topology/core_cpus": f"{1 << cpu:x}\n",
        }
        # The second level would be shared by CPUs of both packages, which the third is not.
        for index, level, cpus in ((0, 1, 1 << cpu), (1, 2, 0b0101 << cpu % 2), (2, 3, 3 << 2 * package)):
            found |= {
                f"{_CPU}/cpu{cpu}/cache/index{index}/level": f"{level}\n",
                f"{_CPU}/cpu{cpu}/cache/index{index}/type": "Unified\n",
                f"{_CPU}/cpu{cpu}/cache/index{index}/size": f"{64 << 3 * index}K\n",
                f"{_CPU}/cpu{cpu}/cache/index{index}/shared_cpu_map": f"{cpus:x}\n",
            }
    return found


def _edac(number: int) -> dict[str, str]:
    """A controller whose driver shows DIMMs, one that shows ranks, and one as old kernels show them: rows of channels."""
    found: dict[str, str] = {}
    for controller, name in ((0, "Skylake Socket#0 IMC#0"), (1, "F19h"), (2, "i5000")):
        here = f"{_MC}/mc{controller}"
        found |= {
            f"{here}/mc_name": f"{name}\n",
            f"{here}/size_mb": "4096\n",
            f"{here}/ce_count": f"{31 + 10 * controller + 5 * number}\n",
            f"{here}/ue_count": f"{3 + controller}\n",
            f"{here}/ce_noinfo_count": f"{7 + controller}\n",
            f"{here}/ue_noinfo_count": f"{1 + controller}\n",
        }
    for kind, controller, count in (("dimm", 0, 2), ("rank", 1, 2)):
        for dimm in range(count):
            at = f"{_MC}/mc{controller}/{kind}{dimm}"
            layers = f"channel {dimm} slot 0" if kind == "dimm" else f"csrow {dimm} channel 0"
            found |= {
                f"{at}/dimm_label": f"CPU_SrcID#{controller}_Chan#{dimm}_DIMM#0\n",
                f"{at}/dimm_location": f"{layers} \n",
                f"{at}/size": "2048\n",
                f"{at}/dimm_mem_type": ("Registered-DDR4\n", "Unbuffered-DDR5\n")[controller],
                f"{at}/dimm_edac_mode": ("SECDED\n", "S4ECD4ED\n")[controller],
                f"{at}/dimm_ce_count": f"{12 + 9 * dimm + 20 * controller + 3 * number}\n",
                f"{at}/dimm_ue_count": f"{dimm + 2 * controller}\n",
            }
    at = f"{_MC}/mc2/csrow0"
    found |= {f"{at}/size_mb": "4096\n", f"{at}/mem_type": "FullyBuffered-DDR2\n", f"{at}/edac_mode": "S8ECD8ED\n", f"{at}/ue_count": "6\n"}
    return found | {f"{at}/ch0_ce_count": f"{44 + number}\n", f"{at}/ch0_dimm_label": "DIMM_A0\n"}


def _pressure(number: int) -> dict[str, str]:
    totals = {"cpu": (900_000, 0), "memory": (70_000, 50_000), "io": (400_000, 300_000)}
    found = {f"proc/pressure/{name}": _stall(some, full, number) for name, (some, full) in totals.items()}
    return found | {"proc/pressure/irq": f"full avg10=0.00 avg60=0.00 avg300=0.00 total={81_000 + 17_000 * number}\n"}


def _stall(some: int, full: int, number: int) -> str:
    averages = "avg10=0.00 avg60=0.00 avg300=0.00"
    return f"some {averages} total={some + 30_000 * number}\nfull {averages} total={full + 20_000 * number}\n"


def _container(number: int, seconds: float) -> dict[str, str]:
    group = f"sys/fs/cgroup{_SCOPE}"
    usage = 60_000_000 + 1_300_000 * number
    return {
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
        "sys/fs/cgroup/cpuset.cpus.effective": "0-2\n",
        "sys/fs/cgroup/cpuset.mems.effective": "0\n",
        f"{group}/cgroup.controllers": "cpu memory\n",
        f"{group}/cgroup.procs": "41\n",
        f"{group}/cpu.max": "50000 100000\n",
        f"{group}/cpu.stat": f"usage_usec {usage}\nuser_usec {usage - 9_000_000}\nsystem_usec 9000000\n"
        f"nr_periods {800 + 60 * number}\nnr_throttled {90 + 21 * number}\nthrottled_usec {4_000_000 + 700_000 * number}\n",
        f"{group}/memory.current": f"{200 << 20}\n",
        f"{group}/memory.max": f"{512 << 20}\n",
        f"{group}/cpu.pressure": _stall(2_000_000, 1_000_000, number),
        f"{group}/irq.pressure": f"full avg10=0.00 avg60=0.00 avg300=0.00 total={23_000 + 4_000 * number}\n",
        "proc/uptime": f"{seconds} {3 * seconds}\n",
        "proc/stat": "".join(f"cpu{cpu} {40000 + 200 * number} 0 9000 {300000 + 300 * number} 0 70 30 0 0 0\n" for cpu in range(4))
        + f"ctxt {7_000_000 + 9000 * number}\nbtime 1699995000\n",
    }


def _pods(number: int) -> dict[str, str]:
    """The kubelet's groups with its driver for systemd on cgroup v2: a guaranteed pod stands beside the slices of the other classes."""
    found: dict[str, str] = {}
    for at, (qos, engine, cpus, weight, quota) in enumerate(
        (
            ("", "cri-containerd", "3", 39, 100_000),
            ("burstable", "cri-containerd", "", 20, 20_000),
            ("burstable", "crio", "", 10, None),
            ("besteffort", "crio", "", 1, None),
        )
    ):
        parents = ["kubepods.slice", *([f"kubepods-{qos}.slice"] if qos else [])]
        pod = f"{parents[-1].removesuffix('.slice')}-pod5f3a1c{at}0_77d2_4c41_9b1e_2f64d0c8a{at}17.slice"
        slices = ["/".join([*parents, pod][: depth + 1]) for depth in range(len(parents) + 1)]
        group = f"sys/fs/cgroup/{slices[-1]}/{engine}-{f'{at + 1}c' * 32}.scope"
        usage = 5_000_000 * (at + 1) + 900_000 * number
        found |= {f"sys/fs/cgroup/{path}/cgroup.controllers": "cpuset cpu memory pids\n" for path in slices}
        found |= {
            f"sys/fs/cgroup/{slices[-1]}/cpu.weight": f"{weight}\n",
            f"{group}/cgroup.controllers": "cpuset cpu memory pids\n",
            f"{group}/cgroup.procs": f"{50 + at}\n",
            f"{group}/cpu.weight": f"{weight}\n",
            f"{group}/cpu.max": f"{quota or 'max'} 100000\n",
            f"{group}/cpu.stat": f"usage_usec {usage}\nuser_usec {usage - 700_000}\nsystem_usec 700000\n"
            f"nr_periods {60 * number}\nnr_throttled {7 * at * number}\nthrottled_usec {80_000 * at * number}\n",
            f"{group}/cpuset.cpus": f"{cpus}\n",
            f"{group}/cpuset.cpus.effective": f"{cpus or '0-2'}\n",
            f"{group}/cpuset.cpus.partition": f"{'isolated' if cpus else 'member'}\n",
            f"{group}/cpuset.mems.effective": "0\n",
            f"{group}/memory.current": f"{(at + 1) * 30 << 20}\n",
            f"{group}/memory.max": "max\n" if qos == "besteffort" else f"{(at + 1) * 64 << 20}\n",
        }
    return found


def _kubelet() -> dict[str, str]:
    """Its checkpoints: the CPU of the guaranteed pod, and the node of its memory."""
    pod = "5f3a1c00-77d2-4c41-9b1e-2f64d0c8a017"
    blocks = [{"numaAffinity": [0], "type": "memory", "size": 64 << 20}]
    return {
        "var/lib/kubelet/cpu_manager_state": json.dumps(
            {"policyName": "static", "defaultCpuSet": "0-2", "entries": {pod: {"app": "3"}}, "checksum": 1}
        ),
        "var/lib/kubelet/memory_manager_state": json.dumps(
            {"policyName": "Static", "machineState": {}, "entries": {pod: {"app": blocks}}, "checksum": 1}
        ),
    }
