"""Containers of Podman and containerd with limits: as the engine has them, as the kernel has them, and as a snapshot shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.views.json import render
from tests.lab import engines, host
from tests.need import need
from tests.real.test_recording import document, record

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pod(podman: engines.Podman) -> Iterator[str]:
    """Under Podman."""
    need(cpus=2)
    options = ("--cpus", "1.5", "--cpuset-cpus", "0-1", "--memory", "256m", "--memory-reservation", "128m", "--cpu-shares", "512")
    id_ = podman.run("--name", "pod", *options)
    yield id_
    podman.remove(id_)


@pytest.fixture(scope="module")
def bare(containerd: engines.Containerd) -> Iterator[str]:
    """Under containerd, in a group that is called what its CRI plugin calls it: ctr's own names, /NAMESPACE/NAME, say nothing."""
    name = "ba5e" * 16
    limits = ("--cpu-quota", "25000", "--cpu-period", "50000", "--memory-limit", str(64 << 20))
    containerd.run(name, "--cgroup", f"/lab/cri-containerd-{name}.scope", *limits)
    yield name
    containerd.remove(name)


def test_podman_s_limits_are_the_kernel_s(podman: engines.Podman, pod: str) -> None:
    told = podman.inspect(pod)
    limits, group = told["HostConfig"], told["State"]["CgroupPath"]
    assert limits["NanoCpus"] == 1_500_000_000
    kernel = {
        "quota": str(limits["CpuQuota"]),
        "period": str(limits["CpuPeriod"]),
        "cpus": limits["CpusetCpus"],
        "memory": str(limits["Memory"]),
        "reservation": str(limits["MemoryReservation"]),
    }
    assert host.limits(group) == kernel
    assert kernel == {
        "quota": "150000",
        "period": "100000",
        "cpus": "0-1",
        "memory": str(256 << 20),
        "reservation": str(128 << 20),
    }


def test_containerd_s_limits_are_the_kernel_s(containerd: engines.Containerd, bare: str) -> None:
    told = json.loads(containerd.ctr("container", "info", bare))["Spec"]["linux"]
    cpu, memory = told["resources"]["cpu"], told["resources"]["memory"]
    assert (cpu["quota"], cpu["period"], memory["limit"]) == (25000, 50000, 64 << 20)
    found = host.limits(told["cgroupsPath"])
    assert (found["quota"], found["period"], found["memory"]) == ("25000", "50000", str(64 << 20))


def test_a_snapshot_shows_podman_s_container(podman: engines.Podman, pod: str) -> None:
    """Its name and its image come over the socket that speaks Docker's API, its limits from the kernel."""
    found = snapshot(podman)
    assert [gap for gap in found["gaps"] if gap["source"] == "docker_engine"] == []
    (box,) = [one for one in found["workloads"] if one["id"] == pod]
    told = podman.inspect(pod)
    limits = told["HostConfig"]
    assert (box["paradigm"], box["runtime"], box["memory_mode"]) == ("containerization", "podman", "shared-kernel")
    assert (box["name"], box["image"], box["state"]) == (told["Name"], told["ImageName"], told["State"]["Status"])
    assert (box["cgroup"], box["pid"]) == (told["State"]["CgroupPath"], told["State"]["Pid"])
    assert box["cpu"]["quota_usec"] / box["cpu"]["period_usec"] == limits["NanoCpus"] / 1e9 == box["cpu"]["limit_cpus"]
    assert box["memory"]["max_bytes"] == box["memory"]["limit_bytes"] == limits["Memory"]
    assert box["memory"].get("soft_limit_bytes", box["memory"].get("low_bytes")) == limits["MemoryReservation"]
    assert box["placement"]["allowed_cpus"] == limits["CpusetCpus"]
    assert box["cpu"].get("shares", limits["CpuShares"]) == limits["CpuShares"]


def test_a_snapshot_shows_containerd_s_container(containerd: engines.Containerd, bare: str) -> None:
    found = json.loads(render(take_snapshot(Session(root=SysRoot(), config=Config(interval_seconds=0)))))
    box = next(one for one in found["workloads"] if one.get("pid") == containerd.pid_of(bare))
    assert (box["paradigm"], box["runtime"], box["id"], box["name"]) == ("containerization", "containerd", bare, bare[:12])
    assert box["cgroup"] == f"/lab/cri-containerd-{bare}.scope"
    assert (box["cpu"]["limit_cpus"], box["memory"]["limit_bytes"]) == (0.5, 64 << 20)


def test_a_recording_with_podman_replays(podman: engines.Podman, pod: str, tmp_path: Any) -> None:
    whole = record(tmp_path, Config(docker=(podman.url,)))
    assert pod in {workload["id"] for workload in whole["workloads"]}
    assert document(tmp_path) == whole


def snapshot(podman: engines.Podman) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        render(take_snapshot(Session(root=SysRoot(), config=Config(docker=(podman.url,), interval_seconds=0))))
    )
    return found
