"""The agent on a host that it was not written on: two nodes, systemd as PID 1, control groups v2 and Docker, all of it real.

One guest does what `full/job` says; each test here is a fact of that minute, as the agent and as another program saw it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from collectors.text import cpu_list
from exporters.views.json import render
from tests.lab import boot, full, full_image, host, oracles

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

PARTS = Path(__file__).with_name("full")
LIMIT_SECONDS = 1500  # four minutes are usual on two CPUs that are free
BUSY = "/system.slice/busy.service"
SYS_PTRACE = 1 << 19  # include/uapi/linux/capability.h
# systemd's range for dynamic users (systemd.exec(5), DynamicUser=).
DYNAMIC = range(61184, 65520)


@pytest.fixture(scope="module")
def out(result: full.Result) -> Path:
    return result.out


def plan(place: Path) -> full.Plan:
    """What the job works with."""
    made = place / "made"
    made.mkdir()
    (made / "busybox.tar").write_bytes(host.busybox_image())
    boot.boot_disk(made / "boot")
    boot.firmware(made / "idle")
    parts = {path.name: path for directory in (PARTS, made) for path in directory.iterdir() if path.is_file() and path.name != "job"}
    return full.Plan(PARTS / "job", full_image.release(place) | parts | {"wasmtime.whl": full_image.wheel("wasmtime")}, LIMIT_SECONDS)


@pytest.fixture(scope="module")
def snapshot(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "snapshot").read_bytes())
    return found


@pytest.fixture(scope="module")
def inspected(out: Path) -> dict[str, Any]:
    """What Docker says of its container."""
    (found,) = json.loads((out / "inspect").read_bytes())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def container(snapshot: dict[str, Any], inspected: dict[str, Any]) -> dict[str, Any]:
    return named(snapshot, inspected["Id"])


def named(snapshot: dict[str, Any], id_: str) -> dict[str, Any]:
    (found,) = (one for one in snapshot["workloads"] if one["id"] == id_)
    assert isinstance(found, dict)
    return found


def said(out: Path, name: str) -> str:
    return (out / name).read_text().strip()


def keyed(text: str, between: str) -> dict[str, str]:
    return dict(line.split(between, 1) for line in text.splitlines() if between in line)


def test_the_host_is_systemd_on_v2(out: Path, snapshot: dict[str, Any]) -> None:
    assert said(out, "init") == "systemd"
    assert re.findall(r" - (cgroup2?) ", said(out, "mountinfo")) == ["cgroup2"]
    assert {"cpu", "cpuset", "memory"} <= set(said(out, "controllers").split())
    assert snapshot["host"]["cgroup"] == {"version": "v2"}
    assert snapshot["host"]["hostname"] == "lab"


def test_two_nodes_as_numactl_has_them(out: Path, snapshot: dict[str, Any]) -> None:
    truth = oracles.numactl(said(out, "numactl"))
    physical = snapshot["physical"]
    assert physical["architecture"] == physical["memory"]["architecture"] == "numa"
    assert truth.distances == {0: {0: 10, 1: 21}, 1: {0: 25, 1: 10}}
    assert {node["os_index"]: frozenset(cpu_list(node["cpus"])) for node in physical["nodes"]} == truth.cpus
    assert {node["os_index"]: {int(to): value for to, value in node["distances"].items()} for node in physical["nodes"]} == truth.distances


def test_the_cpus_as_lscpu_has_them(out: Path, snapshot: dict[str, Any]) -> None:
    truth = oracles.lscpu(said(out, "lscpu"))
    physical = snapshot["physical"]
    assert {frozenset(cpu_list(core["cpus"])) for core in physical["cores"]} == truth["core"]
    assert {frozenset(cpu_list(package["cpus"])) for package in physical["packages"]} == truth["socket"]
    assert len(truth["socket"]) == 2


def test_nothing_is_amiss(snapshot: dict[str, Any]) -> None:
    """There is no libvirt and no KVM in this guest; all else that the agent can read is there to be read."""
    assert {(gap["source"], gap["reason"]) for gap in snapshot["gaps"]} == {("sys_kvm", "absent"), ("libvirt_domains", "absent")}


def test_the_container_s_limits_as_docker_has_them(inspected: dict[str, Any], container: dict[str, Any]) -> None:
    asked = inspected["HostConfig"]
    cpu, memory = container["cpu"], container["memory"]
    assert cpu["quota_usec"] / cpu["period_usec"] == cpu["limit_cpus"] == asked["NanoCpus"] / 1e9 == 0.2
    assert memory["max_bytes"] == memory["limit_bytes"] == asked["Memory"] == 64 << 20
    assert memory["low_bytes"] == asked["MemoryReservation"] == 32 << 20
    assert memory["swap_max_bytes"] == asked["MemorySwap"] - asked["Memory"]
    assert container["placement"]["allowed_cpus"] == asked["CpusetCpus"] == "0"
    # The runtime's own conversion, of 2..262144 to 1..10000 (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
    assert cpu["weight"] == 1 + (asked["CpuShares"] - 2) * 9999 // 262142
    assert "shares" not in cpu
    assert container["pid"] == inspected["State"]["Pid"]
    assert (container["name"], container["image"], container["state"]) == ("burner", "lab", "running")


def test_the_container_s_limits_as_the_kernel_has_them(out: Path, inspected: dict[str, Any], container: dict[str, Any]) -> None:
    cpu, memory = container["cpu"], container["memory"]
    assert container["cgroup"] == f"/system.slice/docker-{inspected['Id']}.scope" == cpu["limited_by"] == memory["limited_by"]
    assert f"{cpu['quota_usec']} {cpu['period_usec']}" == said(out, "cpu.max")
    for file, value in {
        "cpu.weight": cpu["weight"],
        "memory.max": memory["max_bytes"],
        "memory.low": memory["low_bytes"],
        "memory.swap.max": memory["swap_max_bytes"],
        "cpuset.cpus.effective": container["placement"]["allowed_cpus"],
        "cpuset.mems.effective": container["placement"]["allowed_nodes"],
    }.items():
        assert str(value) == said(out, file), file


def test_the_container_is_placed_on_its_node(container: dict[str, Any]) -> None:
    placement = container["placement"]
    assert (placement["packages"], placement["cores"], placement["last_cpus"], placement["nodes_spanned"]) == ([0], 1, "0", "0")


def test_the_container_is_throttled_and_that_was_to_be_expected(out: Path, snapshot: dict[str, Any], container: dict[str, Any]) -> None:
    before, after = (keyed(said(out, f"stat.{when}"), " ") for when in ("before", "after"))
    cpu = container["cpu"]
    for ours, theirs in {
        "periods": "nr_periods",
        "throttled_periods": "nr_throttled",
        "throttled_usec": "throttled_usec",
        "usage_usec": "usage_usec",
    }.items():
        assert int(before[theirs]) < cpu[ours] <= int(after[theirs]), ours
    predicted = [one for one in snapshot["predictions"] if one["workload"] == container["id"] and one["component"].startswith("throttled_")]
    # Throttled time is foretold of a group that uses its quota up; should others have kept it from that, there is the share alone.
    assert "throttled_periods" in {one["component"] for one in predicted}
    for one in predicted:
        print(f"{one['component']}: measured {one['measured']:.3f}, predicted {one['value']:.3f} [{one['lo']:.3f}, {one['hi']:.3f}]")
        assert one["inside"], one
        if one["inputs"].get("other_busy_cpus", 1.0) < 0.1:
            assert one["hi"] - one["lo"] < 0.3, "an interval that holds everything says nothing"


def test_a_limited_service_is_no_container(out: Path, snapshot: dict[str, Any], inspected: dict[str, Any]) -> None:
    """systemd-run's service burns a tenth of CPU 3: a workload of its own, and the only other one."""
    assert said(out, "busy") == "10000 100000"
    assert {one["id"]: one["paradigm"] for one in snapshot["workloads"]} == {inspected["Id"]: "containerization", BUSY: "process"}
    busy = named(snapshot, BUSY)
    assert (busy["cpu"]["limit_cpus"], busy["memory"]["limit_bytes"], busy["placement"]["allowed_cpus"]) == (0.1, 64 << 20, "3")


