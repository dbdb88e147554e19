"""What Prometheus says of a full guest beside what others there say of the same things: each test is a fact, and prints it.

Prometheus scrapes the agent's service; its own query API answers here. Runs inside the guest, on Debian's pytest.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

CGROUP = Path("/sys/fs/cgroup")
T = TypeVar("T")
MIB = 1 << 20
TOUCHED_BYTES = 9 * 4096  # by each guest of sandbox.py
PATIENCE_SECONDS = 180
MACHINES = ("db", "far")
NET_ADMIN = 1 << 12  # include/uapi/linux/capability.h


def ask(expression: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:9090/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def settled(question: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """The answer, asked again until it is as wanted or time is up: what was late at one scrape is there at another."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not wanted(answer := question()) and time.monotonic() < end:
        time.sleep(1)
    return answer


def only(expression: str) -> dict[str, Any]:
    """The one series of an expression."""
    found = settled(lambda: ask(expression), lambda found: len(found) == 1)
    assert len(found) == 1, f"{expression}: {found}"
    return found[0]


def value(family: str, **labels: str) -> float:
    matchers = ",".join(f'{name}="{wanted}"' for name, wanted in labels.items())
    return float(only(f"{family}{{{matchers}}}")["value"][1])


def labels(family: str, **known: str) -> dict[str, str]:
    matchers = ",".join(f'{name}="{wanted}"' for name, wanted in known.items())
    found: dict[str, str] = only(f"{family}{{{matchers}}}")["metric"]
    return found


def same(what: str, ours: object, theirs: object, who: str, whose: str = "Prometheus") -> None:
    print(f"{what}: {ours} ({whose}) {'=' if ours == theirs else 'IS NOT'} {theirs} ({who})", flush=True)
    assert ours == theirs, what


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@cache
def inspected(engine: str, name: str) -> dict[str, Any]:
    """What the container's own engine says of it."""
    found: dict[str, Any] = json.loads(said(engine, "inspect", name))[0]
    return found


@cache
def observed() -> tuple[dict[str, Any], list[dict[str, dict[str, float]]]]:
    """The agent's own document, which has more than metrics, with both machines; and before and after it numastat's word of these."""

    def found() -> tuple[dict[str, Any], list[dict[str, dict[str, float]]]]:
        before = {name: numastat(name) for name in MACHINES}
        answer: dict[str, Any] = json.loads(said("/opt/stratascope/bin/agent", "snapshot", "--interval", "0"))
        return answer, [before, {name: numastat(name) for name in MACHINES}]

    return settled(found, lambda seen: sum(1 for one in seen[0]["workloads"] if one["paradigm"] == "virtualization") == len(MACHINES))


def document() -> dict[str, Any]:
    return observed()[0]


def machine(name: str) -> dict[str, Any]:
    (only_one,) = [one for one in document()["workloads"] if one["paradigm"] == "virtualization" and one["name"] == name]
    found: dict[str, Any] = only_one
    return found


def numastat(name: str) -> dict[str, float]:
    """Megabytes of a machine's process by node: the last line of a table whose head names the nodes."""
    pid = Path(f"/run/libvirt/qemu/{name}.pid").read_text().strip()
    lines = [line.split() for line in said("numastat", "-p", pid).splitlines()]
    nodes = next(words[1::2] for words in lines if words[:1] == ["Node"])
    (total,) = (words[1:] for words in lines if words[:1] == ["Total"])
    return dict(zip(nodes, map(float, total), strict=False))


def rows(text: str) -> dict[str, str]:
    """virsh's tables and lists: the first word, or what stands before the colon, and the rest."""
    return dict(re.findall(r"^ *([^\s:]+(?: [^\s:]+)*) *(?::[ \t]+| {2,})(.+)$", text, re.MULTILINE))


def cpus(text: str) -> set[int]:
    """The kernel's list format."""
    spans = [part.split("-") for part in text.split(",") if part]
    return {cpu for span in spans for cpu in range(int(span[0]), int(span[-1]) + 1)}


def cpu_limit(text: str) -> float:
    """cpu.max: a quota and a period, in microseconds."""
    quota, period = text.split()
    return math.inf if quota == "max" else int(quota) / int(period)


def test_prometheus_scrapes_the_unit() -> None:
    active = float(said("systemctl", "is-active", "stratascope") == "active\n")
    same("the agent: up", settled(lambda: value("up", job="stratascope"), lambda up: up == active), active, "systemctl")


