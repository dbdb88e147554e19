"""The lab itself: what it starts is real, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.lab import host
from tests.need import TOP, need

pytestmark = pytest.mark.real

PLACES = ("/run/docker", "/run/containerd", "/run/libvirt", "/run/mount", "/opt/containerd", "/etc/docker", "/var/lib/libvirt")


def surroundings() -> dict[str, object]:
    """What the daemons could leave changed."""
    return {
        "mounts": Path("/proc/mounts").read_text(),
        "cgroups": host.cgroups("docker") | host.cgroups("machine"),
        "places": {path for place in PLACES for path in (Path(place), *Path(place).rglob("*")) if path.exists()},
        "configuration": {path: path.read_bytes() for path in Path("/etc/libvirt").rglob("*") if path.is_file()},
        "children": set(psutil.Process().children(recursive=True)),
    }


def test_a_container_has_its_limits(docker: host.Docker) -> None:
    container = docker.run("--cpus", "1.5", "--cpuset-cpus", "0-1", "--memory", "256m", "--memory-reservation", "128m")
    try:
        limits = docker.inspect(container)["HostConfig"]
        assert limits["NanoCpus"] == 1_500_000_000
        assert limits["CpusetCpus"] == "0-1"
        assert limits["Memory"] == 256 << 20
        assert limits["MemoryReservation"] == 128 << 20
        if (host.CGROUP / "cgroup.controllers").exists():
            group = host.CGROUP / "docker" / container
            expected = {"cpu.max": "150000 100000", "cpuset.cpus": "0-1", "memory.max": str(256 << 20), "memory.low": str(128 << 20)}
            files = {name: group / name for name in expected}
        else:
            expected = {
                "cpu/cpu.cfs_quota_us": "150000",
                "cpu/cpu.cfs_period_us": "100000",
                "cpuset/cpuset.cpus": "0-1",
                "memory/memory.limit_in_bytes": str(256 << 20),
                "memory/memory.soft_limit_in_bytes": str(128 << 20),
            }
            files = {name: host.CGROUP / Path(name).parent / "docker" / container / Path(name).name for name in expected}
        assert {name: path.read_text().strip() for name, path in files.items()} == expected
        assert docker.exec(container, "echo", "awake").strip() == "awake"
    finally:
        docker.remove(container)


def test_a_domain_has_its_pin(libvirt: host.Libvirt, tmp_path: Path) -> None:
    need(cpus=2)
    xml = host.domain_xml("pinned", host.boot_disk(tmp_path / "disk"), pins={0: "1"})
    domain = libvirt.define_and_start(xml)
    try:
        pins = dict(line.split() for line in libvirt.virsh("vcpupin", domain).splitlines()[2:] if line)
        assert pins["0"] == "1"
        assert pins["1"] != "1"
        names = {
            (host_thread / "comm").read_text().strip(): os.sched_getaffinity(int(host_thread.name))
            for process in libvirt.processes()
            if process.name().startswith("qemu-system")
            for host_thread in Path(f"/proc/{process.pid}/task").iterdir()
        }
        kind = "KVM" if host.kvm() else "TCG"
        assert names[f"CPU 0/{kind}"] == {1}
        assert names[f"CPU 1/{kind}"] == os.sched_getaffinity(0)
    finally:
        libvirt.destroy(domain)


def test_nothing_stays(alone: None, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "libvirt").mkdir()
    with host.turn():
        before = surroundings()
        with host.dockerd(tmp_path / "docker") as docker, host.libvirtd(tmp_path / "libvirt") as libvirt:
            docker.run()
            libvirt.define_and_start(host.domain_xml("left", host.boot_disk(tmp_path / "disk")))
            running = [*docker.processes(), *libvirt.processes()]
            names = {process.name() for process in running}
            assert {"dockerd", "containerd", "libvirtd", "qemu-system-x86_64"} <= names
            assert names & {"sleep", "busybox"}
            assert Path("/proc/mounts").read_text() == before["mounts"]
        assert not host.alive(running)
        assert surroundings() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_stays_when_it_is_interrupted(alone: None, number: signal.Signals) -> None:
    need("dockerd", "libvirtd", "qemu-system-x86_64", root=True)
    with host.turn():
        before = surroundings()
    command = [sys.executable, "-m", "tests.lab.host"]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True, start_new_session=True) as lab:
        try:
            assert lab.stdout is not None
            docker = lab.stdout.readline().strip().removeprefix("DOCKER_HOST=")
            uri = lab.stdout.readline().strip().removeprefix("LIBVIRT_DEFAULT_URI=")
            assert docker.startswith("unix://")
            assert uri == "qemu:///system"
            running = psutil.Process(lab.pid).children(recursive=True)
            assert {"dockerd", "libvirtd"} <= {process.name() for process in running}
            lab.send_signal(number)
            assert lab.wait(60) == 130
        finally:
            if lab.poll() is None:
                lab.terminate()
                lab.wait(60)
    assert not host.alive(running)
    with host.turn():
        assert surroundings() == before