def test_the_unit_has_a_user_of_its_own_and_one_capability(out: Path) -> None:
    unit, status = keyed(said(out, "unit"), "="), keyed(said(out, "status"), ":\t")
    assert (unit["ActiveState"], unit["DynamicUser"], unit["NRestarts"]) == ("active", "yes", "0")
    assert {int(uid) in DYNAMIC for uid in status["Uid"].split()} == {True}
    assert {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == dict.fromkeys(
        ("CapEff", "CapPrm", "CapBnd"), SYS_PTRACE
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_unit_serves_what_a_snapshot_says(out: Path, snapshot: dict[str, Any], container: dict[str, Any]) -> None:
    """Without the socket's group the service knows the container by its control group only, and says why, as of CAP_NET_ADMIN."""
    samples = [one for family in text_string_to_metric_families((out / "metrics").read_text()) for one in family.samples]

    def of(name: str) -> dict[tuple[str, ...], float]:
        return {tuple(one.labels.values()): one.value for one in samples if one.name == name}

    assert of("strata_workload_cpu_limit_cpus") == {(container["id"],): 0.2, (BUSY,): 0.1}
    assert of("strata_workload_memory_limit_bytes") == dict.fromkeys([(container["id"],), (BUSY,)], float(64 << 20))
    assert of("strata_workload_placement_info") == dict.fromkeys([(container["id"], "0", "0-1"), (BUSY, "3", "0-1")], 1.0)
    assert of("strata_workload_cpu_throttled_periods_total")[(container["id"],)] >= container["cpu"]["throttled_periods"]
    gaps = {(gap["source"], gap["reason"]) for gap in snapshot["gaps"]}
    assert set(of("strata_source_gap_info")) == gaps | {
        (source, "denied") for source in ("docker_engine", "oci", "smbios", "sys_debug_sched", "taskstats")
    }


def test_the_recording_replays_here(out: Path, snapshot: dict[str, Any], container: dict[str, Any]) -> None:
    root = str(out / "recording")
    replayed = json.loads(render(take_snapshot(Session(root=SysRoot(root), config=Config(root=root)))))
    again = named(replayed, container["id"])
    assert [one["id"] for one in replayed["workloads"]] == [one["id"] for one in snapshot["workloads"]]
    # What counts and what is used has gone on meanwhile; the stack shows some of it.
    assert {key for key in container if container[key] != again[key]} <= {"cpu", "memory", "threads", "controls", "stack"}
    for part, keys in (
        ("cpu", ("quota_usec", "period_usec", "weight", "limit_cpus")),
        ("memory", ("max_bytes", "low_bytes", "swap_max_bytes")),
    ):
        assert {key: container[part][key] for key in keys} == {key: again[part][key] for key in keys}
    assert again["cpu"]["usage_usec"] > container["cpu"]["usage_usec"]
    # A recording has no directory in which nothing was there to be read: /proc/driver.
    assert [gap for gap in replayed["gaps"] if gap["source"] != "proc_driver_nvidia"] == snapshot["gaps"]
    assert replayed["host"]["cgroup"] == {"version": "v2"}
    for part in ("cpus", "cores", "packages", "caches"):
        assert replayed["physical"][part] == snapshot["physical"][part]


def test_the_unit_ends_cleanly(out: Path) -> None:
    assert keyed(said(out, "stopped"), "=") == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive", "NRestarts": "0"}
    assert "Traceback" not in said(out, "journal")


def test_the_story_of_a_whole_host(result: full.Result, subtests: pytest.Subtests, capsys: pytest.CaptureFixture[str]) -> None:
    """Every engine at work, and Prometheus beside the agent: what it answers is what the others say. One line a fact."""
    with capsys.disabled():
        print(f"\n{result.log}guest {full.TWO_NODES.name}: {len(result.cases)} cases, {result.seconds:.0f} s")
    assert len(result.cases) >= 18
    for case in result.cases:
        with subtests.test(case.name):
            assert not case.wrong, case.wrong