def test_what_is_silent_is_root_s_alone() -> None:
    """Podman's socket, containerd's bundles, SMBIOS, debugfs, and what ended threads ran: the kernel asks CAP_NET_ADMIN for that.

    That libvirt's threaded groups name no processes is no gap.
    """
    paths = {
        "docker_engine": "/run/podman",
        "oci": "/run/containerd/io.containerd.runtime.v2.task",
        "smbios": "/sys/firmware/dmi/tables/DMI",
        "sys_debug_sched": "/sys/kernel/debug",
    }
    theirs = {(source, "denied") for source, path in paths.items() if not int(said("stat", "--format=%a", path), 8) & 0o044}
    status = Path(f"/proc/{said('systemctl', 'show', '-p', 'MainPID', '--value', 'stratascope').strip()}/status").read_text()
    if not int(rows(status)["CapEff"], 16) & NET_ADMIN:
        theirs.add(("taskstats", "denied"))
    assert "threaded\n" in {kind.read_text() for kind in CGROUP.rglob("machine.slice/**/cgroup.type")}
    ours = settled(
        lambda: {(one["metric"]["source"], one["metric"]["reason"]) for one in ask("strata_source_gap_info")}, lambda gaps: gaps == theirs
    )
    same("gaps of the agent", sorted(ours), sorted(theirs), "stat")


@pytest.mark.parametrize("node", ["0", "1"])
def test_a_node(node: str) -> None:
    numactl = said("numactl", "-H")
    their_cpus, size = (re.search(rf"^node {node} {what}: (.+)$", numactl, re.MULTILINE) for what in ("cpus", "size"))
    row = re.search(rf"^ +{node}: +(.+)$", numactl, re.MULTILINE)
    assert their_cpus
    assert size
    assert row
    same(f"node {node}: CPUs", cpus(labels("strata_node_info", node=node)["cpus"]), set(map(int, their_cpus[1].split())), "numactl -H")
    same(f"node {node}: memory", f"{int(value('strata_node_memory_bytes', node=node)) // MIB} MB", size[1], "numactl -H")
    ours = [int(value("strata_node_distance", node=node, target=target)) for target in ("0", "1")]
    same(f"node {node}: distances", ours, list(map(int, row[1].split())), "numactl -H")


@pytest.mark.parametrize("name", ["burner", "nested"])
def test_a_docker_container(name: str) -> None:
    its = inspected("docker", name)
    about = labels("strata_workload_info", runtime="docker", name=name)
    same(f"docker {name}: id", about["workload"], its["Id"], "docker inspect")
    same(f"docker {name}: image", about["image"], its["Config"]["Image"], "docker inspect")
    same(
        f"docker {name}: limit in CPUs",
        value("strata_workload_cpu_limit_cpus", workload=its["Id"]),
        its["HostConfig"]["NanoCpus"] / 1e9,
        "docker inspect",
    )
    limit = value("strata_workload_memory_limit_bytes", workload=its["Id"])
    same(f"docker {name}: memory limit", int(limit), its["HostConfig"]["Memory"], "docker inspect")
    allowed = its["HostConfig"]["CpusetCpus"] or (CGROUP / "cpuset.cpus.effective").read_text().strip()
    same(f"docker {name}: CPUs", labels("strata_workload_placement_info", workload=its["Id"])["cpus"], allowed, "docker inspect")


def scraped(family: str, workload: str, since: float) -> float:
    """A counter, at the first scrape after it had that value."""
    return settled(lambda: value(family, workload=workload), lambda ours: ours >= since)


def test_the_burner_is_throttled_as_its_group_counts() -> None:
    id_ = inspected("docker", "burner")["Id"]
    stat = CGROUP / f"system.slice/docker-{id_}.scope/cpu.stat"
    families = {"usage_usec": "strata_workload_cpu_seconds_total", "nr_throttled": "strata_workload_cpu_throttled_periods_total"}
    for key, family in families.items():
        unit = 1e6 if key.endswith("usec") else 1
        before = int(dict(line.split() for line in stat.read_text().splitlines())[key]) / unit
        ours = scraped(family, id_, before)
        after = int(dict(line.split() for line in stat.read_text().splitlines())[key]) / unit
        print(f"docker burner: {family}: {before} (cpu.stat, {key}) <= {ours} (Prometheus) <= {after} (cpu.stat)", flush=True)
        assert before <= ours <= after


def test_a_podman_container() -> None:
    """Podman's socket is root's: the agent's user knows its container by the control group alone. The limits are in the group within."""
    its = inspected("podman", "pod")
    about = labels("strata_workload_info", runtime="podman")
    group = CGROUP / f"machine.slice/libpod-{its['Id']}.scope/container"
    same("podman pod: id", about["workload"], its["Id"], "podman inspect")
    limit = value("strata_workload_cpu_limit_cpus", workload=its["Id"])
    same("podman pod: limit in CPUs", limit, its["HostConfig"]["NanoCpus"] / 1e9, "podman inspect")
    same("podman pod: limit in CPUs", limit, cpu_limit((group / "cpu.max").read_text()), "cpu.max")
    memory = int(value("strata_workload_memory_limit_bytes", workload=its["Id"]))
    same("podman pod: memory limit", memory, its["HostConfig"]["Memory"], "podman inspect")
    same(
        "podman pod: CPUs",
        labels("strata_workload_placement_info", workload=its["Id"])["cpus"],
        its["HostConfig"]["CpusetCpus"],
        "podman inspect",
    )


def test_a_nspawn_machine() -> None:
    about = labels("strata_workload_info", runtime="nspawn")
    unit = dict(line.split("=", 1) for line in said("machinectl", "show", "nest").splitlines())
    same("nspawn: name", about["name"], unit["Name"], "machinectl show")
    group = CGROUP / said("systemctl", "show", "-P", "ControlGroup", unit["Unit"]).strip().lstrip("/")
    limit = value("strata_workload_cpu_limit_cpus", workload=about["workload"])
    same("nspawn nest: limit in CPUs", limit, cpu_limit((group / "cpu.max").read_text()), "cpu.max")
    memory = int(value("strata_workload_memory_limit_bytes", workload=about["workload"]))
    same("nspawn nest: memory limit", memory, int((group / "memory.max").read_text()), "memory.max")


def test_the_machine() -> None:
    info = rows(said("virsh", "dominfo", "db"))
    about = labels("strata_workload_info", runtime="kvm", name="db")
    same("KVM machine: name", about["name"], info["Name"], "virsh dominfo")
    same("KVM machine: id", about["workload"], info["UUID"], "virsh dominfo")
    allotted = f"{int(value('strata_workload_memory_allotted_bytes', workload=info['UUID'])) >> 10} KiB"
    same("KVM machine: memory", allotted, info["Used memory"], "virsh dominfo")
    vcpus = {one["metric"]["vcpu"]: one["metric"] for one in ask(f'strata_vcpu_info{{workload="{info["UUID"]}"}}')}
    same("KVM machine: vCPUs", len(vcpus), int(info["CPU(s)"]), "virsh dominfo")
    pins = rows(said("virsh", "vcpupin", "db"))
    for number, one in vcpus.items():
        same(f"KVM machine: vCPU {number} may use CPUs", one["affinity"], pins[number], "virsh vcpupin")
    same("KVM machine: pinned", [one["pinned"] for _, one in sorted(vcpus.items())], ["yes", "no"], "what was asked for")


def test_the_machine_s_threads() -> None:
    """Not of Prometheus: where the threads are allowed, and what libvirt says of the rest."""
    its = machine("db")
    emulator = rows(said("virsh", "emulatorpin", "db"))["*"]
    same("KVM machine: emulator may use CPUs", its["guest"]["emulator_affinity"], emulator, "virsh emulatorpin", "agent snapshot")
    nodes = rows(said("virsh", "numatune", "db"))
    same("KVM machine: memory from nodes", its["guest"]["numatune_nodes"], nodes["numa_nodeset"], "virsh numatune", "agent snapshot")
    same("KVM machine: memory policy", its["guest"]["numatune_mode"], nodes["numa_mode"], "virsh numatune", "agent snapshot")
    for vcpu in its["vcpus"]:
        allowed = said("taskset", "--cpu-list", "--pid", str(vcpu["thread"]["tid"])).rpartition(": ")[2].strip()
        same(f"KVM machine: thread of vCPU {vcpu['number']} on CPUs", vcpu["thread"]["allowed_cpus"], allowed, "taskset", "agent snapshot")
    weight = (CGROUP / its["cgroup"].lstrip("/") / "cpu.weight").read_text()
    same("KVM machine: weight", its["cpu"]["weight"], int(weight), "cpu.weight", "agent snapshot")


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_s_memory_by_node(name: str) -> None:
    """Of the whole process, as numastat counts it, which rounds; an idle monitor's threads come and go.

    QEMU frees and takes some by itself: what was read in between lies in between.
    """
    ours = machine(name)["memory"]["process_by_node"]
    before, after = (seen[name] for seen in observed()[1])
    for node in before:
        its = ours.get(node, 0) / MIB
        near = min(before[node], after[node]) - 1 <= its <= max(before[node], after[node]) + 1
        print(
            f"KVM machine {name}: {its:.2f} MB on node {node} (agent snapshot) {'=' if near else 'IS NOT'} {before[node]} MB, "
            f"then {after[node]} MB (numastat -p)",
            flush=True,
        )
        assert near


def test_a_machine_whose_memory_is_far() -> None:
    its = machine("far")
    allotted = int(rows(said("virsh", "dominfo", "far"))["Used memory"].split()[0]) << 10
    same("KVM machine far: guest memory by node", its["placement"]["memory_by_node"], {"1": allotted}, "virsh dominfo", "agent snapshot")
    nodes = {"0": cpus(rows(said("virsh", "vcpupin", "far"))["0"]) - {0, 1}, "remote share": its["placement"]["remote_memory_ratio"]}
    same("KVM machine far: vCPUs elsewhere than on node 0, and memory", nodes, {"0": set(), "remote share": 1.0}, "virsh", "agent snapshot")
    findings = {one["id"] for one in document()["findings"] if one["workload"] == its["id"]}
    same("KVM machine far: reported", "memory_remote" in findings, True, "what was asked for", "agent snapshot")


@pytest.mark.parametrize("where", ["", "nested"])
def test_a_sandbox(where: str) -> None:
    """Its memories are as large as WebAssembly says within it. In a container it is the container's, and so is its limit."""
    pages = list(map(int, (said("docker", "logs", where) if where else Path("/out/sandbox").read_text()).split()))
    parent = inspected("docker", where)["Id"] if where else ""
    about = labels("strata_workload_info", paradigm="sandbox", parent=parent)
    name = f"sandbox in {where}" if where else "sandbox"
    memories = int(value("strata_workload_linear_memories", workload=about["workload"], state="memory"))
    same(f"{name}: memories", memories, len(pages), "the embedder")
    size = int(value("strata_workload_memory_allotted_bytes", workload=about["workload"]))
    same(f"{name}: bytes", size, sum(pages) * 65536, f"memory.size: {' + '.join(map(str, pages))} pages")
    if where:
        theirs = inspected("docker", where)["HostConfig"]["NanoCpus"] / 1e9
        same(
            f"{name}: limit in CPUs", value("strata_workload_cpu_limit_cpus", workload=about["workload"]), theirs, f"docker inspect {where}"
        )


def test_a_sandbox_that_is_bound_to_a_node() -> None:
    """Its guests wrote to nine pages of each of two memories: so much is there, none of it elsewhere, by numa_maps and by numastat."""
    about = labels("strata_workload_info", paradigm="sandbox", parent="")
    pid = about["workload"].split("/")[1]
    series = f'strata_workload_memory_node_bytes{{workload="{about["workload"]}"}}'
    by_node = settled(lambda: {one["metric"]["node"]: int(one["value"][1]) for one in ask(series)}, bool)
    same("sandbox: bytes of its memories by node", by_node, {"1": 2 * TOUCHED_BYTES}, "what its guests touched, and numactl --membind 1")
    backing = int(value("strata_workload_memory_backing_bytes", workload=about["workload"]))
    same("sandbox: resident", backing, sum(by_node.values()), "its sum by node")
    private = re.search(r"^Private +(\S+) +(\S+) ", said("numastat", "-p", pid), re.MULTILINE)
    assert private
    print(f"sandbox: its process' own memory: {private[1]} MB on node 0, {private[2]} MB on node 1 (numastat -p)", flush=True)
    assert float(private[2]) * MIB >= 2 * TOUCHED_BYTES


def test_nothing_else_is_a_workload() -> None:
    """A service with a limit is a process; ctr's container, whose group has no engine's name, is a group with a limit but to root."""
    assert cpu_limit((CGROUP / "system.slice/busy.service/cpu.max").read_text()) == 0.1
    assert cpu_limit((CGROUP / "lab/ctr1/cpu.max").read_text()) == 0.2
    ours = sorted((one["metric"]["paradigm"], one["metric"]["runtime"]) for one in ask("strata_workload_info"))
    theirs = [("containerization", engine) for engine in ("docker", "docker", "nspawn", "podman")]
    theirs += [("process", "cgroup"), ("process", "systemd")] + [("sandbox", "wasmtime")] * 2 + [("virtualization", "kvm")] * 2
    same("all workloads", ours, theirs, "what was started")
